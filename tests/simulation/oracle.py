"""What a Batcher has to do, worked out anew from its rules and from what the books hold. Pure.

Nothing in here is fast, clever or shared with the library: lists are looked through from the start
for each decision, so that a mistake would have to be made twice to go unseen.
"""

import math
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from itertools import chain, combinations, groupby
from typing import TYPE_CHECKING, TypeAlias

import batcher as lib

if TYPE_CHECKING:
    from tests.simulation.books import Station
    from tests.simulation.callers import Call, Item

Decision: TypeAlias = tuple[Hashable, lib.Reason]
Failure: TypeAlias = type[BaseException] | None
Halving: TypeAlias = "Generator[list[Item], Failure, bool]"

KNOWN_AFTER = 3
"""Run times of a size before it is believed."""


def count_rows(items: "Iterable[Item]") -> int:
    return sum([item.size for item in items])


def present(fading: "Sequence[Item]") -> "Iterator[tuple[Item, ...]]":
    """Who may still be there of those who leave in this pass of the loop: all, none, or some.

    A take in which nobody is left to run removes all of a bucket, and nobody hears of it.
    """
    yield tuple(fading)
    if fading:
        yield ()
    if len(fading) < 2:
        return
    for bucket in dict.fromkeys([item.bucket for item in fading]):
        yield tuple([item for item in fading if item.bucket != bucket])
        yield tuple([item for item in fading if item.bucket == bucket])
    few = fading[:4]
    yield from chain.from_iterable(combinations(few, count) for count in range(1, 4))


# ------------------------------------------------------------------------------------- who is next


def claim(item: "Item", ageing: float) -> tuple[float, int]:
    """A level of priority counts as much as `ageing` seconds of waiting."""
    return item.arrival + item.priority * ageing, item.turn


def urgency(item: "Item", ageing: float) -> tuple[float, bool, int]:
    """Inside one priority: the earliest deadline first, as if everybody had `ageing` seconds."""
    is_undated = item.deadline == math.inf
    return item.arrival + ageing if is_undated else item.deadline, is_undated, item.turn


def decide(station: "Station", held: "Sequence[Item]", now: float) -> Decision | None:
    """The bucket to run now and why; None if all had better wait. `held` is in order of arrival."""
    if not held:
        return None
    ageing, cap = station.features.ageing, station.cap.size
    rows: dict[Hashable, int] = {}
    for item in held:
        rows[item.bucket] = rows.get(item.bucket, 0) + item.size
    first = min(held, key=lambda item: claim(item, ageing)).bucket
    reasons = {
        lib.Reason.FULL: rows[first] >= cap or count_rows(held) >= station.max_queue_size,
        lib.Reason.DRAIN: station.draining,
        lib.Reason.IDLE: station.batch_timeout == 0,
    }
    reason = next((reason for reason, holds in reasons.items() if holds), None)
    if reason is not None:
        return first, reason
    due = held[0].arrival + station.batch_timeout
    if now >= due:
        return held[0].bucket, lib.Reason.TIMEOUT
    deadline = min(item.deadline for item in held)
    if now >= deadline - 2 * station.last_run_time:
        late = {item.bucket for item in held if item.deadline == deadline}
        pressing = [item for item in held if item.bucket in late]
        return min(pressing, key=lambda item: claim(item, ageing)).bucket, lib.Reason.DEADLINE
    full = [item for item in held if rows[item.bucket] >= cap]
    if full:
        return min(full, key=lambda item: claim(item, ageing)).bucket, lib.Reason.FULL
    return None


def next_batch(
    station: "Station", lane: "Sequence[Item]", gone: "Sequence[Item]", now: float
) -> "tuple[list[Item], list[Item]]":
    """Who of a lane runs now, and who is told that it is too late; `gone` have been cancelled."""
    ageing, cap = station.features.ageing, station.cap.size
    left = dict.fromkeys(lane)
    done = now + station.expected(station.padded(min(count_rows(lane), cap)))
    batch: list[Item] = []
    late: list[Item] = []
    doomed: list[Item] = []

    def fill(rows: int, least_urgent: float) -> None:
        while ranks := [item for item in left if item.priority <= least_urgent]:
            rank = min(ranks, key=lambda item: claim(item, ageing)).priority
            item = min(
                (item for item in ranks if item.priority == rank),
                key=lambda item: urgency(item, ageing),
            )
            if item in gone:
                pass
            elif item.deadline <= now:
                late.append(item)
            elif item.deadline <= done:
                doomed.append(item)
            elif station.has_room(batch, item, rows):
                batch.append(item)
            else:
                return
            del left[item]

    fill(cap, min(left, key=lambda item: claim(item, ageing)).priority)
    fill(station.padded(count_rows(batch)) if batch and station.is_padded else cap, math.inf)
    nobody_else = not batch
    for item in doomed:
        if nobody_else and station.has_room(batch, item, cap):
            batch.append(item)
        else:
            late.append(item)
    return batch, late


