"""Thousands of seeded histories hold every invariant; a Batcher with a planted bug does not."""

import asyncio
import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeAlias

import pytest

from batcher import Batcher, Outcome, Reason, Receipt
from batcher.admission import Load
from batcher.executor import Done, Function, Turns
from batcher.isolation import Split
from batcher.queue import Lane, RequestQueue
from batcher.ranks import Rank
from batcher.request import Demand, RankedRequest, Request, Run
from batcher.results import batch_failed
from batcher.rules import State
from batcher.taking import NO_TERMS, Terms
from tests.simulation import __main__ as command
from tests.simulation import invariants
from tests.simulation.books import SimulatedExecutor
from tests.simulation.callers import Answer, Item
from tests.simulation.features import Features
from tests.simulation.history import Parts, Violation, simulate

HISTORIES = 300
CATCH_WITHIN = 300

Broken: TypeAlias = Batcher[Item, Answer]
Requests: TypeAlias = RequestQueue[Item, Answer]
OneRun: TypeAlias = Run[Item, Answer]
OneRequest: TypeAlias = Request[Item, Answer]
OneLane: TypeAlias = Lane[Item, Answer]
OneSplit: TypeAlias = Split[Item, Answer]


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
    for seed in range(200):
        history = simulate(seed)
        for station in history.stations:
            seen += Counter(station.fates)
            seen["plain"] += station.features == Features()
            seen["refused"] += station.refused
            seen["smaller batches"] += station.cap.size < station.max_batch_size
            for run in station.runs.values():
                seen[str(run.record.reason if run.record else "dropped")] += 1
                seen["abandoned"] += run.abandoned
                seen["companions"] += len(run.items) - 1
                seen["hung"] += run.is_hung
                seen["padded"] += run.padded_size > run.batch.size
                seen["ranked"] += not run.is_plain
                seen["prefetched"] += run.is_behind
        for item in history.items:
            seen["closed upon"] += item.closed
            seen["shed"] += item.shed
            seen[type(item.call.error).__name__] += 1
        seen["reports"] += len(history.raised)
    expected = {"answered", "failed", "cancelled", "expired", "refused", "closed upon", *Reason}
    expected |= {"abandoned", "dropped", "companions", "reports", "plain", "smaller batches"}
    expected |= {"hung", "padded", "ranked", "shed", "BatcherStuck", "RequestTooLarge"}
    expected |= {"prefetched"}
    assert {name for name in expected if seen[name] < 10} == set()


# ------------------------------------------------------------------------------- planted bugs


Results: TypeAlias = Sequence[Any]


class ResolvesTheCancelled(Broken):
    def _answer(self, run: OneRun, results: Results, error: BaseException | None) -> None:
        for request in run.requests:
            if request.future.cancelled():
                request.future.set_result(((0, 0),))
        super()._answer(run, results, error)


class SwapsTwoAnswers(Broken):
    def _answer(self, run: OneRun, results: Results, error: BaseException | None) -> None:
        sizes = {request.size for request in run.requests}
        if error is None and len(results) > 2 and len(sizes) == 1:
            results = [results[1], results[0], *results[2:]]
        super()._answer(run, results, error)


class AnswersTheFirstOnly(Broken):
    def _answer(self, run: OneRun, results: Results, error: BaseException | None) -> None:
        if error is None and len(run.requests) > 3:
            del run.requests[1:]
            results = results[:1]
        super()._answer(run, results, error)


class SharesOneException(Broken):
    def _answer(self, run: OneRun, results: Results, error: BaseException | None) -> None:
        if error is not None:
            results = [batch_failed(error, 0)] * len(run.requests)
        super()._answer(run, results, None)


class LeavesTheThreadIdle(Broken):
    """Does not look for more when a batch has ended; the next arrival wakes it."""

    ended = False

    def _finish(self, run: OneRun, outcome: Outcome) -> None:
        self.ended = True
        self._listening_from = 0
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
        self._listening_from = 0 if until is not None or not self._batches else math.inf


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
        if self._state is not State.CLOSED:
            list(self._queue.take_all())
        super()._shut()


class ForgetsTheRunningOnClose(Broken):
    def _shut(self) -> None:
        self._running.clear()
        super()._shut()


