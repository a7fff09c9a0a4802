"""The tables of a comparison."""

from collections.abc import Sequence
from typing import Final

from bench.compare.match import Failure, Match
from bench.compare.peers import FORMATS
from bench.compare.results import QUANTITIES, Beside, Result, beside_best
from bench.screen import screen, show_table
from bench.spread import Spread

COLUMNS: Final = (
    *("server", "clients", "requests/s", "p50 ms", "p99 ms", "max ms", "CPU s/1,000", "failed"),
    "ours : it",
)

STANDINGS: Final = ("server", "body", "start s", "idle CPU", "memory MB")

BEST: Final = ("model, body", "clients", "rate", "p50 of those that batch", "p99", "CPU")

OFFERS: Final = (
    *("server", "share", "offered/s", "achieved/s", "p50 ms", "p99 ms", "failed", "limited"),
)

NOTHING: Final = "-"


def show_match(match: Match, formats: Sequence[str], peers: Sequence[str]) -> None:
    """All tables of one model."""
    results = match.results()
    for name in formats:
        here = [result for result in results if result.cell.body in FORMATS[name]]
        groups = [
            [_row(result) for result in _fastest_first(here, clients)]
            for clients in sorted({result.cell.clients for result in here})
        ]
        shown = {result.server for result in here}
        absent = [_absent(peer, name, match.failures) for peer in peers if peer not in shown]
        title = f"{match.model}, {name}: medians of the rounds (lowest..highest)"
        show_table(title, COLUMNS, [*groups, absent])
    rows = [
        [
            standing.server,
            ", ".join(standing.bodies),
            f"{standing.started_in:.1f}",
            f"{standing.idle:.1%}",
            f"{standing.memory:,.0f}",
        ]
        for standing in match.standings
    ]
    show_table(f"{match.model}, beside the load", STANDINGS, [rows])
    if match.offers:
        _show_offers(match)
    show_failures(match.failures)


def show_failures(failures: Sequence[Failure]) -> None:
    """Who was not measured, and why."""
    for failure in failures:
        screen().print(
            f"{failure.server} ({', '.join(failure.bodies)}): {failure.reason}", markup=False
        )


def _show_offers(match: Match) -> None:
    """Latency at offered rates."""
    groups: dict[str, list[list[str]]] = {}
    for point in match.points():
        row = [
            point.server,
            f"{point.share:.0%}",
            f"{point.rate:,.0f}",
            _text(point.achieved),
            _text(point.p50),
            _text(point.p99),
            f"{point.failed:,}",
            f"{point.limited} of {point.rounds}" if point.limited else NOTHING,
        ]
        groups.setdefault(point.server, []).append(row)
    title = f"{match.model}, json, open loop: shares of each server's own closed-loop rate"
    below = "limited: rounds in which the load generator may have been the limit"
    show_table(title, OFFERS, groups.values(), below=below)


def show_best(matches: Sequence[Match]) -> None:
    """Ours beside the best peer of each cell and quantity."""
    groups = [[_beside(match, one) for one in beside_best(match.results())] for match in matches]
    if any(groups):
        show_table("Ours : the best peer in each quantity", BEST, groups)


def _fastest_first(results: Sequence[Result], clients: int) -> list[Result]:
    here = [result for result in results if result.cell.clients == clients]
    return sorted(here, key=lambda result: -result.quantities["rate"].median)


def _row(result: Result) -> list[str]:
    quantities = result.quantities
    rate = result.ratios.get("rate")
    return [
        result.label,
        str(result.cell.clients),
        *(_text(quantities[name]) for name in QUANTITIES),
        f"{result.failed:,}",
        "" if rate is None else f"{rate:.2f}",
    ]


def _absent(server: str, format_name: str, failures: Sequence[Failure]) -> list[str]:
    """The row of a server without figures."""
    bodies = FORMATS[format_name]
    failed = any(one.server == server and set(one.bodies) & set(bodies) for one in failures)
    why = "failed, see below" if failed else f"no {format_name} bodies"
    return [server, *[NOTHING] * (len(COLUMNS) - 2), why]


def _text(spread: Spread) -> str:
    """As many decimals as a median of its size deserves."""
    decimals = sum(spread.median < bound for bound in (100, 10, 1))
    return f"{spread:,.{decimals}f}"


def _beside(match: Match, beside: Beside) -> list[str]:
    cell = beside.ours.cell
    names = ("rate", "p50 batching", "p99", "cpu")
    best = [beside.best.get(name) for name in names]
    told = [NOTHING if one is None else f"{one.ratio:.2f} {one.peer.label}" for one in best]
    return [f"{match.model}, {cell.body}", str(cell.clients), *told]
