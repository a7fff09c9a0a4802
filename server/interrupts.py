"""Ctrl-C while modules are imported: the end, at once and without a word. Main thread.

Python would raise KeyboardInterrupt wherever among the imports it is, which some of them catch, and
show all of them to somebody who has only changed their mind.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 128 + signal.SIGINT
"""The exit code, as a shell has it."""


@contextmanager
def leaving_at_once() -> Iterator[None]:
    """Within this nothing has begun that would have to be ended."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:
        # A shell starts what is in the background with Ctrl-C ignored; and so it stays.
        yield
        return
    signal.signal(signal.SIGINT, lambda _number, _frame: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
