"""Latency at offered rates: requests come when they come, answered or not.

Each server is offered shares of its own closed-loop rate. JSON bodies, which all of them take.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from rich.progress import Progress

from bench.compare.contender import Contender
from bench.compare.environment import Unavailable
from bench.compare.peers import JSON
from bench.compare.results import Result
from bench.spread import Spread
from server import load

SHARES: Final = (0.2, 0.5, 0.8, 0.9)
"""Of the rate that wrk got out of it."""

CLIENTS: Final = 64
"""The rate with so many clients counts, or with as many as there were below that."""


class Offer(NamedTuple):
    """What came of one rate in one round; times in milliseconds.

    `limit` says why the figures may be those of the load generator, "" if they are not.
    """

    server: str
    share: float
    round: int
    rate: float
    achieved: float
    p50: float
    p99: float
    max: float
    failed: int
    limit: str


class Point(NamedTuple):
    """All rounds of one rate: what was offered, requests/s, and what came of it.

    In `limited` of the `rounds`, the load generator may have been what limited the figures.
    """

    server: str
    share: float
    rate: float
    achieved: Spread
    p50: Spread
    p99: Spread
    failed: int
    limited: int
    rounds: int

    def plain(self) -> dict[str, Any]:
        """The same as JSON knows it."""
        spreads = {"achieved": self.achieved, "p50": self.p50, "p99": self.p99}
        return {**self._asdict(), **{name: one._asdict() for name, one in spreads.items()}}


def closed_loop_rates(results: Sequence[Result]) -> dict[str, float]:
    """Requests/s of each server with JSON, at the chosen number of clients."""
    here = [result for result in results if result.cell.body == JSON]
    numbers = {result.cell.clients for result in here}
    clients = max((n for n in numbers if n <= CLIENTS), default=min(numbers, default=0))
    return {
        result.server: result.quantities["rate"].median
        for result in here
        if result.cell.clients == clients
    }


def run_offers(
    contenders: Sequence[Contender],
    rates: Mapping[str, float],
    *,
    rounds: int,
    seconds: int,
    progress: Progress,
) -> Iterator[Offer]:
    """Offer all shares to all servers in turns, as in the closed loop."""
    able = [one for one in contenders if JSON in one.forms and rates.get(one.peer.name)]
    bar = progress.add_task("", total=rounds * len(SHARES) * len(able))
    for number in range(rounds):
        begins = number % max(len(able), 1)
        for share in SHARES:
            for one in able[begins:] + able[:begins]:
                rate = share * rates[one.peer.name]
                told = f"{rate:,.0f} requests/s"
                progress.update(bar, description=f"{one.peer.name}, {told}")
                if not one.failure:
                    with one.turn(f"round {number + 1}, {told}"):
                        one.check(JSON)
                        result = one.offer(JSON, rate=rate, seconds=seconds, seed=number)
                        _check(result)
                        yield _offer(one.peer.name, share, number, result)
                progress.advance(bar)
    progress.remove_task(bar)


def _check(result: load.Result) -> None:
    """Latencies of nothing but failures say nothing. Unavailable."""
    if not result.good:
        happened = result.statuses.most_common(1) or result.failures.most_common(1)
        what = happened[0][0] if happened else "nothing was due"
        msg = f"no good answer in the open loop: {what}"
        raise Unavailable(msg)


def _offer(server: str, share: float, number: int, result: load.Result) -> Offer:
    return Offer(
        server,
        share,
        number,
        result.offered.rate,
        result.achieved,
        result.percentile(50.0) * 1e3,
        result.percentile(99.0) * 1e3,
        result.longest * 1e3,
        result.failed,
        result.limit,
    )


def summarize_offers(offers: Sequence[Offer]) -> list[Point]:
    """One for each server and share, servers in the order in which they first came."""
    groups: dict[tuple[str, float], list[Offer]] = {}
    for offer in offers:
        groups.setdefault((offer.server, offer.share), []).append(offer)
    order = list(dict.fromkeys(offer.server for offer in offers))
    found = [
        Point(
            server,
            share,
            mine[0].rate,
            Spread.of(one.achieved for one in mine),
            Spread.of(one.p50 for one in mine),
            Spread.of(one.p99 for one in mine),
            sum(one.failed for one in mine),
            sum(bool(one.limit) for one in mine),
            len(mine),
        )
        for (server, share), mine in groups.items()
    ]
    return sorted(found, key=lambda point: (order.index(point.server), point.share))
