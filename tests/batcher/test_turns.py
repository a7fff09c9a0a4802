"""Turns are fair by time: who has used least goes next, in plain numbers and with real Batchers."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher import Batch, Batcher, BatchFailed, BatchRecord
from batcher.executor import Done, Function
from batcher.testing import FakeExecutor, run
from batcher.turns import Claimant, Claims
from tests.batcher.conftest import Reports
from tests.batcher.scenes import double, outcomes, settle, work_off

# -------------------------------------------------------------------------------------- decisions


def claimants(*used: float) -> list[Claimant]:
    """Some who have used so much."""
    made = [Claimant() for _ in used]
    for claimant, seconds in zip(made, used, strict=True):
        claimant.used = seconds
    return made


class Waiting:
    """Claims by name, and the order in which they are granted."""

    def __init__(self) -> None:
        self.claims = Claims()
        self._granted: list[str] = []

    def ask(self, name: str, claimant: Claimant) -> None:
        """One more waits."""
        self.claims.ask(claimant, lambda: self._granted.append(name))

    def order(self) -> list[str]:
        """Grant turns as long as somebody waits."""
        while self.claims:
            self.claims.next()()
        return self._granted


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        pytest.param((0, 0, 0), "abc", id="equal: in the order asked"),
        pytest.param((3, 2, 1), "cba", id="the least first"),
        pytest.param((2, 1, 2, 1), "bdac", id="equals among others"),
        pytest.param((0,), "a", id="alone"),
    ],
)
def test_who_has_used_least_goes_next(used: Sequence[float], expected: str) -> None:
    waiting = Waiting()
    for claimant, name in zip(claimants(*used), "abcd", strict=False):
        waiting.ask(name, claimant)
    assert len(waiting.claims) == len(used)
    assert "".join(waiting.order()) == expected


@pytest.mark.parametrize(
    ("used", "waiting", "begins"),
    [
        pytest.param(5, (), True, id="nobody waits, whatever it has used"),
        pytest.param(5, (6, 7), True, id="less than all who wait"),
        pytest.param(5, (6, 4), False, id="more than one of them"),
        pytest.param(5, (6, 5), False, id="as much as one of them, who asked first"),
    ],
)
def test_a_free_turn_is_for_whoever_has_used_least(
    used: float, waiting: Sequence[float], *, begins: bool
) -> None:
    claims = Claims()
    for other in claimants(*waiting):
        claims.ask(other, lambda: None)
    assert claims.begin(*claimants(used)) is begins


def test_time_off_is_not_saved_up() -> None:
    claims = Claims()
    busy, idle = claimants(0, 0)
    for _ in range(10):
        assert claims.begin(busy)
        busy.used += 1.0
    claims.ask(idle, lambda: None)
    # It comes back level with the last turn, that is one turn ahead of who had it.
    assert (idle.used, busy.used) == (9.0, 10.0)


def test_whoever_asks_alone_pays_for_one_turn_at_most() -> None:
    waiting = Waiting()
    lone, newcomer = claimants(1000, 0)
    assert waiting.claims.begin(lone)
    lone.used += 1.0
    waiting.ask("newcomer", newcomer)
    waiting.ask("lone", lone)
    assert lone.used - newcomer.used == 1.0
    assert waiting.order() == ["newcomer", "lone"]


def test_what_a_waiting_claimant_is_charged_meanwhile_counts() -> None:
    """One with several turns at a time asks for the next while others of its own run."""
    waiting = Waiting()
    many, one = claimants(0, 0)
    waiting.ask("many", many)
    waiting.ask("one", one)
    many.used += 1.0
    assert waiting.order() == ["one", "many"]


# --------------------------------------------------------------------------- Batchers of a device

MOST = 2
"""Rows in a batch."""

HORIZON = 50.0


class Diary(FakeExecutor):
    """A device that takes as long as the batch says, and notes who had it from when to when."""

    def __init__(self) -> None:
        super().__init__(run_time=lambda argument: self.planned(argument)[1])
        self.turns: list[tuple[Any, float, float]] = []

    @staticmethod
    def planned(argument: Any) -> tuple[object, float]:
        """Whose turn it is, and how long: the bucket of a batch, the argument of other calls."""
        planned: tuple[object, float] = getattr(argument, "bucket", ("call", argument))
        return planned

    def run(self, function: Function, argument: Any, done: Done) -> None:
        """Note a turn."""
        name, seconds = self.planned(argument)
        now = asyncio.get_running_loop().time()
        self.turns.append((name, now, now + seconds))
        super().run(function, argument, done)

    def used(self, name: object, begin: float, end: float) -> float:
        """How long one has had the device between two moments."""
        mine = [(b, e) for who, b, e in self.turns if who == name]
        return sum(max(0.0, min(e, end) - max(b, begin)) for b, e in mine)

    def longest(self, name: object) -> float:
        """Its longest turn."""
        return max((e - b for who, b, e in self.turns if who == name), default=0.0)


async def keep_waiting(batcher: Batcher[int, int], name: int, times: Sequence[float]) -> None:
    """See to it that there are always requests for another batch; each takes its time."""
    waiting: set[asyncio.Task[int]] = set()
    turn = 0
    while asyncio.get_running_loop().time() < HORIZON:
        while len(waiting) < 3 * MOST:
            bucket = (name, times[turn // MOST % len(times)])
            waiting.add(asyncio.ensure_future(batcher.submit(1, bucket=bucket)))
            turn += 1
        _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()


async def come_and_go(
    batcher: Batcher[int, int], name: int, times: Sequence[float], pause: float
) -> None:
    """One request at a time, with pauses."""
    turn = 0
    while asyncio.get_running_loop().time() < HORIZON:
        await batcher.submit(1, bucket=(name, times[turn % len(times)]))
        await asyncio.sleep(pause)
        turn += 1


async def load_a_model(executor: Diary, times: Sequence[float], gap: float) -> None:
    """Run after run, as the warm-up of a model that loads asks for them."""
    turn = 0
    while asyncio.get_running_loop().time() < HORIZON:
        await executor.call(lambda _: None, times[turn % len(times)])
        await asyncio.sleep(gap)
        turn += 1


# Sums of these are exact: no moment is off by the last bit of a float.
seconds = st.integers(1, 64).map(lambda quanta: quanta / 16)
run_times = st.lists(seconds, min_size=1, max_size=4)
pauses = st.integers(0, 64).map(lambda quanta: quanta / 16)


@settings(max_examples=50)
@given(
    busy=st.lists(run_times, min_size=1, max_size=4),
    sometimes=st.lists(st.tuples(run_times, pauses), max_size=2),
    loading=st.none() | st.tuples(run_times, pauses),
)
def test_whoever_always_waits_gets_its_share_of_the_time(
    busy: list[list[float]],
    sometimes: list[tuple[list[float], float]],
    loading: tuple[list[float], float] | None,
) -> None:
    """The guarantee of `batcher.turns`, between any two moments, whatever the others do."""
    executor = Diary()

    async def main() -> None:
        batchers = [
            Batcher(double, max_batch_size=MOST, executor=executor)
            for _ in range(len(busy) + len(sometimes))
        ]
        for batcher in batchers:
            await batcher.__aenter__()
        doing = [keep_waiting(batchers[n], n, times) for n, times in enumerate(busy)]
        for n, (times, pause) in enumerate(sometimes, len(busy)):
            doing.append(come_and_go(batchers[n], n, times, pause))
        if loading is not None:
            doing.append(load_a_model(executor, *loading))
        await asyncio.gather(*doing)
        for batcher in batchers:
            await batcher.close()

    run(main())
    names = [*range(len(busy) + len(sometimes)), *(["call"] if loading else [])]
    moments = sorted({0.0, *[end for _, _, end in executor.turns if end <= HORIZON]})
    # Work is conserved: somebody is always ready, so no time passes between two turns.
    assert all(a[2] == b[1] for a, b in pairwise(executor.turns))
    for first in moments[:: max(1, len(moments) // 12)]:
        for last in moments[-1 : len(moments) // 2 : -max(1, len(moments) // 12)]:
            for patient in range(len(busy)):
                mine = executor.used(patient, first, last)
                owed = executor.longest(patient) if first else 0.0
                for other in names:
                    theirs = executor.used(other, first, last)
                    assert theirs <= mine + owed + executor.longest(other)
                longest = max(executor.longest(name) for name in names)
                assert mine >= (last - first) / len(names) - 2 * longest


async def test_a_slow_model_and_a_fast_one_have_the_same_time() -> None:
    executor = Diary()
    async with (
        Batcher(double, max_batch_size=MOST, executor=executor) as slow,
        Batcher(double, max_batch_size=MOST, executor=executor) as fast,
    ):
        await asyncio.gather(keep_waiting(slow, 0, [1.0]), keep_waiting(fast, 1, [0.125]))
    ran = [name for name, _, _ in executor.turns[:20]]
    # Its first turn each, then eight of the fast one for each of the slow one.
    assert ran == [0, *[1] * 8, 0, *[1] * 8, 0, 1]


async def test_a_model_that_loads_has_at_most_half_beside_one_that_serves() -> None:
    executor = Diary()
    async with Batcher(double, max_batch_size=MOST, executor=executor) as batcher:
        calls = [load_a_model(executor, [1.0], 0.0) for _ in range(3)]
        await asyncio.gather(keep_waiting(batcher, 0, [0.25]), *calls)
    serving, loading = (executor.used(name, 0.0, HORIZON) for name in (0, "call"))
    assert abs(serving - loading) <= 1.25


async def test_the_parts_of_a_failed_batch_count_as_well() -> None:
    records: list[BatchRecord] = []

    def refuse_one(batch: Batch[int]) -> list[int | Exception]:
        if 1 in batch:
            raise ValueError
        return list(batch)

    executor = FakeExecutor(run_time=1.0)
    async with (
        Batcher(refuse_one, executor=executor, repeatable=True, on_batch=records.append) as failing,
        Batcher(double, executor=executor, max_batch_size=1) as other,
    ):
        callers = [asyncio.ensure_future(failing.submit(item)) for item in (0, 1)]
        await settle()
        callers += [asyncio.ensure_future(other.submit(item)) for item in range(10)]
        await settle()
        await callers[0]
        callers.append(asyncio.ensure_future(failing.submit(2)))
        await outcomes(callers)
        whose = [other.stats().batches, len(records)]
    assert whose == [10, 4]
    # It had three turns in one, and waits for three of its neighbour's.
    assert [list(batch) for batch in executor.started][3:8] == [[0], [1], [2], [2], [3]]


async def test_a_call_that_hangs_is_charged_until_it_is_given_up(reports: Reports) -> None:
    executor = FakeExecutor(by_hand=True)
    async with (
        Batcher(double, executor=executor, run_timeout=2.0, max_batch_size=1) as hanging,
        Batcher(double, executor=executor, max_batch_size=1) as other,
    ):
        hangs = asyncio.ensure_future(hanging.submit(1))
        await settle()
        executor.start_next()
        await asyncio.sleep(1000.0)
        executor.finish_next()
        assert isinstance((await outcomes([hangs]))[0], BatchFailed)
        assert hanging._turns._claimant.used == 2.0
        callers = [asyncio.ensure_future(batcher.submit(2)) for batcher in (other, hanging)]
        await settle()
        await work_off(executor)
        assert await outcomes(callers) == [4, 4]
    assert len(reports) == 1


class FarAway(FakeExecutor):
    """Calls take no time themselves, but a second to get there and back."""

    def run(self, function: Function, argument: Any, done: Done) -> None:
        super().run(function, argument, lambda outcome: done(outcome._replace(run_time=0.0)))


async def test_the_way_to_the_device_and_back_counts_as_well() -> None:
    executor = FarAway(run_time=1.0)
    async with Batcher(double, executor=executor) as batcher:
        await batcher.submit(1)
        await executor.call(len, "four")
        assert (batcher._turns._claimant.used, executor._calls.used) == (1.0, 1.0)
