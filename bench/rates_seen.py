"""What came of a server, rate by rate: as a table and as JSON."""

from typing import Any, Final, NamedTuple

from bench.screen import show_table
from bench.target import Target
from server.load import Stretch
from server.load.result import PERCENTILES

COLUMNS: Final = (
    *(
        "offered/s",
        "due/s",
        "achieved/s",
        *(f"p{percent:g} ms" for percent in PERCENTILES),
        "max ms",
    ),
    *("failed", "late ms", "busy", ""),
)

BELOW: Final = """\
due: what was offered, as chance had it. Latency counts from when a request was due; what was not
answered in time counts with its whole wait. late: how long after it was due the generator took a
request up (p99); without a free connection it waited on. busy: the generator's share of a core.\
"""


class Sweep(NamedTuple):
    """One server, what it is sent, and what came of it rate by rate."""

    name: str
    target: Target
    request: bytes
    stretches: list[Stretch]

    @property
    def kept(self) -> float:
        """The highest offered rate that the server kept up with, in requests a second; or 0."""
        kept = (stretch.result for stretch in self.stretches if not stretch.too_much)
        return max((result.offered.rate for result in kept), default=0.0)

    @property
    def most(self) -> float:
        """The most good answers a second at any rate."""
        return max((stretch.result.achieved for stretch in self.stretches), default=0.0)

    @property
    def missed(self) -> list[float]:
        """The offered rates that were too much, ascending."""
        return sorted(s.result.offered.rate for s in self.stretches if s.too_much)

    def told(self) -> str:
        """How far it went, in a line."""
        if not self.missed:
            return f"{self.name} kept up with all rates, to {self.kept:,.0f} requests/s"
        return (
            f"{self.name} keeps up with {self.kept:,.0f} requests/s,"
            f" answers {self.most:,.0f} at most"
        )

    def show(self) -> None:
        """Print a row for each rate, and how far it went."""
        rows = [_row(stretch) for stretch in self.stretches]
        show_table(str(self.target), COLUMNS, [rows], below=f"{self.told()}.\n\n{BELOW}")

    def plain(self) -> dict[str, Any]:
        """The same as JSON knows it."""
        return {
            "url": str(self.target),
            "kept": self.kept,
            "most": self.most,
            "rates": [
                {**stretch.result.plain(), "too_much": stretch.too_much}
                for stretch in self.stretches
            ],
        }


def _row(stretch: Stretch) -> list[str]:
    result = stretch.result
    times = [
        f"{result.percentile(percent) * 1e3:,.2f}" if result.resolves(percent) else "-"
        for percent in PERCENTILES
    ]
    return [
        *(_short(rate) for rate in (result.offered.rate, result.rate, result.achieved)),
        *times,
        f"{result.longest * 1e3:,.2f}",
        f"{result.failed:,}",
        f"{result.late * 1e3:.2f}",
        f"{result.busy:.0%}",
        "; ".join(word for word in (stretch.too_much, result.limit) if word),
    ]


def _short(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"
