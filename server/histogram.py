"""A histogram: how many values lie at or below each bound, and their sum. Pure."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Final

SECONDS: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
    *(2.5, 5.0, 10.0),
)
"""Bounds of times."""
ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Bounds of sizes."""


class Histogram:
    """Counts values by the smallest of its upper bounds that is not below them."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds: Final = bounds
        self.sum = 0.0
        self.counts = [0] * (len(bounds) + 1)

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add_times(self, value: float, times: int) -> None:
        """Count a value as often as this."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def add_all(self, values: Iterable[float]) -> None:
        """Count each of these values once."""
        bounds, counts, find = self.bounds, self.counts, bisect_left
        total = 0.0
        for value in values:
            counts[find(bounds, value)] += 1
            total += value
        self.sum += total

    def merge(self, other: "Histogram") -> None:
        """Count what another one of the same bounds has counted."""
        for place, count in enumerate(other.counts):
            self.counts[place] += count
        self.sum += other.sum

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Each bound, infinity last, and how many values are not above it."""
        seen = 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            seen += count
            yield bound, seen