# -------------------------------------------------------------------------------- what it will take


class RunTimes:
    """Four in five of the last 15 run times of a size are not longer than its estimate."""

    def __init__(self) -> None:
        self.observed: list[tuple[int, float]] = []

    def expected(self, size: int) -> float | None:
        ordered = sorted(self.observed, key=lambda observed: observed[0])
        known: list[tuple[int, float]] = []
        for step, group in groupby(ordered, key=lambda observed: observed[0]):
            times = [seconds for _, seconds in group]
            if len(times) >= KNOWN_AFTER:
                times = sorted(times[-15:])
                known.append((step, times[int(0.8 * (len(times) - 1))]))
        if not known:
            return None
        return along(known, size)


def along(known: list[tuple[int, float]], size: int) -> float:
    """On the line through known points; flat before them, not falling after them."""
    if size <= known[0][0]:
        return known[0][1]
    if len(known) == 1:
        return known[0][1] * size / known[0][0]
    above = [number for number, (known_size, _) in enumerate(known) if known_size >= size]
    upper = above[0] if above else len(known) - 1
    (low, fast), (high, slow) = known[upper - 1 : upper + 1]
    seconds = fast + (slow - fast) * (size - low) / (high - low)
    return seconds if above else max(slow, seconds)


def waits_too_long(station: "Station", call: "Call", held: "Sequence[Item]") -> bool:
    """Whether a new call is predicted to miss its deadline, or to wait longer than anybody may."""
    now, cap, features = station.history.loop.time(), station.cap.size, station.features
    full = station.expected(station.padded(cap))
    if (call.timeout is None and features.max_wait is None) or full == 0:
        return False
    if not (station.running or held):
        return False
    left = [
        max(0.0, station.expected(run.padded_size) - (0.0 if run.is_next else now - run.taken))
        for run in station.running
    ]
    ready = sum(left) if station.concurrency == 1 else min(left, default=0.0)
    soonest = ready if len(left) >= station.concurrency else 0.0
    ahead = count_rows(item for item in held if goes_before(item, call, now))
    wait = soonest + ahead // cap // station.concurrency * full
    if features.max_wait is not None and wait > features.max_wait:
        return True
    own = station.expected(station.padded(min(count_rows(call.items), cap)))
    return call.timeout is not None and wait + own > 0.9 * call.timeout


def goes_before(item: "Item", call: "Call", now: float) -> bool:
    """Whether somebody who waits is more urgent than who comes now, or as urgent with no later end.

    Without a deadline, neither goes behind the other.
    """
    if item.priority != call.priority:
        return item.priority < call.priority
    undated = call.timeout is None or item.deadline == math.inf
    return undated or item.deadline <= now + (call.timeout or 0.0)


# ----------------------------------------------------------------------------------- failed batches


def halves(items: "list[Item]", failure: Failure, wanted: "Callable[[Item], bool]") -> Halving:
    """The parts of a failed batch to run, one by one; it is sent how each of them failed, if so."""
    middle = len(items) // 2
    was_fine = yield from part(items[:middle], wanted, fails=False)
    yield from part(items[middle:], wanted, fails=was_fine and failure is not MemoryError)
    return False


def part(items: "list[Item]", wanted: "Callable[[Item], bool]", *, fails: bool) -> Halving:
    """The same for a half, that `fails` by what is known; returns whether all of it was fine.

    When somebody has left, nothing is known: who was guilty may have gone.
    """
    living = [item for item in items if wanted(item)]
    is_whole = len(living) == len(items)
    if not living:
        return False
    if fails and is_whole and len(living) > 1:
        return (yield from halves(living, None, wanted))
    failure = yield living
    if failure is None:
        return is_whole
    if len(living) == 1 or not issubclass(failure, Exception):
        return False
    return (yield from halves(living, failure, wanted))


class Cap:
    """The largest batch, as far as learned from exhausted memory."""

    def __init__(self, most: int, allowed: Sequence[int], probe_after: int) -> None:
        self.size = self.most = most
        self.allowed = allowed or range(1, most + 1)
        self.has_allowed = bool(allowed)
        self.probe_after = probe_after
        self.successes = 0

    def learn(self, size: int, failure: Failure) -> None:
        """A batch padded to so many rows has ended."""
        if failure is MemoryError:
            half = [allowed for allowed in self.allowed if allowed <= size // 2]
            self.size = min(self.size, max(half, default=self.allowed[0]))
            self.successes = 0
        elif failure is None and self.size <= size and self.size < self.most:
            self.successes += 1
            if self.successes == self.probe_after:
                self.successes = 0
                step = 1 if self.has_allowed else max(1, self.size // 4)
                more = min(self.size + step, self.most)
                self.size = min(allowed for allowed in self.allowed if allowed >= more)
