"""Writes down when each request was taken up and how it ended. Event loop."""

import asyncio
from array import array
from collections import deque
from dataclasses import replace
from typing import Final, Protocol

import numpy as np

from server.load.answers import Whole
from server.load.arrivals import Clients, Offered
from server.load.clock import Clock
from server.load.result import GOOD, NO_ANSWER, NOT_SENT, Result

SHOWN_OF_BODY: Final = 500

TIMINGS: Final = 65536
"""Answers whose `Server-Timing` is kept: the last ones."""

_INSTANT: Final = 1e-9
"""Seconds of a stretch that was interrupted before any of it counted."""


class Course(Protocol):
    """Load under way: how far it is, and how to end it early."""

    ended_count: int
    good: int

    def interrupt(self) -> None:
        """Send nothing more, and let the result be what has ended so far."""
        ...


class Ledger:
    """An entry for each request, by its number: the `Outcomes` of a pool.

    `due` is when each is due, `ended` is done when all have ended.
    """

    def __init__(self, plan: Offered | Clients, timeout: float, clock: Clock) -> None:
        self._plan = plan
        self._began = 0.0
        # For one number at a time, these are three times as fast as numpy's.
        self.due = array("d")
        self._latencies = array("d")
        self._lateness = array("d")
        self._outcomes = array("h")
        self._examples: dict[int, bytes] = {}
        self._timings: deque[bytes] = deque(maxlen=TIMINGS)
        self._codes = {
            f"no answer within {timeout:g} s": NO_ANSWER,
            f"not sent within {timeout:g} s: no connection was free": NOT_SENT,
        }
        self._clock = clock
        self._interrupted_at: float | None = None
        self.ended_count = self.good = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def begin(self, at: float) -> None:
        """Set the time from which the plan counts, and make entries for what it has."""
        self._began = at
        if isinstance(self._plan, Offered):
            planned = self._plan.times()
            many = len(planned)
            self.due = array("d", (planned + at).tobytes())
            self._latencies, self._lateness = (
                array("d", bytes(8 * many)),
                array("d", bytes(8 * many)),
            )
            self._outcomes = array("h", bytes(2 * many))
            if not many:
                self.ended.set_result(None)

    def add(self) -> int:
        """Make an entry for a request that is due now: its number."""
        self.due.append(self._clock.now())
        self._latencies.append(0.0)
        self._lateness.append(0.0)
        self._outcomes.append(0)
        return len(self.due) - 1

    def taken_up(self, number: int) -> None:
        """The generator is about to send a request."""
        self._lateness[number] = self._clock.now() - self.due[number]

    def has_ended(self, number: int) -> bool:
        """Whether a request is answered, failed or given up."""
        return self._outcomes[number] != 0

    def answered(self, number: int, whole: Whole) -> None:
        """Write down an answer."""
        status = whole.head.status
        if status == GOOD:
            self._timings.append(whole.head.timing)
        elif status not in self._examples:
            self._examples[status] = whole.body[:SHOWN_OF_BODY]
        self._end(number, status)

    def failed(self, number: int, why: str) -> None:
        """Write down that there will be none."""
        self._end(number, self._codes.setdefault(why, -1 - len(self._codes)))

    def unanswered(self, number: int, *, sent: bool) -> None:
        """Write down that a request was given up."""
        self._end(number, NO_ANSWER if sent else NOT_SENT)

    def interrupt(self) -> None:
        """End now: what has not ended by then has no part in the result."""
        if not self.ended.done():
            self._interrupted_at = self._clock.now()
            self.ended.set_result(None)

    def _end(self, number: int, outcome: int) -> None:
        if self.ended.done():
            # The result is drawn: connections that are closed behind it change nothing.
            return
        self._latencies[number] = self._clock.now() - self.due[number]
        self._outcomes[number] = outcome
        self.ended_count += 1
        self.good += outcome == GOOD
        if self.ended_count == len(self.due) and isinstance(self._plan, Offered):
            self.ended.set_result(None)

    def result(self, *, held: int, busy: float) -> Result:
        """Draw up the result when all have ended, or of those that have when it was interrupted."""
        plan, due = self._plan, np.asarray(self.due) - self._began
        latencies, outcomes = np.asarray(self._latencies), np.asarray(self._outcomes)
        if self._interrupted_at is not None:
            passed = self._interrupted_at - self._began
            plan = replace(plan, seconds=max(passed - plan.warmup, _INSTANT))
            due = due[due <= passed]
        counts = slice(int(np.searchsorted(due, plan.warmup)), len(due))
        has_ended = outcomes[counts] != 0
        ended = due + latencies[: len(due)]
        in_time = (ended >= plan.warmup) & (ended < plan.whole)
        good = in_time & (outcomes[: len(due)] == GOOD)
        return Result(
            plan=plan,
            latencies=latencies[counts][has_ended],
            outcomes=outcomes[counts][has_ended],
            lateness=np.asarray(self._lateness)[counts][has_ended],
            reasons=tuple(self._codes),
            # What was due in the warm-up and answered after it is part of what the server did.
            achieved=float(np.count_nonzero(good)) / plan.seconds,
            backlog=int(np.count_nonzero(ended >= plan.whole)),
            held=held,
            busy=busy,
            examples=self._examples,
            timings=tuple(self._timings),
            interrupted=self._interrupted_at is not None,
            unended=int(np.count_nonzero(~has_ended)),
        )
