"""Sends requests when they are due, answered or not, and writes down how each ended. Event loop.

One timer is set for whatever comes next: a request that is due, or the oldest one's timeout. All
that is due by then is sent.
"""

import time
from collections.abc import Callable
from typing import Final

from server.load.arrivals import Offered
from server.load.clock import Clock, KernelClock
from server.load.ledger import Course, Ledger
from server.load.pool import Pool
from server.load.result import Result

GRAIN: Final = 0.00025
"""Seconds between two looks at what is due: a timer costs as much as three requests."""

BURST: Final = 64
"""Requests sent in one go at most, so that answers are read in between."""

LEAD: Final = 0.01
"""Seconds from the last preparation to the beginning."""

AHEAD: Final = 16
"""Connections that are made before the first request is due."""


async def offer(
    address: tuple[str, int],
    request: bytes,
    offered: Offered,
    *,
    connections: int = 256,
    timeout: float = 10.0,
    clock: Clock | None = None,
    on_begin: Callable[[Course], None] | None = None,
) -> Result:
    """Send `request`, whole HTTP/1.1 bytes, to host and port as planned; wait for the answers.

    `connections` is how many may be open at once; a request that finds none free waits for one. A
    request is given up `timeout` seconds after it was due. Failures of any kind are counted and
    stop nothing; `on_begin` gets what can end it early. Runs on any loop; uvloop makes the
    generator twice as fast.
    """
    if connections < 1:
        msg = f"connections is {connections}: expected at least 1"
        raise ValueError(msg)
    check_timeout(timeout)
    clock = clock or KernelClock()
    ledger = Ledger(offered, timeout, clock)
    pool = Pool(address, request, connections, ledger)
    try:
        await pool.connect(AHEAD)
        return await _Offering(ledger, pool, timeout, clock).run(on_begin)
    finally:
        pool.close()
        clock.close()


def check_timeout(timeout: float) -> None:
    """Refuse one that is none. ValueError."""
    if timeout <= 0:
        msg = f"timeout is {timeout}: expected seconds above 0"
        raise ValueError(msg)


class _Offering:
    """Goes through the plan once."""

    def __init__(self, ledger: Ledger, pool: Pool, timeout: float, clock: Clock) -> None:
        self._ledger = ledger
        self._pool = pool
        self._timeout = timeout
        self._clock = clock
        self._many = 0
        self._next = 0
        self._oldest = 0
        self._held = 0
        self._cpu_began = 0.0
        self._began = 0.0
        self._busy = 0.0

    async def run(self, on_begin: Callable[[Course], None] | None) -> Result:
        """Send all, and wait until each has ended."""
        self._cpu_began, self._began = time.process_time(), self._clock.now() + LEAD
        self._ledger.begin(self._began)
        self._many = len(self._ledger.due)
        if on_begin is not None:
            on_begin(self._ledger)
        self._tick()
        await self._ledger.ended
        if self._next < self._many:
            self._measure_busy()
        return self._ledger.result(held=self._held, busy=self._busy)

    def _tick(self) -> None:
        """Do all that is due, and come back for what is next."""
        now = self._clock.now()
        self._send_due(now)
        self._give_up(now)
        if not self._ledger.ended.done():
            self._clock.wake(self._wake_at(now), self._tick)

    def _send_due(self, now: float) -> None:
        ledger, pool = self._ledger, self._pool
        for number in range(self._next, min(self._next + BURST, self._many)):
            if ledger.due[number] > now:
                return
            self._next = number + 1
            ledger.taken_up(number)
            self._held += not pool.send(number)
            if self._next == self._many:
                self._measure_busy()

    def _measure_busy(self) -> None:
        took = self._clock.now() - self._began
        self._busy = (time.process_time() - self._cpu_began) / took if took > 0 else 0.0

    def _give_up(self, now: float) -> None:
        ledger = self._ledger
        while self._oldest < self._next and (
            ledger.has_ended(self._oldest) or ledger.due[self._oldest] + self._timeout <= now
        ):
            self._oldest += 1
        self._pool.give_up(self._oldest)

    def _wake_at(self, now: float) -> float:
        """The next time something is due; the past if something is already."""
        due = self._ledger.due
        times = []
        if self._oldest < self._next:
            times.append(due[self._oldest] + self._timeout)
        if self._next < self._many:
            times.append(due[self._next])
        at = min(times)
        return at if at <= now else max(at, now + GRAIN)
