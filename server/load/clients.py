"""Keeps so many clients busy: each asks again when it is answered (a closed loop). Event loop.

A server that stalls gets less to do meanwhile, and percentiles hardly show it: they tell what its
clients have seen, not what others would have. How much it answers at most is what this measures.
"""

import time
from collections.abc import Callable
from typing import Final

from server.load.answers import Whole
from server.load.arrivals import Clients
from server.load.clock import Clock, KernelClock
from server.load.ledger import Course, Ledger
from server.load.offering import check_timeout
from server.load.pool import Pool
from server.load.result import Result

RETRY: Final = 0.2
"""Seconds before a client that could not ask tries again."""


async def keep_busy(
    address: tuple[str, int],
    request: bytes,
    plan: Clients,
    *,
    timeout: float = 10.0,
    clock: Clock | None = None,
    on_begin: Callable[[Course], None] | None = None,
) -> Result:
    """Have each client send `request`, whole HTTP/1.1 bytes, over and over; wait for the answers.

    A request is given up after `timeout` seconds. Failures of any kind are counted and stop
    nothing; `on_begin` gets what can end it early.
    """
    check_timeout(timeout)
    clock = clock or KernelClock()
    ledger = Ledger(plan, timeout, clock)
    busy = _Busy(plan, ledger, timeout, clock)
    pool = Pool(address, request, plan.clients, busy)
    try:
        return await busy.run(pool, on_begin)
    finally:
        pool.close()
        clock.close()


class _Busy:
    """All the clients: the `Outcomes` of their pool. Each has a request on its way, or rests."""

    def __init__(self, plan: Clients, ledger: Ledger, timeout: float, clock: Clock) -> None:
        self._plan = plan
        self._ledger = ledger
        self._timeout = timeout
        self._clock = clock
        self._pool: Pool
        self._until = 0.0
        self._oldest = 0
        self._resting = 0
        self._rested_at = 0.0

    async def run(self, pool: Pool, on_begin: Callable[[Course], None] | None) -> Result:
        """Begin, and wait until each request has ended that was sent in time."""
        self._pool = pool
        began, cpu_began = self._clock.now(), time.process_time()
        self._until = began + self._plan.whole
        self._ledger.begin(began)
        if on_begin is not None:
            on_begin(self._ledger)
        for _ in range(self._plan.clients):
            self._send()
        self._tick()
        await self._ledger.ended
        took = self._clock.now() - began
        busy = (time.process_time() - cpu_began) / took if took > 0 else 0.0
        return self._ledger.result(held=0, busy=busy)

    def answered(self, number: int, whole: Whole) -> None:
        """Go on at once."""
        self._ledger.answered(number, whole)
        self._go_on()

    def failed(self, number: int, why: str) -> None:
        """Go on after a rest: who is not there now will not be in an instant."""
        self._ledger.failed(number, why)
        self._resting += 1
        if self._resting == 1:
            self._rested_at = self._clock.now() + RETRY
            self._wake()
        self._finish()

    def unanswered(self, number: int, *, sent: bool) -> None:
        """Go on at once."""
        self._ledger.unanswered(number, sent=sent)
        self._go_on()

    def _go_on(self) -> None:
        if self._clock.now() < self._until and not self._ledger.ended.done():
            self._send()
        else:
            self._finish()

    def _send(self) -> None:
        self._pool.send(self._ledger.add())

    def _finish(self) -> None:
        ledger = self._ledger
        if (
            self._clock.now() >= self._until
            and ledger.ended_count == len(ledger.due)
            and not ledger.ended.done()
        ):
            ledger.ended.set_result(None)

    def _tick(self) -> None:
        """Give up what is too old, let those go on that have rested, and come back in time."""
        now, ledger = self._clock.now(), self._ledger
        while self._oldest < len(ledger.due) and (
            ledger.has_ended(self._oldest) or ledger.due[self._oldest] + self._timeout <= now
        ):
            self._oldest += 1
        self._pool.give_up(self._oldest)
        if self._resting and self._rested_at <= now:
            rested, self._resting = self._resting, 0
            for _ in range(rested):
                self._go_on()
        self._finish()
        self._wake()

    def _wake(self) -> None:
        """Be called when the next of these is due: the end, a timeout, the end of a rest."""
        if self._ledger.ended.done():
            return
        now = self._clock.now()
        times = [self._until] if now < self._until else []
        if self._oldest < len(self._ledger.due):
            times.append(self._ledger.due[self._oldest] + self._timeout)
        if self._resting:
            times.append(self._rested_at)
        if times:
            self._clock.wake(min(times), self._tick)
