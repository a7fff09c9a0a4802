"""The dashboard and the alert rules, in a real Prometheus: `.ci/monitoring/run` installs it."""
