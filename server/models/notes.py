"""Keeps what native libraries write to standard error from whoever reads it. Any thread.

They write to the file descriptor itself, so that is turned away for a while. One thread at a time:
two that turn it away at once could leave it so. One thread may do so within itself.
"""

import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_STANDARD_ERROR: Final = 2
_STANDARD_STREAMS: Final = (1, _STANDARD_ERROR)
_lock: Final = threading.RLock()


@contextmanager
def notes_held_back(begin: bytes) -> Iterator[None]:
    """Drop lines that begin so, b"" for all; others, maybe of other threads, come afterwards.

    All are written if it fails.
    """
    with _lock, tempfile.TemporaryFile() as notes:
        kept = os.dup(_STANDARD_ERROR)
        os.dup2(notes.fileno(), _STANDARD_ERROR)
        try:
            yield
        except BaseException:
            begin = b"\0"
            raise
        finally:
            os.dup2(kept, _STANDARD_ERROR)
            os.close(kept)
            notes.seek(0)
            for line in notes:
                if not line.startswith(begin):
                    os.write(_STANDARD_ERROR, line)


@contextmanager
def silence() -> Iterator[None]:
    """Drop all that is written, to standard output as well, and Python's warnings.

    For a command that does one thing at a time, and tells itself what came of it.
    """
    streams = (sys.stdout, sys.stderr)
    with _lock, Path(os.devnull).open("wb") as nowhere, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for stream in streams:
            stream.flush()
        kept = [os.dup(number) for number in _STANDARD_STREAMS]
        for number in _STANDARD_STREAMS:
            os.dup2(nowhere.fileno(), number)
        try:
            yield
        finally:
            for stream in streams:
                stream.flush()
            for number, own in zip(_STANDARD_STREAMS, kept, strict=True):
                os.dup2(own, number)
                os.close(own)
