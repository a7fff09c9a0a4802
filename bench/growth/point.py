"""What growth is made of: one cost at one size, one line of them, one panel of lines. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from bench.spread import Spread


class Line(NamedTuple):
    """Costs in µs, one for each round, at each size."""

    name: str
    costs: Mapping[int, Sequence[float]]

    def spreads(self) -> dict[int, Spread]:
        """Median, lowest and highest round at each size, ascending."""
        return {size: Spread.of(self.costs[size]) for size in sorted(self.costs)}


class Panel(NamedTuple):
    """Lines with one axis of sizes: `grows` names it, `cost` what is paid and its unit.

    Tables show what stands `beside` the lines as well.
    """

    key: str
    title: str
    grows: str
    cost: str
    lines: Sequence[Line]
    beside: Sequence[Line]

    def sizes(self) -> list[int]:
        """All sizes of all lines, ascending."""
        return sorted({size for line in self.lines for size in line.costs})

    def plain(self) -> dict[str, Any]:
        """The same as JSON knows it."""
        return {
            **self._asdict(),
            "lines": [line._asdict() for line in self.lines],
            "beside": [line._asdict() for line in self.beside],
        }


def lines_of(measured: Iterable[tuple[str, int, float]], names: Iterable[str]) -> list[Line]:
    """Gather single costs, each with the name of its line and its size, into lines so named."""
    costs: dict[str, dict[int, list[float]]] = {name: {} for name in names}
    for name, size, cost in measured:
        costs[name].setdefault(size, []).append(cost)
    return [Line(name, sizes) for name, sizes in costs.items()]
