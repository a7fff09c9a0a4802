"""Thousands of seeded histories hold every invariant; a Batcher with a planted bug does not."""

import asyncio
import functools
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any, TypeAlias

import pytest

from batcher import Batcher, BatchFailed, Outcome, Reason, Receipt
from batcher.batcher import _State
from batcher.executor import Done, Function, Turns
from batcher.queue import Lane, RequestQueue
from batcher.request import Request, Run
from tests import simulation
from tests.simulation import Answer, Item, Parts, SimulatedExecutor, Violation, simulate

HISTORIES = 300
CATCH_WITHIN = 200

Broken: TypeAlias = Batcher[Item, Answer]
Requests: TypeAlias = RequestQueue[Item, Answer]
OneRun: TypeAlias = Run[Item, Answer]
OneRequest: TypeAlias = Request[Item, Answer]
OneLane: TypeAlias = Lane[Item, Answer]


@pytest.mark.parametrize("first", range(0, HISTORIES, 50))
def test_histories_hold_every_invariant(first: int) -> None:
    for seed in range(first, first + 50):
        violations = simulate(seed).violations
        assert not violations, f"{violations[0]}\n  python -m tests.simulation --seed {seed}"


@pytest.mark.parametrize("seed", [1, 7, 19])
def test_a_seed_means_one_history(seed: int) -> None:
    first: list[str] = []
    second: list[str] = []
    simulate(seed, log=first)
    simulate(seed, log=second)
    assert first
    assert first == second


def test_histories_reach_what_they_are_for() -> None:
    """Random plans are worth nothing where they never lead."""
    seen: Counter[str] = Counter()
    for seed in range(60):
        history = simulate(seed)
        for station in history.stations:
            seen += Counter(station.fates)
            seen["refused"] += station.refused
            for run in station.runs.values():
                seen[str(run.record.reason if run.record else "dropped")] += 1
                seen["abandoned"] += run.abandoned
                seen["companions"] += len(run.items) - 1
        seen["closed upon"] += sum(item.closed for item in history.items)
        seen["observers failed"] += len(history.raised)
    expected = {"answered", "failed", "cancelled", "refused", "abandoned", "closed upon", *Reason}
    expected |= {"dropped", "companions", "observers failed"}
    assert {name for name in expected if seen[name] < 10} == set()


# ------------------------------------------------------------------------------- planted bugs


class ResolvesTheCancelled(Broken):
    def _answer(self, run: OneRun, outcome: Outcome) -> None:
        for request in run.requests:
            if request.future.cancelled():
                request.future.set_result((0, 0.0))
        super()._answer(run, outcome)


class SwapsTwoAnswers(Broken):
    def _answer(self, run: OneRun, outcome: Outcome) -> None:
        answers = outcome.returned
        if isinstance(answers, list) and len(answers) == len(run.requests) > 2:
            answers[0], answers[1] = answers[1], answers[0]
        super()._answer(run, outcome)


class AnswersTheFirstOnly(Broken):
    def _answer(self, run: OneRun, outcome: Outcome) -> None:
        if len(run.requests) > 3:
            del run.requests[1:]
            outcome = outcome._replace(returned=[run.requests[0].item.answer], error=None)
        super()._answer(run, outcome)


class SharesOneException(Broken):
    def _answer(self, run: OneRun, outcome: Outcome) -> None:
        if outcome.error is not None:
            error = BatchFailed("for all")
            error.__cause__ = outcome.error
            outcome = Outcome([error for _ in run.requests], None, outcome.run_time)
        super()._answer(run, outcome)


class LeavesTheThreadIdle(Broken):
    """Does not look for more when a batch has ended; the next arrival wakes it."""

    ended = False

    def _finish(self, run: OneRun, outcome: Outcome) -> None:
        self.ended = self._listening = True
        super()._finish(run, outcome)
        self.ended = False

    def _advance(self) -> None:
        if not self.ended:
            super()._advance()


class LosesAGrantedTurn(Turns):
    def _grant(self) -> None:
        self._asked = False


class ReturnsAGrantedTurnUnused(Turns):
    def _grant(self) -> None:
        self._asked, self._granted = False, True
        self.return_unused()


class KeepsATurnItDoesNotUse(Turns):
    def return_unused(self) -> None:
        self._granted = False


def with_turns(turns: type[Turns], *args: Any, **options: Any) -> Broken:
    batcher = Broken(*args, **options)
    batcher._turns = turns(batcher._executor, options["concurrency"], batcher._advance)
    return batcher


class NeverListens(Broken):
    def _set_timer(self, until: float | None) -> None:
        super()._set_timer(until)
        self._listening = until is not None or not self._batches


class ForgetsItsTimer(Broken):
    def _set_timer(self, until: float | None) -> None:
        super()._set_timer(None)


class WaitsNotLongEnough(Broken):
    def _set_timer(self, until: float | None) -> None:
        super()._set_timer(until)
        early = self._limits.batch_timeout * 0.75
        object.__setattr__(self._limits, "batch_timeout", early)