class DrainsTooSoon(Broken):
    def _end_if_drained(self) -> None:
        if self._state is State.DRAINING and not self._queue.rows:
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
    def _check_admission(self, sizes: list[int], *demand: Demand) -> None:
        state = self._state
        self._state = State.OPEN if state is State.DRAINING else state
        try:
            super()._check_admission(sizes, *demand)
        finally:
            self._state = state


class HasNoBound(Broken):
    def _load(self) -> Load:
        load = super()._load()
        return load._replace(queued=0, nbytes=0) if self._running else load


class CountsTheCancelledTwice(Broken):
    def _give_up(self, request: OneRequest) -> None:
        super()._give_up(request)
        self._cancelled += request.future.cancelled()


class TellsAWrongReceipt(Broken):
    async def submit_with_receipt(self, *args: Any, **wishes: Any) -> tuple[Answer, Receipt]:
        answer, receipt = await super().submit_with_receipt(*args, **wishes)
        waited = receipt.queue_time + receipt.run_time
        return answer, dataclasses.replace(receipt, queue_time=waited)


class ForgetsARecord(Broken):
    def _tell_observer(self, run: OneRun, *counts: int, **more: int) -> None:
        if self._batches % 7 != 6:
            super()._tell_observer(run, *counts, **more)


class NeverExpires(Broken):
    def _expire(self) -> None:
        pass


class KeepsItsFirstTimer(Broken):
    """Does not set the timer anew for a deadline that comes before the one it is set for."""

    def _watch_deadlines(self) -> None:
        if self._expiry is None:
            super()._watch_deadlines()


class ExpiresTooEarly(Broken):
    def _watch_deadlines(self) -> None:
        earliest = self._deadlines.earliest()
        if earliest is not None:
            self._loop.call_at(earliest - 0.125, self._expire)

    def _expire(self) -> None:
        for request in self._deadlines.pop_expired(self._clock() + 0.125):
            self._end_late(request)
        self._watch_deadlines()


class NeverSheds(Broken):
    def _terms(self, rows: int, now: float) -> Terms[Item]:
        return super()._terms(rows, now)._replace(done=now)


class ShedsInAHurry(Broken):
    def _terms(self, rows: int, now: float) -> Terms[Item]:
        terms = super()._terms(rows, now)
        return terms._replace(done=terms.done + 1.0)


class PredictsNoWaits(Broken):
    def _check_wait(self, rows: int, *_: Any) -> None:
        pass


class RefusesForThoseBehind(Broken):
    """Takes everybody who waits to go before who comes."""

    def _check_wait(self, rows: int, demand: Demand, *load: Any) -> None:
        super()._check_wait(rows, demand._replace(priority=1000), *load)


class RidersEnlargeTheBatch(Broken):
    def _terms(self, rows: int, now: float) -> Terms[Item]:
        terms = super()._terms(rows, now)
        most = self._queue.max_batch_size
        if terms.padded is None or self._deadlines.earliest() is not None:
            return terms
        return terms._replace(padded=lambda _: most)


class PadsToTheLargest(Broken):
    def _padded(self, size: int) -> int:
        return self._allowed[-1] if self._allowed else size


class HandsOutThePadding(Broken):
    def _answer(self, run: OneRun, results: Results, error: BaseException | None) -> None:
        if error is None and run.padded_size > run.size and isinstance(results[-1], tuple):
            results = [*results[:-1], (*results[-1], results[-1][-1])]
        super()._answer(run, results, error)


class AcceptsWhileStuck(Broken):
    def _is_stuck(self) -> bool:
        return not hasattr(self, "checking") and super()._is_stuck()

    def _check_admission(self, sizes: list[int], *demand: Demand) -> None:
        self.checking = True
        try:
            super()._check_admission(sizes, *demand)
        finally:
            del self.checking


class LeavesTheQueueBehindAHang(Broken):
    def _check_health(self) -> None:
        self._max_unchecked_size = 0


class NeverGivesUp(Broken):
    def _give_up_on(self, run: OneRun) -> None:
        pass


class DeliversWhatHung(Broken):
    def _come_back(self, run: OneRun) -> None:
        self._answer(run, [((0, 0),) for _ in run.requests], None)
        super()._come_back(run)


class StaysStuck(Broken):
    """Does not look who waits when a call has come back."""

    def _come_back(self, run: OneRun) -> None:
        super()._come_back(run)
        self._hung[run] = None


