"""Benchmarks of the batcher and its server: `python -m bench --help` lists them."""
