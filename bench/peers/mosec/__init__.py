"""mosec: an HTTP front in Rust, a worker process in Python."""