class AdmitsManyOneByOne(Broken):
    def _admit_all(
        self, items: list[Item], sizes: Any, bucket: Hashable, demand: Demand
    ) -> list[OneRequest]:
        requests: list[OneRequest] = []
        for item, size in zip(items, sizes, strict=True):
            requests += super()._admit_all([item], [size], bucket, demand)
            demand = demand._replace(nbytes=0)
        return requests


class HasNoBudget(Broken):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._isolation = dataclasses.replace(self._isolation, max_extra_runs=1000)


class BlamesAnInnocent(Broken):
    """Tells the last of those who are left when another part starts."""

    def _start_part(self, run: OneRun, split: OneSplit) -> bool:
        has_started = super()._start_part(run, split)
        if left := split.waiting():
            self._fail(left[-1], batch_failed(split.error, run.count))
        return has_started


class TellsEverybodyAtOnce(Broken):
    """And then looks for the guilty all the same."""

    def _finish_repeatable(self, run: OneRun, outcome: Outcome) -> None:
        requests = list(run.requests)
        super()._finish_repeatable(run, outcome)
        for request in requests:
            if outcome.error is not None and not request.future.done():
                request.future.set_exception(batch_failed(outcome.error, run.count))


class NeverPrefetches(Broken):
    def _prefetch(self) -> float:
        return math.inf


