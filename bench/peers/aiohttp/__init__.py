"""aiohttp without batching: what a server comes to that somebody writes in an hour."""