class AllowsOneRunTooMany(Broken):
    def __init__(self, *args: Any, concurrency: int, **options: Any) -> None:
        super().__init__(*args, concurrency=concurrency + 1, **options)


class AnswersNobodyOnClose(Broken):
    def _shut(self) -> None:
        if self._state is not _State.CLOSED:
            list(self._queue.take_all())
        super()._shut()


class ForgetsTheRunningOnClose(Broken):
    def _shut(self) -> None:
        self._running.clear()
        super()._shut()


class DrainsTooSoon(Broken):
    def _end_if_drained(self) -> None:
        if self._state is _State.DRAINING and not self._queue.rows:
            self._drained = True
            self._shut()


class NeverFinishesItsDrain(Broken):
    def _end_if_drained(self) -> None:
        pass


class SaysItDrained(Broken):
    async def drain(self, timeout: float | None = None) -> bool:
        await super().drain(timeout)
        return True


class LeavesATaskBehind(Broken):
    behind: "asyncio.Task[Any] | None" = None

    def _end_if_drained(self) -> None:
        super()._end_if_drained()
        if self.behind is None:
            self.behind = self._loop.create_task(asyncio.Event().wait())


class AcceptsWhileDraining(Broken):
    def _check_admission(self, rows: int, largest: int, requests: int) -> None:
        state = self._state
        self._state = _State.OPEN if state is _State.DRAINING else state
        try:
            super()._check_admission(rows, largest, requests)
        finally:
            self._state = state


class HasNoBound(Broken):
    def __init__(self, *args: Any, max_queue_size: int, **options: Any) -> None:
        super().__init__(*args, max_queue_size=2 * max_queue_size, **options)


class CountsTheCancelledTwice(Broken):
    def _give_up(self, request: OneRequest) -> None:
        super()._give_up(request)
        self._cancelled += request.future.cancelled()


class TellsAWrongReceipt(Broken):
    async def submit_with_receipt(
        self, item: Item, *, size: int = 1, bucket: Hashable = None
    ) -> tuple[Answer, Receipt]:
        answer, receipt = await super().submit_with_receipt(item, size=size, bucket=bucket)
        return answer, Receipt(
            queue_time=receipt.queue_time + receipt.run_time,
            run_time=receipt.run_time,
            batch_size=receipt.batch_size,
            batch_requests=receipt.batch_requests,
            reason=receipt.reason,
        )


class ForgetsARecord(Broken):
    def _answer(self, run: OneRun, outcome: Outcome) -> None:
        observer = self._on_batch
        self._on_batch = None if self._batches % 7 == 6 else observer
        super()._answer(run, outcome)
        self._on_batch = observer


# Queues are planted in a Batcher, as it makes its own.


class ForgetsOne(Requests):
    def take(self, lane: OneLane, run: OneRun) -> None:
        super().take(lane, run)
        if len(run.requests) > 3:
            run.size -= run.requests.pop().size


class SaysTheWrongReason(Requests):
    def take(self, lane: OneLane, run: OneRun) -> None:
        run.reason = Reason.IDLE if run.reason is Reason.TIMEOUT else run.reason
        super().take(lane, run)


class LastInFirstOut(Requests):
    def take(self, lane: OneLane, run: OneRun) -> None:
        if not lane.dead:
            lane.requests.reverse()
        super().take(lane, run)
        if not lane.dead:
            lane.requests.reverse()


class MixesBuckets(Requests):
    def put(self, request: OneRequest, bucket: Hashable) -> None:
        super().put(request, bucket and bucket != 2)


class ExceedsTheCap(Requests):
    def take(self, lane: OneLane, run: OneRun) -> None:
        self._max_batch_size += 1
        super().take(lane, run)
        self._max_batch_size -= 1


class RunsTheCancelled(Requests):
    def take(self, lane: OneLane, run: OneRun) -> None:
        for request in lane.requests:
            if request.place is lane and request.future.done():
                run.requests.append(request)
        super().take(lane, run)
        run.size += sum(r.size for r in run.requests if r.place is None)


class KeepsTheAbandoned(Requests):
    def abandon(self, request: OneRequest) -> None:
        pass


class CountsRequestsAsRows(Requests):
    def put(self, request: OneRequest, bucket: Hashable) -> None:
        super().put(request, bucket)
        self.rows += 1 - request.size


class NewestBucketFirst(Requests):
    def oldest(self) -> OneLane | None:
        for lane in self._lanes.values():
            lane.drop_dead_heads()
        return max(self._lanes.values(), key=lambda lane: lane.head.number, default=None)


