"""What the turns come to: medians over rounds, and how ours compares in the same round. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from bench.compare.peers import FORMATS, JSON, OURS, SERVERS
from bench.compare.rounds import Cell, Turn
from bench.spread import Spread

QUANTITIES: Final = ("rate", "p50", "p99", "max", "cpu")
"""Requests/s; milliseconds; seconds of CPU per 1,000 requests."""


BATCHING: Final = {peer.name for peer in SERVERS if peer.batches}


class Result(NamedTuple):
    """All rounds of one server in one cell: each quantity, and ours divided by it, round by round.

    `ratios` is empty for ours, and where ours was not measured beside it.
    """

    server: str
    cell: Cell
    quantities: Mapping[str, Spread]
    ratios: Mapping[str, Spread]
    requests: int
    failed: int

    @property
    def label(self) -> str:
        """The server, with the body unless that is JSON."""
        return self.server if self.cell.body == JSON else f"{self.server} ({self.cell.body})"

    def plain(self) -> dict[str, Any]:
        """The same as JSON knows it."""
        return {
            "server": self.server,
            **self.cell._asdict(),
            **{name: spread._asdict() for name, spread in self.quantities.items()},
            "ours_to_it": {name: spread._asdict() for name, spread in self.ratios.items()},
            "requests": self.requests,
            "failed": self.failed,
        }


def summarize(turns: Iterable[Turn]) -> list[Result]:
    """One result for each server and cell, in the order in which they first came."""
    groups: dict[tuple[str, Cell], list[Turn]] = {}
    for turn in turns:
        groups.setdefault((turn.server, turn.cell), []).append(turn)
    return [
        _result(server, cell, mine, groups.get((OURS, cell), []))
        for (server, cell), mine in groups.items()
    ]


class Best(NamedTuple):
    """Ours beside the best peer in one quantity, whichever that is; `ratio` is ours : its.

    It is of turns in the same round where both sent the same body; otherwise it is of the medians,
    and the spread says nothing.
    """

    peer: Result
    ratio: Spread


class Beside(NamedTuple):
    """Ours in one cell, and who is best in each quantity; `p50 batching` is of peers that batch."""

    ours: Result
    best: Mapping[str, Best]


def beside_best(results: Sequence[Result]) -> list[Beside]:
    """For each format and number of clients. Of several forms of body, the fastest counts."""
    found = []
    for bodies in FORMATS.values():
        for clients in sorted({result.cell.clients for result in results}):
            here = [r for r in results if r.cell.clients == clients and r.cell.body in bodies]
            ours = [result for result in here if result.server == OURS]
            peers = [result for result in here if result.server != OURS]
            if ours and peers:
                mine = max(ours, key=lambda result: result.quantities["rate"].median)
                found.append(Beside(mine, _best(mine, peers)))
    return found


def _best(ours: Result, peers: Sequence[Result]) -> dict[str, Best]:
    best = {}
    for name in QUANTITIES:
        best[name] = _best_in(name, ours, peers)
    if batching := [peer for peer in peers if peer.server in BATCHING]:
        best["p50 batching"] = _best_in("p50", ours, batching)
    return best


def _best_in(name: str, ours: Result, peers: Sequence[Result]) -> Best:
    choose = max if name == "rate" else min
    peer = choose(peers, key=lambda result: result.quantities[name].median)
    if ours.cell == peer.cell and name in peer.ratios:
        return Best(peer, peer.ratios[name])
    other = peer.quantities[name].median
    return Best(peer, Spread.of([ours.quantities[name].median / other if other else math.inf]))


def _result(server: str, cell: Cell, mine: Sequence[Turn], ours: Sequence[Turn]) -> Result:
    by_round = {turn.round: turn for turn in ours}
    pairs = [(by_round[turn.round], turn) for turn in mine if turn.round in by_round]
    ratios = {
        name: Spread.of(_quantity(one, name) / _quantity(other, name) for one, other in pairs)
        for name in QUANTITIES
        if server != OURS and pairs and all(_quantity(other, name) for _, other in pairs)
    }
    return Result(
        server,
        cell,
        {name: Spread.of(_quantity(turn, name) for turn in mine) for name in QUANTITIES},
        ratios,
        sum(turn.figures.requests for turn in mine),
        sum(turn.figures.failed for turn in mine),
    )


def _quantity(turn: Turn, name: str) -> float:
    value: float = turn.cpu if name == "cpu" else getattr(turn.figures, name)
    return value
