"""What every peer is told: which model, where to listen, how to batch. Pure.

The comparison starts a peer with these environment variables; a peer reads them here.
"""

import os
import pathlib
from typing import Final

MODEL: Final = "BENCH_MODEL"
"""The folder of the SavedModel."""

PORT: Final = "BENCH_PORT"
"""Where to listen, at 127.0.0.1; the two ports after it are free as well."""

BODY: Final = "BENCH_BODY"
"""What requests and answers are: `json` or `raw`, float32 numbers one after the other."""

FOLDER: Final = "BENCH_FOLDER"
"""A folder for what the peer writes while it runs."""

MAX_BATCH_SIZE: Final = 64

WAIT: Final = 0.002
"""Seconds a batch may wait for more requests."""


def model_folder() -> pathlib.Path:
    """The folder of the SavedModel."""
    return pathlib.Path(os.environ[MODEL])


def port() -> int:
    """Where to listen, at 127.0.0.1."""
    return int(os.environ[PORT])


def body() -> str:
    """`json` or `raw`."""
    return os.environ[BODY]


def folder() -> str:
    """Where the peer may write while it runs."""
    return os.environ[FOLDER]
