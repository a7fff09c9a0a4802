"""Ours beside other servers of the same models, under the same load: the command `compare`."""

from bench.compare.cli import command

__all__ = ["command"]
