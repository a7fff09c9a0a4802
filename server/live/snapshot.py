"""What an event says, of what there is and what has happened: plain values for JSON. Pure.

Times are in seconds, sizes in rows. Counters and gauges are of the moment; `batches`, `left_out`,
`sums`, `stages` and `errors` are of the time since the event before.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from batcher import BatcherStats, BatchRecord, Receipt
from server.inference import VersionState
from server.live.feed import Seen, Taken, Times

STEPS: Final = 8
"""Steps of a histogram to each doubling: a percentile is told to within 9 %."""

SHORTEST: Final = 1e-6
"""Seconds below which nothing is told apart."""

MOST_VERSIONS: Final = 64
"""Versions that one event tells of; those that had most requests, if there are more."""


@dataclass(frozen=True, slots=True)
class Serves:
    """A version that takes requests. `draws`: it reads 8x8 drawings of the ten digits."""

    stats: BatcherStats
    expected: Sequence[tuple[int, float]]
    """Sizes of batches, and how long each is learned to run."""
    draws: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """A version of a model and its state; `serves` is None if it takes no requests."""

    name: str
    state: VersionState
    serves: Serves | None = None


def snapshot(shown: Sequence[Shown], taken: Taken) -> dict[str, Any]:
    """The part of an event that tells of models."""
    chosen = most_used(shown)
    return {
        "versions": [_version(each, taken.versions) for each in chosen],
        "left_out_versions": len(shown) - len(chosen),
        "errors": {model: dict(codes) for model, codes in taken.errors.items()},
    }


def most_used(shown: Sequence[Shown]) -> list[Shown]:
    """All versions, or as many as an event has room for, in the order in which they came."""
    if len(shown) <= MOST_VERSIONS:
        return list(shown)
    used = [(each.serves.stats.accepted if each.serves else 0, -i) for i, each in enumerate(shown)]
    chosen = sorted(range(len(shown)), key=used.__getitem__, reverse=True)[:MOST_VERSIONS]
    return [shown[i] for i in sorted(chosen)]


def _version(shown: Shown, versions: Mapping[tuple[str, int], Seen]) -> dict[str, Any]:
    state = shown.state
    seen = versions.get((shown.name, state.version)) or Seen()
    told: dict[str, Any] = {
        "model": shown.name,
        "version": state.version,
        "state": state.state,
        "error": state.error,
        "batches": [batch(record) for record in seen.batches],
        "left_out": _left_out(seen),
        "sums": _sums(seen),
        "stages": stages(seen.times),
    }
    if shown.serves is not None:
        told |= _serves(shown.serves)
    return told


def _serves(serves: Serves) -> dict[str, Any]:
    stats = serves.stats
    gauges = ("queued_requests", "queued_rows", "running_batches", "max_batch_size", "healthy")
    counters = ("accepted", "answered", "failed", "expired", "cancelled", "refused", "batches")
    return {
        "now": {name: getattr(stats, name) for name in gauges},
        "totals": {name: getattr(stats, name) for name in counters},
        "expected": [[size, _short(seconds)] for size, seconds in serves.expected],
        "draws": serves.draws,
    }


def batch(record: BatchRecord) -> list[Any]:
    """One batch as a bar, and the requests that it failed."""
    return _bar(record, record.size, record.requests, record.failed + record.again)


def bar(receipt: Receipt) -> list[Any]:
    """The batch of one of its requests, in the same form."""
    return _bar(receipt, receipt.batch_size, receipt.batch_requests, 0)


def _bar(told: BatchRecord | Receipt, size: int, requests: int, failed: int) -> list[Any]:
    """When it was taken, how long it ran, its rows without and with padding, and why it was."""
    times = (_short(told.taken), _short(told.run_time))
    return [*times, size, told.padded_size, requests, told.reason.value, failed]


def _sums(seen: Seen) -> dict[str, Any]:
    """Of all batches, told one by one or not."""
    batches = len(seen.batches) + seen.left_out.count
    sizes = {"size": seen.size, "padded_size": seen.padded_size}
    return {"batches": batches, **sizes, "busy": _short(seen.busy)}


def _left_out(seen: Seen) -> dict[str, Any] | None:
    out = seen.left_out
    if not out.count:
        return None
    begin, end = _short(out.begin), _short(out.end)
    return {"count": out.count, "size": out.size, "begin": begin, "end": end}


def stages(times: Sequence[Times]) -> dict[str, list[list[int]]]:
    """The histogram of each stage, and of the whole."""
    if not times:
        return {}
    return {name: histogram([getattr(each, name) for each in times]) for name in Times._fields}


def histogram(seconds: Iterable[float]) -> list[list[int]]:
    """How many durations there are to each step, ascending: step k begins at `step_begins(k)`."""
    counted = Counter(map(step_of, seconds))
    return [[step, counted[step]] for step in sorted(counted)]


def step_of(seconds: float) -> int:
    """The step of a duration."""
    return int(STEPS * math.log2(seconds / SHORTEST)) if seconds > SHORTEST else 0


def step_begins(step: int) -> float:
    """The shortest duration of a step, in seconds."""
    return SHORTEST * math.pow(2, step / STEPS)


def sizes_to_show(most: int) -> list[int]:
    """Sizes of batches for which run times are told: each double, and the largest."""
    return sorted({*(1 << k for k in range(most.bit_length())), most})


def expected(predict: Callable[[int], float | None], most: int) -> list[tuple[int, float]]:
    """What batches of these sizes are learned to take; nothing while too little is known."""
    times = [(size, predict(size)) for size in sizes_to_show(most)]
    return [(size, seconds) for size, seconds in times if seconds is not None]


def _short(seconds: float) -> float:
    """To the microsecond: no digits that mean nothing."""
    return round(seconds, 6)
