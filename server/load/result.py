"""What came of an offered load: one entry for each request, and figures drawn from them. Pure."""

import collections
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from server.load.arrivals import Clients, Offered, Times

GOOD: Final = 200
"""The one status that counts as an answer."""

BUSY: Final = 0.9
"""Share of a core from which on the generator is taken for the limit."""

LATE: Final = 0.005
"""Seconds between due and taken up, at the 99th percentile, from which on it is, too."""

SHED: Final = (429, 503)
"""The statuses by which a server refuses what it would not manage."""

PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9)

NO_ANSWER: Final = -1
NOT_SENT: Final = -2
"""Outcomes of requests that were given up; those of others without an answer are below."""


@dataclass(frozen=True, slots=True)
class Result:
    """The requests of a plan that count, n of them, in the order in which they were due."""

    plan: Offered | Clients
    """what was done; less than was planned if it was interrupted"""
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
    examples: Mapping[int, bytes] = field(default_factory=dict)
    """by status other than 200, in their order: the beginning of the first such answer's body"""
    timings: tuple[bytes, ...] = ()
    """what `Server-Timing` of the last good answers said, those of the warm-up too"""
    interrupted: bool = False
    """whether it was ended early"""
    unended: int = 0
    """requests that were due by then and had not ended: they are not among the others"""

    @property
    def offered(self) -> Offered:
        """The plan of an open loop."""
        assert isinstance(self.plan, Offered)
        return self.plan

    @property
    def first_error(self) -> bytes:
        """The beginning of the body of the first answer with another status than 200."""
        return next(iter(self.examples.values()), b"")

    @property
    def shed(self) -> int:
        """Answers by which a server says that it has too much to do."""
        return sum(self.statuses[status] for status in SHED)

    @property
    def rate(self) -> float:
        """Requests that were due, a second: the plan's rate but for chance."""
        return len(self.latencies) / self.plan.seconds

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
            **_plain(self.plan),
            "rate": self.rate,
            "achieved": self.achieved,
            "latency_ms": {name: self.percentile(p) * 1e3 for name, p in names.items()},
            "good": self.good,
            "failed": self.failed,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "failures": dict(self.failures),
            "shed": self.shed,
            "first_error": self.first_error.decode(errors="replace"),
            "examples": {
                str(k): text.decode(errors="replace") for k, text in self.examples.items()
            },
            "backlog": self.backlog,
            "held": self.held,
            "lateness_ms": self.late * 1e3,
            "busy": self.busy,
            "limit": self.limit,
            "interrupted": self.interrupted,
            "unended": self.unended,
        }


def _plain(plan: Offered | Clients) -> dict[str, Any]:
    told = {"clients": plan.clients} if isinstance(plan, Clients) else {"offered": plan.rate}
    return told | {"seconds": plan.seconds}


def _percentile(values: Times, percent: float) -> float:
    return float(np.percentile(values, percent, method="higher")) if len(values) else 0.0
