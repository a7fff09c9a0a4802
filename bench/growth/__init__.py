"""Whether cost stays flat as the queue, the models and the rows of a request grow."""

from bench.growth.command import command

__all__ = ["command"]
