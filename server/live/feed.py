"""Takes down what happens to batches and requests, while somebody watches. Event loop.

Who has something to tell looks at `watched` first: one attribute, which is all that this costs when
nobody does. What is taken down is bounded, whatever the load, and gone with the next event.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from batcher import BatchRecord

MOST_BATCHES: Final = 400
"""Batches of all versions that one event tells one by one; further ones are told as a sum."""

MOST_REQUESTS: Final = 500
"""Requests of one version whose times are taken down for one event; a share is as good as all."""


class Times(NamedTuple):
    """How many seconds one answered request took, stage by stage, and in all.

    In between lies more than the stages: the event loop may be busy with others.
    """

    read: float
    queue: float
    run: float
    write: float
    total: float


@dataclass(slots=True)
class LeftOut:
    """The batches that are not told one by one: how many, and from when until when they ran."""

    count: int = 0
    size: int = 0
    begin: float = 0.0
    end: float = 0.0


@dataclass(slots=True)
class Seen:
    """What happened to one version since the last event; sizes in rows, times in seconds."""

    batches: list[BatchRecord] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)
    size: int = 0
    padded_size: int = 0
    busy: float = 0.0
    """How long batches ran, all together."""
    times: list[Times] = field(default_factory=list)


@dataclass(slots=True)
class Taken:
    """What happened since the last event, by name and version; errors by model and code."""

    versions: dict[tuple[str, int], Seen] = field(default_factory=dict)
    errors: dict[str, Counter[str]] = field(default_factory=dict)
    batches: int = 0
    """Batches that are told one by one."""


class Feed:
    """Where batches, answers and errors are told, if `watched`."""

    __slots__ = ("_taken", "watched")

    def __init__(self) -> None:
        self.watched = False
        self._taken = Taken()

    def batch(self, name: str, version: int, record: BatchRecord) -> None:
        """A batch has run."""
        taken, seen = self._taken, self._seen(name, version)
        seen.size += record.size
        seen.padded_size += record.padded_size
        seen.busy += record.run_time
        if taken.batches < MOST_BATCHES:
            taken.batches += 1
            seen.batches.append(record)
            return
        out = seen.left_out
        out.begin = min(out.begin, record.taken) if out.count else record.taken
        out.end = max(out.end, record.taken + record.run_time)
        out.count += 1
        out.size += record.size

    def answered(self, name: str, version: int, times: Times) -> None:
        """A request was answered."""
        seen = self._seen(name, version).times
        if len(seen) < MOST_REQUESTS:
            seen.append(times)

    def refused(self, model: str, code: str) -> None:
        """A request ended in an error of this code; `model` is "" unless it is one of ours."""
        self._taken.errors.setdefault(model, Counter())[code] += 1

    def take(self) -> Taken:
        """What happened since this was called last, which is not kept."""
        taken, self._taken = self._taken, Taken()
        return taken

    def _seen(self, name: str, version: int) -> Seen:
        versions: dict[tuple[str, int], Seen] = self._taken.versions
        seen = versions.get((name, version))
        if seen is None:
            seen = versions[name, version] = Seen()
        return seen
