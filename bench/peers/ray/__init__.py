"""Ray Serve in its high-throughput mode, with HAProxy in front."""
