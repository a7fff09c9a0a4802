"""What several rounds of one measurement have in common: the median, and how far they lie apart."""

import statistics
from collections.abc import Iterable
from typing import NamedTuple, Self


class Spread(NamedTuple):
    """Median, smallest and largest of some rounds. `f"{spread:.1f}"` formats all three."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Summarize one value a round."""
        values = list(values)
        return cls(statistics.median(values), min(values), max(values))

    def __format__(self, spec: str) -> str:
        """`median (low..high)`, each with the given format."""
        return f"{self.median:{spec}} ({self.low:{spec}}..{self.high:{spec}})"
