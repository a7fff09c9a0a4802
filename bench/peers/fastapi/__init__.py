"""FastAPI without batching, on uvicorn: what most tutorials show."""
