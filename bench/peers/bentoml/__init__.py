"""BentoML: a service with a batchable API."""
