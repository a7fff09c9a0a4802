"""Writes down when each request was taken up and how it ended. Event loop."""

import asyncio
from array import array
from typing import Final

import numpy as np

from server.load.answers import Whole
from server.load.arrivals import Offered
from server.load.clock import Clock
from server.load.result import GOOD, NO_ANSWER, NOT_SENT, Result

SHOWN_OF_BODY: Final = 500


class Ledger:
    """An entry for each request of a plan, by its number: the `Outcomes` of a pool.

    `due` is when each is due, `ended` is done when all have ended.
    """

    def __init__(self, offered: Offered, timeout: float, clock: Clock) -> None:
        self._offered = offered
        self._planned = offered.times()
        many = len(self._planned)
        # For one number at a time, these are three times as fast as numpy's.
        self.due = array("d", self._planned.tobytes())
        self._latencies = array("d", bytes(8 * many))
        self._lateness = array("d", bytes(8 * many))
        self._outcomes = array("h", bytes(2 * many))
        self._first_error = b""
        self._codes = {
            f"no answer within {timeout:g} s": NO_ANSWER,
            f"not sent within {timeout:g} s: no connection was free": NOT_SENT,
        }
        self._clock = clock
        self._left = many
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not many:
            self.ended.set_result(None)

    def begin(self, at: float) -> None:
        """Set the time from which the plan counts."""
        self.due = array("d", (self._planned + at).tobytes())

    def taken_up(self, number: int) -> None:
        """The generator is about to send a request."""
        self._lateness[number] = self._clock.now() - self.due[number]

    def has_ended(self, number: int) -> bool:
        """Whether a request is answered, failed or given up."""
        return self._outcomes[number] != 0

    def answered(self, number: int, whole: Whole) -> None:
        """Write down an answer."""
        status = whole.head.status
        if status != GOOD and not self._first_error:
            self._first_error = whole.body[:SHOWN_OF_BODY]
        self._end(number, status)

    def failed(self, number: int, why: str) -> None:
        """Write down that there will be none."""
        self._end(number, self._codes.setdefault(why, -1 - len(self._codes)))

    def unanswered(self, number: int, *, sent: bool) -> None:
        """Write down that a request was given up."""
        self._end(number, NO_ANSWER if sent else NOT_SENT)

    def _end(self, number: int, outcome: int) -> None:
        self._latencies[number] = self._clock.now() - self.due[number]
        self._outcomes[number] = outcome
        self._left -= 1
        if not self._left:
            self.ended.set_result(None)

    def result(self, *, held: int, busy: float) -> Result:
        """Draw up the result when all have ended."""
        offered = self._offered
        counts = slice(int(np.searchsorted(self._planned, offered.warmup)), None)
        latencies, outcomes = (
            np.frombuffer(self._latencies),
            np.frombuffer(self._outcomes, np.int16),
        )
        ended = self._planned + latencies
        in_time = (ended >= offered.warmup) & (ended < offered.whole)
        return Result(
            offered=offered,
            latencies=latencies[counts],
            outcomes=outcomes[counts],
            lateness=np.frombuffer(self._lateness)[counts],
            reasons=tuple(self._codes),
            # What was due in the warm-up and answered after it is part of what the server did.
            achieved=float(np.count_nonzero(in_time & (outcomes == GOOD))) / offered.seconds,
            backlog=int(np.count_nonzero(ended >= offered.whole)),
            held=held,
            busy=busy,
            first_error=self._first_error,
        )
