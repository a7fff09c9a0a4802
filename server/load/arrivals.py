"""Plans of load: when requests are due, drawn before the first of them is sent. Pure.

constant   one each 1/rate seconds: shows what the server does by itself
poisson    callers that know nothing of each other: gaps are exponential, and requests come in
           bunches, as they do from many people
"""

import math
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

Kind = Literal["constant", "poisson"]

Times = npt.NDArray[np.float64]

MOST: Final = 20_000_000
"""Requests of one plan; each takes 26 bytes of memory."""


@dataclass(frozen=True, slots=True)
class Offered:
    """A plan: so many requests a second, on average, for so many seconds. ValueError.

    Those that are due in the first `warmup` seconds, which come on top, are sent but do not count.
    The same `seed` gives the same times; a plan that lasts longer begins with them.
    """

    rate: float
    seconds: float
    warmup: float = 0.0
    kind: Kind = "poisson"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        _check("rate", self.rate, above=self.rate > 0)
        _check("seconds", self.seconds, above=self.seconds > 0)
        _check("warmup", self.warmup, above=self.warmup >= 0)
        if self.kind not in get_args(Kind):
            msg = f"kind is {self.kind!r}: expected one of {', '.join(get_args(Kind))}"
            raise ValueError(msg)
        if self.rate * self.whole > MOST:
            msg = f"{self.rate * self.whole:,.0f} requests: one plan has at most {MOST:,}"
            raise ValueError(msg)

    @property
    def whole(self) -> float:
        """All its seconds, those of the warm-up too."""
        return self.warmup + self.seconds

    def times(self) -> Times:
        """When each request is due, in seconds from the beginning of the warm-up."""
        return arrival_times(self.seed, self.rate, self.kind, self.whole)


@dataclass(frozen=True, slots=True)
class Clients:
    """A plan without times: so many clients, each of which asks again when it is answered.

    What is asked in the first `warmup` seconds, which come on top, does not count. ValueError.
    """

    clients: int
    seconds: float
    warmup: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be done."""
        if self.clients < 1:
            msg = f"clients is {self.clients}: expected at least 1"
            raise ValueError(msg)
        _check("seconds", self.seconds, above=self.seconds > 0)
        _check("warmup", self.warmup, above=self.warmup >= 0)

    @property
    def whole(self) -> float:
        """All its seconds, those of the warm-up too."""
        return self.warmup + self.seconds


def arrival_times(seed: int, rate: float, kind: Kind, seconds: float) -> Times:
    """Times from 0 to `seconds` (not included), ascending, at `rate` a second: float64, seconds."""
    if kind == "constant":
        times = np.arange(math.ceil(rate * seconds)) / rate
        return times[times < seconds]
    chance = np.random.Generator(np.random.PCG64(seed))
    expected = rate * seconds
    # So many are next to never too few: ten standard deviations.
    many = math.ceil(expected + 10 * math.sqrt(expected) + 10)
    times = np.cumsum(chance.exponential(1 / rate, many))
    while times[-1] < seconds:
        more = chance.exponential(1 / rate, many)
        times = np.concatenate([times, times[-1] + np.cumsum(more)])
    return times[times < seconds]


def _check(name: str, value: Any, *, above: bool) -> None:
    if not (above and math.isfinite(value)):
        bound = "from 0" if name == "warmup" else "above 0"
        msg = f"{name} is {value!r}: expected a finite number {bound}"
        raise ValueError(msg)
