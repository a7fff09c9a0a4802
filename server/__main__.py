"""`python -m server` is `batcher-server`. Main thread."""

from server.cli import main

main()
