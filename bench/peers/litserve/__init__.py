"""LitServe: batches collected by its worker process."""