class PrefetchesWhatIsNotFull(Broken):
    def _prefetch(self) -> float:
        most = self._queue.max_batch_size
        self._queue.max_batch_size = max(1, most // 2)
        listening_from = super()._prefetch()
        self._queue.max_batch_size = most
        return listening_from


class PrefetchesBeforeOthers(Turns):
    are_wanted = False


class LosesTheRest(Broken):
    """Runs the first half again, and forgets the second."""

    def _start_part(self, run: OneRun, split: OneSplit) -> bool:
        return run.split is None and super()._start_part(run, split)


class NeverTriesMoreAgain(Broken):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._cap._probe_after = 10**9


class LearnsNothingFromMemory(Broken):
    def _learn_size(self, run: OneRun, error: BaseException | None) -> None:
        pass


# What looks for the guilty is planted when the first part of a failed batch starts.


class InfersFromWhoLeft(OneSplit):
    """Takes the second half to fail although whoever was guilty may have left the first."""

    def next(self, wanted: Callable[[OneRequest], bool]) -> list[OneRequest]:
        for part in self._parts:
            part.requests = [request for request in part.requests if wanted(request)]
        return super().next(wanted)


class RunsTheUnwanted(OneSplit):
    def next(self, wanted: Callable[[OneRequest], bool]) -> list[OneRequest]:
        return super().next(lambda _: True)


class RunsWhatIsKnownToFail(OneSplit):
    def ended(self, error: BaseException | None) -> bool:
        self._current.second = None
        return super().ended(error)


def with_split(split: type[OneSplit], *args: Any, **options: Any) -> Broken:
    class Splits(Broken):
        def _start_part(self, run: OneRun, failed: OneSplit) -> bool:
            failed.__class__ = split
            return super()._start_part(run, failed)

    return Splits(*args, **options)


# Queues are planted in a Batcher, as it makes its own.


class ForgetsOne(Requests):
    def take(self, lane: OneLane, run: OneRun, terms: Terms[Item] = NO_TERMS) -> list[OneRequest]:
        late = super().take(lane, run, terms)
        if len(run.requests) > 3:
            run.size -= run.requests.pop().size
        return late


class SaysTheWrongReason(Requests):
    def take(self, lane: OneLane, run: OneRun, terms: Terms[Item] = NO_TERMS) -> list[OneRequest]:
        run.reason = Reason.IDLE if run.reason is Reason.TIMEOUT else run.reason
        return super().take(lane, run, terms)


class LastInFirstOut(Requests):
    def take(self, lane: OneLane, run: OneRun, terms: Terms[Item] = NO_TERMS) -> list[OneRequest]:
        if not lane.dead:
            lane.requests.reverse()
        late = super().take(lane, run, terms)
        if not lane.dead:
            lane.requests.reverse()
        return late


class MixesBuckets(Requests):
    def put(self, request: OneRequest, bucket: Hashable) -> None:
        super().put(request, bucket and bucket != 2)


class ExceedsTheCap(Requests):
    def take(self, lane: OneLane, run: OneRun, terms: Terms[Item] = NO_TERMS) -> list[OneRequest]:
        self.max_batch_size += 1
        late = super().take(lane, run, terms)
        self.max_batch_size -= 1
        return late


class RunsTheCancelled(Requests):
    def take(self, lane: OneLane, run: OneRun, terms: Terms[Item] = NO_TERMS) -> list[OneRequest]:
        for request in lane.requests:
            if request.place is lane and request.future.done():
                run.requests.append(request)
        late = super().take(lane, run, terms)
        run.size += sum(r.size for r in run.requests if r.place is None)
        return late


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
        return max(self._lanes.values(), key=lambda lane: lane.oldest().number, default=None)


class StopsAtHalf(Requests):
    """Leaves room in a batch for which somebody waits."""

    def take(self, lane: OneLane, run: OneRun, terms: Terms[Item] = NO_TERMS) -> list[OneRequest]:
        cap = self.max_batch_size
        self.max_batch_size = max(cap // 2, lane.oldest().size)
        late = super().take(lane, run, terms)
        self.max_batch_size = cap
        if lane.rows >= cap:
            self._full[lane.bucket] = lane
        return late


class RunsTheExpired(Requests):
    def take(self, lane: OneLane, run: OneRun, terms: Terms[Item] = NO_TERMS) -> list[OneRequest]:
        return super().take(lane, run, terms._replace(now=-math.inf, done=-math.inf))


class AgesInside(Rank[Item, Answer]):
    __slots__ = ()

    def next(self, ageing: float) -> OneRequest | None:
        return super().next(ageing / 1000 if ageing >= 100 else ageing)


class NeverAges(Requests):
    """Urgent requests overtake the others for ever."""

    def take(self, lane: OneLane, run: OneRun, terms: Terms[Item] = NO_TERMS) -> list[OneRequest]:
        ageing = self._ageing
        self._ageing = 1000 * ageing if lane.rows > 2 * self.max_batch_size else ageing
        late = super().take(lane, run, terms)
        self._ageing = ageing
        return late

    def put_ranked(self, request: OneRequest, bucket: Hashable) -> None:
        super().put_ranked(request, bucket)
        for rank in (self._lanes[bucket].ranks or {}).values():
            rank.__class__ = AgesInside


class TurnsPrioritiesRound(Requests):
    def put_ranked(self, request: OneRequest, bucket: Hashable) -> None:
        assert isinstance(request, RankedRequest)
        request.priority = -request.priority
        super().put_ranked(request, bucket)


class ForgetsTheDeadlines(Rank[Item, Answer]):
    """Inside a rank, first come first served."""

    __slots__ = ()

    def next(self, ageing: float) -> OneRequest | None:
        return self.oldest()


class OrdersByArrival(Requests):
    def put_ranked(self, request: OneRequest, bucket: Hashable) -> None:
        super().put_ranked(request, bucket)
        for rank in (self._lanes[bucket].ranks or {}).values():
            rank.__class__ = ForgetsTheDeadlines


class LanesGoByAge(Requests):
    """Whatever the priorities in them."""

    def first(self) -> OneLane | None:
        return self.oldest()


class KeepsTheBytes(Requests):
    def abandon(self, request: OneRequest) -> None:
        if isinstance(request, RankedRequest):
            request.nbytes = 0
        super().abandon(request)


class MissesWhoIsPressing(Requests):
    def most_pressing(self) -> None:
        return None


def with_queue(queue: Callable[[int, float], Requests], *args: Any, **options: Any) -> Broken:
    batcher = Broken(*args, **options)
    batcher._queue = queue(batcher._limits.max_batch_size, options["fairness"].ageing)
    return batcher


class LosesASlot(SimulatedExecutor):
    def give_back(self) -> None:
        if self._claims or len(self.started) % 5:
            super().give_back()


class RunsTwice(SimulatedExecutor):
    def run(self, function: Function, argument: Any, done: Done) -> None:
        super().run(function, argument, done)
        if len(self.started) % 5 == 4:
            super().run(function, argument, done)


BUGS: list[tuple[type[Any], str]] = [
    (ResolvesTheCancelled, "loop_hears_planned_reports_only"),
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
    (WaitsNotLongEnough, "right_bucket_first"),
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
    (RunsTwice, "bounds_are_kept"),
    (NeverExpires, "nobody_is_overdue"),
    (KeepsItsFirstTimer, "nobody_is_overdue"),
    (ExpiresTooEarly, "told_at_its_deadline"),
    (RunsTheExpired, "nothing_late_runs"),
    (NeverSheds, "only_the_hopeless_are_shed"),
    (ShedsInAHurry, "only_the_hopeless_are_shed"),
    (PredictsNoWaits, "refusals_are_right"),
    (RefusesForThoseBehind, "refusals_are_right"),
    (MissesWhoIsPressing, "work_is_conserved"),
    (OrdersByArrival, "most_urgent_first"),
    (NeverAges, "ageing_bounds_overtaking"),
    (TurnsPrioritiesRound, "most_urgent_first"),
    (LanesGoByAge, "right_bucket_first"),
    (RidersEnlargeTheBatch, "riders_cost_nothing"),
    (PadsToTheLargest, "padding_is_least"),
    (HandsOutThePadding, "padding_never_shows"),
    (KeepsTheBytes, "stats_agree"),
    (AdmitsManyOneByOne, "only_who_waits_runs"),
    (AcceptsWhileStuck, "refusals_are_right"),
    (LeavesTheQueueBehindAHang, "fates_are_told"),
    (NeverGivesUp, "hangs_are_told"),
    (DeliversWhatHung, "record_agrees"),
    (StaysStuck, "stats_agree"),
    (HasNoBudget, "runs_again_are_few"),
    (BlamesAnInnocent, "only_the_guilty_fail"),
    (TellsEverybodyAtOnce, "only_the_guilty_fail"),
    (NeverPrefetches, "full_batches_are_prefetched"),
    (PrefetchesWhatIsNotFull, "prefetched_is_full"),
    (PrefetchesBeforeOthers, "nobody_else_waits_longer"),
    (LosesTheRest, "isolation_goes_on"),
    (InfersFromWhoLeft, "failed_batches_are_halved"),
    (RunsWhatIsKnownToFail, "failed_batches_are_halved"),
    (RunsTheUnwanted, "only_the_untold_run_again"),
    (NeverTriesMoreAgain, "stats_agree"),
    (LearnsNothingFromMemory, "stats_agree"),
]


def plant(bug: type[Any]) -> Parts:
    if issubclass(bug, SimulatedExecutor):
        return Parts(executor=bug)
    if issubclass(bug, RequestQueue):
        return Parts(functools.partial(with_queue, bug))
    if issubclass(bug, Turns):
        return Parts(functools.partial(with_turns, bug))
    if issubclass(bug, Split):
        return Parts(functools.partial(with_split, bug))
    return Parts(bug)


def violation_of(invariant: str, parts: Parts) -> Violation:
    """What ends a history, where nothing else was seen before."""
    for seed in range(CATCH_WITHIN):
        violations = simulate(seed, parts).violations
        if violations and violations[0].invariant == invariant:
            return violations[0]
    pytest.fail(f"not caught in {CATCH_WITHIN} histories")


@pytest.mark.parametrize(("bug", "invariant"), BUGS)
def test_a_planted_bug_is_caught(bug: type[Any], invariant: str) -> None:
    assert violation_of(invariant, plant(bug)).told


def test_every_invariant_catches_a_bug() -> None:
    names = {invariant.__name__ for invariant in invariants.ALL}
    assert names | {"nobody_waits_forever"} == {invariant for _, invariant in BUGS}


def test_a_deadlock_is_a_violation_that_says_who_waits() -> None:
    told = violation_of("nobody_waits_forever", Parts(NeverFinishesItsDrain)).told
    assert "everybody waits and no timer runs" in told
    assert "Station.finish_by" in told


# ---------------------------------------------------------------------------- the command line


def test_many_histories_end_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--histories", "3", "--first", "5"]) == 0
    requests = sum(len(simulate(seed).items) for seed in (5, 6, 7))
    assert capsys.readouterr().out == f"3 histories, {requests} requests, 0 violations\n"


def test_a_violation_says_how_to_replay_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = functools.partial(simulate, parts=plant(PadsToTheLargest))
    monkeypatch.setattr(command, "simulate", broken)
    seed = next(seed for seed in range(CATCH_WITHIN) if broken(seed).violations)
    assert command.main(["--histories", "1", "--first", f"{seed}"]) == 1
    out = capsys.readouterr().out
    assert f"python -m tests.simulation --seed {seed}\n" in out
    assert out.endswith(" 1 violations\n")
    assert command.main(["--seed", f"{seed}"]) == 1
    assert "violated: padding_is_least" in capsys.readouterr().out