class StopsAtHalf(Requests):
    """Leaves room in a batch for which somebody waits."""

    def take(self, lane: OneLane, run: OneRun) -> None:
        cap = self._max_batch_size
        self._max_batch_size = max(cap // 2, lane.head.size)
        super().take(lane, run)
        self._max_batch_size = cap
        if lane.rows >= cap:
            self._full[lane.bucket] = lane


def with_queue(queue: Callable[[int], Requests], *args: Any, **options: Any) -> Broken:
    batcher = Broken(*args, **options)
    batcher._queue = queue(batcher._limits.max_batch_size)
    return batcher


class LosesASlot(SimulatedExecutor):
    def release(self) -> None:
        if self._waiting or len(self.started) % 5:
            super().release()


class RunsTwice(SimulatedExecutor):
    def run(self, function: Function, argument: Any, done: Done) -> None:
        super().run(function, argument, done)
        if len(self.started) % 5 == 4:
            super().run(function, argument, done)


BUGS: list[tuple[type[Any], str]] = [
    (ResolvesTheCancelled, "loop_hears_observers_only"),
    (ForgetsOne, "first_in_first_out"),
    (SwapsTwoAnswers, "ends_as_its_own"),
    (AnswersTheFirstOnly, "record_agrees"),
    (SharesOneException, "ends_as_its_own"),
    (LeavesTheThreadIdle, "work_is_conserved"),
    (LosesAGrantedTurn, "work_is_conserved"),
    (ReturnsAGrantedTurnUnused, "work_is_conserved"),
    (KeepsATurnItDoesNotUse, "slots_agree"),
    (NeverListens, "work_is_conserved"),
    (ForgetsItsTimer, "work_is_conserved"),
    (WaitsNotLongEnough, "reason_is_true"),
    (AllowsOneRunTooMany, "bounds_are_kept"),
    (AnswersNobodyOnClose, "fates_are_told"),
    (ForgetsTheRunningOnClose, "fates_are_told"),
    (DrainsTooSoon, "ends_as_its_own"),
    (SaysItDrained, "drain_says_the_truth"),
    (NeverFinishesItsDrain, "nobody_waits_forever"),
    (LeavesATaskBehind, "no_task_is_left"),
    (AcceptsWhileDraining, "refusals_are_right"),
    (HasNoBound, "queue_is_bounded"),
    (CountsTheCancelledTwice, "stats_agree"),
    (SaysTheWrongReason, "reason_is_true"),
    (TellsAWrongReceipt, "receipts_agree"),
    (ForgetsARecord, "everybody_has_ended"),
    (LastInFirstOut, "first_in_first_out"),
    (MixesBuckets, "bounds_are_kept"),
    (ExceedsTheCap, "bounds_are_kept"),
    (RunsTheCancelled, "only_who_waits_runs"),
    (KeepsTheAbandoned, "stats_agree"),
    (CountsRequestsAsRows, "stats_agree"),
    (NewestBucketFirst, "oldest_bucket_first"),
    (StopsAtHalf, "first_in_first_out"),
    (LosesASlot, "slots_agree"),
    (RunsTwice, "only_who_waits_runs"),
]


def plant(bug: type[Any]) -> Parts:
    if issubclass(bug, SimulatedExecutor):
        return Parts(executor=bug)
    if issubclass(bug, RequestQueue):
        return Parts(functools.partial(with_queue, bug))
    if issubclass(bug, Turns):
        return Parts(functools.partial(with_turns, bug))
    return Parts(bug)


def first_violation(parts: Parts) -> Violation:
    for seed in range(CATCH_WITHIN):
        if violations := simulate(seed, parts).violations:
            return violations[0]
    pytest.fail(f"not caught in {CATCH_WITHIN} histories")


@pytest.mark.parametrize(("bug", "invariant"), BUGS)
def test_a_planted_bug_is_caught(bug: type[Any], invariant: str) -> None:
    assert first_violation(plant(bug)).invariant == invariant


def test_every_invariant_catches_a_bug() -> None:
    checked = [
        *(simulation.AT_START + simulation.AT_RECORD),
        *(simulation.AT_REST + simulation.AT_END),
        *simulation.AT_END_OF_CALL,
        *simulation.AT_END_OF_DRAIN,
    ]
    names = {invariant.__name__ for invariant in checked}
    assert names | {"nobody_waits_forever"} == {invariant for _, invariant in BUGS}


def test_a_deadlock_is_a_violation_that_says_who_waits() -> None:
    told = first_violation(Parts(NeverFinishesItsDrain)).told
    assert "everybody waits and no timer runs" in told
    assert "Station.finish_by" in told


# ---------------------------------------------------------------------------- the command line


def test_many_histories_end_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulation.main(["--histories", "3", "--first", "5"]) == 0
    requests = sum(len(simulate(seed).items) for seed in (5, 6, 7))
    assert capsys.readouterr().out == f"3 histories, {requests} requests, 0 violations\n"


def test_a_violation_says_how_to_replay_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        simulation, "simulate", functools.partial(simulate, parts=plant(ForgetsOne))
    )
    assert simulation.main(["--histories", "1", "--first", "9"]) == 1
    out = capsys.readouterr().out
    assert "python -m tests.simulation --seed 9\n" in out
    assert out.endswith(" 1 violations\n")
    assert simulation.main(["--seed", "9"]) == 1
    assert "violated: first_in_first_out" in capsys.readouterr().out
