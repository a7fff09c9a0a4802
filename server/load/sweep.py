"""Latency against offered rate, up to the rate that a server no longer keeps up with. Event loop.

The rate doubles until it is too much; a few more between the last that was not and the first that
was tell where that happens. How to go on is decided by a pure function of what was seen.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from server.load.result import Result

ENOUGH: Final = 0.95
"""Share of the offered rate that must be achieved."""

CALM: Final = 0.05
"""Seconds: a p99 below is never too long."""

EXPLODED: Final = 20.0
"""Times the shortest p99 of all rates: a p99 above is too long."""

LOWEST: Final = 0.1
"""Requests a second below which nothing is tried."""


class Stretch(NamedTuple):
    """What came of one rate, and why it was too much: "" if it was not."""

    result: Result
    too_much: str


async def sweep(
    measure: Callable[[float], Awaitable[Result]],
    *,
    rates: Sequence[float] = (),
    begin: float = 100.0,
    refine: int = 3,
    settle: float = 0.5,
) -> AsyncIterator[Stretch]:
    """Offer one rate after the other, `settle` seconds apart, and give what came of each.

    `rates` are tried in ascending order up to the first that is too much. Without any, they are
    found: from `begin` on, with `refine` more where it gets too much.
    """
    seen: list[Stretch] = []
    while (rate := _listed(rates, seen) if rates else next_rate(seen, begin, refine)) is not None:
        if seen:
            await asyncio.sleep(settle)
        result = await measure(rate)
        shortest = min((s.result.percentile(99.0) for s in seen if not s.too_much), default=0.0)
        seen.append(Stretch(result, too_much(result, shortest)))
        yield seen[-1]


def too_much(result: Result, shortest: float) -> str:
    """Why a server did not keep up with a rate, "" if it did; `shortest` is the best p99 before."""
    share = result.achieved / result.rate if result.rate else 1.0
    if share < ENOUGH:
        return f"{share:.1%} of the offered rate achieved"
    p99 = result.percentile(99.0)
    if shortest and p99 > max(CALM, EXPLODED * shortest):
        return f"p99 is {p99 / shortest:,.0f} times that of a lower rate"
    return ""


def next_rate(seen: Sequence[Stretch], begin: float, refine: int) -> float | None:
    """Where to go on: double, halve if even the first was too much, then close in. Pure."""
    if not seen:
        return begin
    kept = [stretch.result.offered.rate for stretch in seen if not stretch.too_much]
    missed = [stretch.result.offered.rate for stretch in seen if stretch.too_much]
    if not missed:
        return 2 * max(kept)
    if not kept:
        return min(missed) / 2 if min(missed) / 2 >= LOWEST else None
    most = max(kept)
    least = min((rate for rate in missed if rate > most), default=None)
    # By chance a higher rate may have been kept than one that was too much.
    if least is None or len(_between(seen)) >= refine:
        return None
    return _rounded((most + least) / 2)


def _between(seen: Sequence[Stretch]) -> list[Stretch]:
    """The stretches after both a rate that was kept and one that was too much were known."""
    first = bool(seen[0].too_much)
    other = (count for count, stretch in enumerate(seen) if bool(stretch.too_much) != first)
    return list(seen[next(other) + 1 :])


def _listed(rates: Sequence[float], seen: Sequence[Stretch]) -> float | None:
    if (seen and seen[-1].too_much) or len(seen) == len(rates):
        return None
    return sorted(rates)[len(seen)]


def _rounded(rate: float) -> float:
    """Three digits that count: nobody reads more."""
    return round(rate, 2 - math.floor(math.log10(rate)))
