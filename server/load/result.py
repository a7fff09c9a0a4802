"""What came of an offered load: one entry for each request, and figures drawn from them. Pure."""

import collections
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from server.load.arrivals import Offered, Times

GOOD: Final = 200
"""The one status that counts as an answer."""

BUSY: Final = 0.9
"""Share of a core from which on the generator is taken for the limit."""

LATE: Final = 0.005
"""Seconds between due and taken up, at the 99th percentile, from which on it is, too."""

PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9)

NO_ANSWER: Final = -1
NOT_SENT: Final = -2
"""Outcomes of requests that were given up; those of others without an answer are below."""


@dataclass(frozen=True, slots=True)
class Result:
    """The requests of a plan that count, n of them, in the order in which they were due."""

    offered: Offered
    latencies: Times
    """float64 [n], seconds from when a request was due until it was answered, failed or given up"""
    outcomes: npt.NDArray[np.int16]
    """int16 [n], the status of the answer; negative for none: see `failures`"""
    lateness: Times
    """float64 [n], seconds from when a request was due until the generator took it up"""
    reasons: tuple[str, ...]
    """what outcomes -1, -2, ... mean"""
    achieved: float
    """good answers a second while these requests were due"""
    backlog: int
    """requests due but not ended when the last seconds were over, those of the warm-up too"""
    held: int
    """requests that found no free connection, those of the warm-up too"""
    busy: float
    """share of a core that this program took while it sent"""
    first_error: bytes = b""
    """the beginning of the body of the first answer with another status than 200"""

    @property
    def rate(self) -> float:
        """Requests that were due, a second: the plan's rate but for chance."""
        return len(self.latencies) / self.offered.seconds

    @property
    def statuses(self) -> "collections.Counter[int]":
        """Answers by status."""
        return collections.Counter(self.outcomes[self.outcomes > 0].tolist())

    @property
    def failures(self) -> "collections.Counter[str]":
        """Requests without an answer by what happened."""
        found = collections.Counter(self.outcomes[self.outcomes < 0].tolist())
        return collections.Counter({self.reasons[-1 - code]: n for code, n in found.items()})

    @property
    def good(self) -> int:
        """Answers with status 200."""
        return int(np.count_nonzero(self.outcomes == GOOD))

    @property
    def failed(self) -> int:
        """All other requests."""
        return len(self.outcomes) - self.good

    @property
    def waits(self) -> Times:
        """Seconds that percentiles are drawn from.

        Good answers, and what was given up, with the whole time it waited: a server that does not
        answer must not look better for it. Refusals and errors have no part: failing is fast.
        """
        waited: Times = self.latencies[np.isin(self.outcomes, (GOOD, NO_ANSWER, NOT_SENT))]
        return waited

    def percentile(self, percent: float) -> float:
        """Seconds that so many in a hundred `waits` did not exceed; 0 without any."""
        return _percentile(self.waits, percent)

    def resolves(self, percent: float) -> bool:
        """Whether there are requests enough to have such a percentile: one beyond it at least."""
        return round(len(self.waits) * (1 - percent / 100), 6) >= 1

    @property
    def longest(self) -> float:
        """The longest of the `waits` in seconds; 0 without any."""
        return _percentile(self.waits, 100.0)

    @property
    def late(self) -> float:
        """How late the generator was, in seconds: the 99th percentile."""
        return _percentile(self.lateness, 99.0)

    @property
    def limit(self) -> str:
        """Why the figures may be the generator's rather than the server's; "" if they are not."""
        if self.busy > BUSY:
            return f"the generator took {self.busy:.0%} of a core"
        if self.late > LATE:
            return f"the generator was {self.late * 1e3:.1f} ms late (p99)"
        return ""

    def plain(self) -> dict[str, Any]:
        """The figures as JSON knows them; times in milliseconds."""
        known = [percent for percent in PERCENTILES if self.resolves(percent)]
        names = {f"p{percent:g}": percent for percent in known} | {"max": 100.0}
        return {
            "offered": self.offered.rate,
            "rate": self.rate,
            "achieved": self.achieved,
            "latency_ms": {name: self.percentile(p) * 1e3 for name, p in names.items()},
            "good": self.good,
            "failed": self.failed,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "failures": dict(self.failures),
            "first_error": self.first_error.decode(errors="replace"),
            "backlog": self.backlog,
            "held": self.held,
            "lateness_ms": self.late * 1e3,
            "busy": self.busy,
            "limit": self.limit,
        }


def _percentile(values: Times, percent: float) -> float:
    return float(np.percentile(values, percent, method="higher")) if len(values) else 0.0
