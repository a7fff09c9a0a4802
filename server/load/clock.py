"""The time, and a timer finer than the event loop's. Event loop.

A loop on uvloop rounds its timers to milliseconds, so requests would be sent half of one late, as
long as a fast server takes to answer. The kernel's own timer is some 50 microseconds late and
costs no more. Assumption: Linux, where `time.monotonic` reads the clock that the timer runs on.
"""

import asyncio
import ctypes
import os
import time
from collections.abc import Callable
from typing import Final, Protocol

ABSOLUTE: Final = 1
"""TFD_TIMER_ABSTIME: the time is one of the clock, not from now."""


class Clock(Protocol):
    """What load is driven by; tests have one that they move by hand."""

    def now(self) -> float:
        """Seconds since any moment."""
        ...

    def wake(self, at: float, call: Callable[[], None]) -> None:
        """Call back at that time, or soon if it is past; replaces what was asked before."""
        ...

    def close(self) -> None:
        """Call nobody any more."""
        ...


class _Setting(ctypes.Structure):
    """`struct itimerspec`: no interval, then when to fire."""

    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_nanoseconds", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )


class KernelClock:
    """A `Clock` of real time."""

    def __init__(self) -> None:
        # Python has these functions from 3.13 on.
        self._c = ctypes.CDLL(None, use_errno=True)
        self._setting = _Setting()
        self._call: Callable[[], None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer = -1

    def now(self) -> float:
        """Seconds of the monotonic clock."""
        return time.monotonic()

    def wake(self, at: float, call: Callable[[], None]) -> None:
        """Call back at that time. OSError if the kernel gives no timer."""
        if self._loop is None:
            self._timer = self._c.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
            self._check(self._timer)
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._timer, self._fired)
        self._call = call
        whole = int(at)
        self._setting.seconds = whole
        # Both 0 would switch it off.
        self._setting.nanoseconds = max(1, int((at - whole) * 1e9))
        setting = ctypes.byref(self._setting)
        self._check(self._c.timerfd_settime(self._timer, ABSOLUTE, setting, None))

    def close(self) -> None:
        """Give the timer back."""
        if self._loop is not None:
            self._loop.remove_reader(self._timer)
            os.close(self._timer)
            self._loop = None

    def _fired(self) -> None:
        try:
            os.read(self._timer, 8)
        except BlockingIOError:
            # It was set anew after it had fired.
            return
        call, self._call = self._call, None
        if call is not None:
            call()

    def _check(self, answer: int) -> None:
        if answer < 0:
            number = ctypes.get_errno()
            msg = f"the kernel's timer: {os.strerror(number)}"
            raise OSError(number, msg)
