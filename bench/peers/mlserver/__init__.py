"""MLServer: a custom runtime with adaptive batching."""
