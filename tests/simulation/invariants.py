"""What must hold, one function each: at starts and ends, and whenever the loop comes to rest.

The docstring of an invariant is what must hold; it returns what does not, or something false.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import batcher as lib
from tests.simulation import oracle
from tests.simulation.oracle import claim, count_rows, urgency

if TYPE_CHECKING:
    from tests.simulation.books import Run, Station
    from tests.simulation.callers import Call, Item

X = TypeVar("X")
Invariant: TypeAlias = Callable[[X], object]

TICK = 1e-6
"""Seconds that rounding may make of two equal times."""


# ------------------------------------------------------------------------------ a batch that starts


def only_who_waits_runs(run: "Run") -> object:
    """What runs was accepted, is still wanted, and runs once."""
    twice = len(set(run.items)) < len(run.items)
    return twice or [item for item in run.items if item not in run.station.waiting]


def nothing_late_runs(run: "Run") -> object:
    """What runs has its deadline still before it."""
    return [item for item in run.items if item.deadline <= run.taken]


def bounds_are_kept(run: "Run") -> object:
    """One bucket, rows and costs within bounds, no more at a time than concurrency and slots."""
    station, rows = run.station, count_rows(run.items)
    lone = run.items[0].size
    return (
        (rows != run.batch.size or rows > station.max_batch_size)
        or (run.incident is None and rows > max(run.cap, station.padded(lone)))
        or not station.may_cost(run.items)
        or any(item.bucket != run.bucket for item in run.items)
        or len(station.running) + len(station.hung) >= station.concurrency + run.is_behind
        or len(station.executor.running) >= station.executor.slots + run.is_behind
    )


def prefetched_is_full(run: "Run") -> object:
    """A batch is handed over behind another one only if nobody could have come into it or before.

    It is full and of the oldest bucket, and nobody has a priority or a deadline. Or it is a part of
    the one that has just ended, behind one that was handed over before.
    """
    if not run.is_behind or run.incident is not None:
        return None
    station = run.station
    held = [*station.waiting, *station.leaving]
    lane = [item for item in held if item.bucket == run.bucket]
    return count_rows(lane) < run.cap or not all(item.is_plain for item in held)


def nobody_else_waits_longer(run: "Run") -> object:
    """Nothing is handed over behind another batch beside somebody else who waits for the thread."""
    others = [other for other in run.station.executor.stations if other is not run.station]
    return run.is_behind and run.incident is None and any(o.asked and o.waiting for o in others)


def padding_is_least(run: "Run") -> object:
    """A batch is to be padded to the smallest allowed size that holds it."""
    padded = run.batch.padded_size
    return padded != run.padded_size and f"{padded} instead of {run.padded_size}"


def riders_cost_nothing(run: "Run") -> object:
    """With its less urgent requests, a batch is padded to no more than without them."""
    if not run.station.is_padded or run.fading or run.late:
        return None
    ageing = run.station.features.ageing
    leader = min(run.lane, key=lambda item: claim(item, ageing))
    led = [item for item in run.items if item.priority <= leader.priority]
    without = run.station.padded(count_rows(led))
    return led and run.padded_size > without and f"{run.padded_size} instead of {without}"


def first_in_first_out(run: "Run") -> object:
    """Of a plain bucket, a batch has those who have waited longest, and as many as fit.

    Beside one that is larger than what memory was learned to take, others may ride in its padding.
    """
    if not run.is_plain:
        return None
    first = run.lane[0] if run.lane else run.items[0]
    expected = [
        first_to_come(run, rows) for rows in (run.cap, max(run.cap, run.station.padded(first.size)))
    ]
    return run.items not in expected and f"{run.items} ran, {expected[0]} were first"


def first_to_come(run: "Run", rows: int) -> "list[Item]":
    """The oldest of a lane, up to so many rows."""
    batch: list[Item] = []
    for item in run.lane:
        if not run.station.has_room(batch, item, rows):
            break
        batch.append(item)
    return batch


def oldest_bucket_first(run: "Run") -> object:
    """The longest waiting of all goes first, unless it waits for company and this one is full.

    That is, where nobody has a priority or a deadline.
    """
    station, bucket = run.station, run.bucket
    head = next(iter(station.waiting), None)
    if head is None or head.bucket == bucket:
        return None
    if not all(item.is_plain for item in (*station.waiting, *station.leaving)):
        return None
    # Who has just been cancelled may lend its age to its bucket for the rest of this pass.
    if any(item.bucket == bucket and item.turn < head.turn for item in station.leaving):
        return None
    waits = station.batch_timeout > 0 and run.taken < head.arrival + station.batch_timeout
    return not (waits and run.reasons == {lib.Reason.FULL}) and f"{head} is older"


def ageing_bounds_overtaking(run: "Run") -> object:
    """Nobody is left behind by whoever came later than `ageing` for each level between them.

    A batch of its bucket may start without it only if somebody leads it who came within that
    time, or goes before such a one by the order of deadlines inside their priority. So the wait is
    bounded by those who had come by then.
    """
    if run.is_plain:
        return None
    ageing = run.station.features.ageing
    # Who has just left may have led it.
    left = [*run.late, *(item for item in run.fading if item.bucket == run.bucket)]
    bound = min([claim(item, ageing)[0] for item in left], default=math.inf)
    for priority in {item.priority for item in run.items}:
        rank = [item for item in run.lane if item.priority == priority]
        best = min(urgency(item, ageing) for item in run.items if item.priority == priority)
        passed = [item for item in rank if urgency(item, ageing) >= best]
        bound = min(bound, min(item.arrival for item in passed) + priority * ageing)
    waiting = [item for item in run.lane if item not in (*run.items, *left)]
    behind = [item for item in waiting if claim(item, ageing)[0] < bound - TICK]
    return behind and f"{behind} left behind by {run.items}"


def most_urgent_first(run: "Run") -> object:
    """A batch has who goes first by claims and deadlines, and of the others who rides with them."""
    if run.is_plain:
        return None
    return run.items != run.expected and f"{run.items} ran, {run.expected} were first"


def right_bucket_first(run: "Run") -> object:
    """The bucket of the smallest claim goes, or one that is due or full while that one waits."""
    return not run.reasons and f"{run.decisions} instead of {run.bucket}"


def only_the_hopeless_are_shed(run: "Run") -> object:
    """Told before its deadline is who could not be answered by then beside others; nobody else."""
    told = [item for item in run.lane if item.is_told_late() and item.deadline > run.taken]
    late = [item for item in run.late if item.deadline > run.taken]
    return set(told) != set(late) and f"{told} were told, {late} are late"


def only_the_untold_run_again(run: "Run") -> object:
    """A part of a failed batch holds nobody who has been told, or is not wanted any more."""
    incident = run.incident
    assert incident is not None
    return [i for i in run.items if i not in incident.untold or not run.station.is_wanted(i)]


def runs_again_are_few(run: "Run") -> object:
    """At most max_extra_runs parts of a failed batch run, and none if not `repeatable`."""
    features, incident = run.station.features, run.incident
    assert incident is not None
    return not features.repeatable or incident.extra_runs > features.max_extra_runs


def failed_batches_are_halved(run: "Run") -> object:
    """Again runs the first half of what failed, then the second, unless known to fail."""
    assert run.incident is not None
    due = run.incident.due
    return run.items != due and f"{run.items} instead of {due}"


# --------------------------------------------------------------------------------- the loop at rest


def queue_is_bounded(station: "Station") -> object:
    """At most max_queue_size rows and max_queue_bytes wait."""
    most = station.features.max_queue_bytes
    nbytes = sum([item.nbytes for item in station.waiting])
    return count_rows(station.waiting) > station.max_queue_size or nbytes > (most or math.inf)


def work_is_conserved(station: "Station") -> object:
    """At rest, no slot is free beside a waiting request, unless it waits for company."""
    slots = station.concurrency - len(station.running) - len(station.hung)
    if not station.waiting or min(slots, free_slots(station)) <= 0:
        return None
    return oracle.decide(station, [*station.waiting], station.now())


def full_batches_are_prefetched(station: "Station") -> object:
    """At rest, a full batch does not wait in the queue behind one that runs, where it need not.

    Nobody looks again only because somebody has left, here or in another Batcher of the thread.
    """
    if not station.prefetches or len(station.running) != 1 or station.hung or not station.waiting:
        return None
    others = [other for other in station.executor.stations if other is not station]
    if any(each.somebody_left for each in station.executor.stations):
        return None
    if any(other.waiting for other in others) or not station.is_plain:
        return None
    bucket = next(iter(station.waiting)).bucket
    rows = count_rows(item for item in station.waiting if item.bucket == bucket)
    return rows >= station.cap.size and f"{[*station.waiting]} behind {station.running}"


def isolation_goes_on(station: "Station") -> object:
    """At rest, whoever was in a failed batch and has not been told is in a part that runs."""
    station.incidents = [incident for incident in station.incidents if incident.untold]
    running = {run.incident for run in station.running}
    return [each.untold for each in station.incidents if each not in running]


def nobody_is_overdue(station: "Station") -> object:
    """At rest, everybody whose deadline has come has been told, whatever runs."""
    return [item for item in station.dated if item.deadline <= station.now()]


def hangs_are_told(station: "Station") -> object:
    """At rest, a call over run_timeout has been given up, and no other."""
    return [run for run in station.running if run.is_over_its_time()]


def fates_are_told(station: "Station") -> object:
    """At rest, whoever has an answer, an exception or enough has been told."""
    return [call.items for call in station.due]


def stats_agree(station: "Station") -> object:
    """At rest, the Batcher counts what the books count."""
    expected = lib.BatcherStats(
        queued_requests=len(station.waiting),
        queued_rows=count_rows(station.waiting),
        queued_bytes=sum([item.nbytes for item in station.waiting]),
        running_batches=len(station.running),
        accepted=station.accepted,
        answered=station.fates["answered"],
        failed=station.fates["failed"],
        expired=station.fates["expired"],
        cancelled=station.fates["cancelled"],
        refused=station.refused,
        batches=station.batches,
        max_batch_size=station.cap.size,
        healthy=not station.is_stuck(),
    )
    stats = station.batcher.stats()
    return stats != expected and f"{stats} instead of {expected}"


def slots_agree(station: "Station") -> object:
    """At rest, the slots of an executor that are not free have a batch in them."""
    return station.executor.free_slots != free_slots(station)


def free_slots(station: "Station") -> int:
    return station.executor.slots - sum([not run.is_next for run in station.executor.running])


def loop_hears_planned_reports_only(station: "Station") -> object:
    """The loop hears what on_batch and batch_cost raise and which calls hang, and nothing else."""
    history = station.history
    return history.heard != history.raised and history.heard


# -------------------------------------------------------------------------------------- a record


def record_agrees(run: "Run") -> object:
    """A record says what happened to its batch, once its callers are told."""
    expected = lib.BatchRecord(
        size=count_rows(run.items),
        padded_size=run.padded_size,
        requests=len(run.items),
        bucket=run.bucket,
        reason=run.record.reason if run.record else lib.Reason.IDLE,
        queue_times=run.record.queue_times if run.record else (),
        run_time=run.run_time,
        failed=run.failed,
        abandoned=run.abandoned,
        again=run.again,
        taken=run.record.taken if run.record else 0.0,
    )
    times = [run.taken - item.arrival for item in run.items]
    is_right = run.record == expected and are_same_times(
        [*expected.queue_times, expected.taken], [*times, run.taken]
    )
    return not is_right and f"{run.record} instead of {expected}, after {times}"


def are_same_times(times: Sequence[float], others: Sequence[float]) -> bool:
    """Whether times are the same but for rounding."""
    if len(times) != len(others):
        return False
    return all(abs(a - b) < TICK for a, b in zip(times, others, strict=True))


def reason_is_true(run: "Run") -> object:
    """A batch is released for the reason that its record gives."""
    reason = run.record and run.record.reason
    return reason not in run.reasons and f"{reason} is not among {run.reasons}"


# --------------------------------------------------------------------------------- a caller is told


def refusals_are_right(call: "Call") -> object:
    """Who has no room or no time, is too large or too late is refused by the right error."""
    refusal = type(call.error) if call.error and not call.awaited else None
    return not call.cancelled and refusal not in call.allowed and f"{refusal}, not {call.allowed}"


def told_at_its_deadline(call: "Call") -> object:
    """DeadlineExceeded is told at the deadline, and before only to who was shed from a batch."""
    if not isinstance(call.error, lib.DeadlineExceeded):
        return None
    now = call.station.now()
    late = now - call.items[0].deadline
    return not any(i.shed for i in call.items) and abs(late) > TICK and f"{late:+g} s off"


def padding_never_shows(call: "Call") -> object:
    """An answer has the rows of its request, and none of those that a batch was padded with."""
    return [
        item
        for item, (answer, _) in zip(call.items, call.told, strict=False)
        if len(answer) != item.size
    ]


def ends_as_its_own(call: "Call") -> object:
    """A call ends by its own answers or error, a close, a hang, its deadline or cancellation."""
    error, items = call.error, call.items
    if error is None:
        return [answer for answer, _ in call.told] != [item.answer for item in items]
    if not call.awaited or (call.cancelled and isinstance(error, asyncio.CancelledError)):
        return None
    if isinstance(error, lib.DeadlineExceeded):
        return not any(item.fate == "expired" for item in items)
    failed = [item for item in items if item.fate == "failed"]
    if any(error is other for other in call.station.blamed):
        return f"{error!r} was told before"
    call.station.blamed.append(error)
    return not any(explains(item, error) for item in failed) and f"{error!r} is nobody's"


def explains(item: "Item", error: BaseException) -> bool:
    """Whether this is the error that an item was to end by."""
    blame = item.blame
    if blame in {lib.BatcherClosed, lib.BatcherStuck}:
        return type(error) is blame
    if type(blame) is ValueError:
        return error is blame
    cause = blame if isinstance(blame, type) else type(blame)
    return isinstance(error, lib.BatchFailed) and type(error.__cause__) is cause


def only_the_guilty_fail(call: "Call") -> object:
    """Who was in a batch that failed and may run again gets an error only by failing alone.

    Or when the budget for it is spent, or a part hangs, or fails by what is no plain exception.
    """
    if not isinstance(call.error, lib.BatchFailed):
        return None
    return not any(may_fail(item) for item in call.items)


def may_fail(item: "Item") -> bool:
    """Whether somebody may be told that its batch failed."""
    run, incident = item.run, item.incident
    if run is None or run in item.call.station.running:
        return False
    if incident is None or item.error or item.blame is TimeoutError or len(run.items) == 1:
        return True
    ends_all = run.failure is not None and not issubclass(run.failure, Exception)
    return ends_all or incident.extra_runs >= item.call.station.features.max_extra_runs


def receipts_agree(call: "Call") -> object:
    """A receipt says the same as the record of its batch."""
    for item, (_, receipt) in zip(call.items, call.told, strict=True) if call.told else ():
        if receipt is not None and item.run is not None and item.run.record is not None:
            record, waited = item.run.record, item.run.taken - item.arrival
            shared = (record.run_time, record.size, record.requests, record.padded_size)
            expected = lib.Receipt(receipt.queue_time, *shared, record.reason, record.taken)
            if receipt != expected or abs(receipt.queue_time - waited) > TICK:
                return f"{receipt} beside {record}"
    return None


# ------------------------------------------------------------------------------------------ the end


def drain_says_the_truth(drained: "tuple[Station, bool | None]") -> object:
    """A drain returns True if no accepted request was closed upon, False only after a close."""
    station, told = drained
    closed_upon = [i for i in station.history.items if i.call.station is station and i.closed]
    return closed_upon if told else told is False and not station.closed


def everybody_has_ended(station: "Station") -> object:
    """At the end each accepted request has had one fate; nothing waits, runs or goes unrecorded."""
    sums = sum(station.fates.values()) - station.accepted, station.recorded - station.to_record
    left = [*station.waiting, *station.leaving, *station.dated]
    return any(sums) or [*left, *station.running, *station.hung]


def no_task_is_left(station: "Station") -> object:
    """At the end no task is left."""
    loop = station.history.loop
    return [task for task in asyncio.all_tasks(loop) if task is not asyncio.current_task(loop)]


AT_EVERY_START: "list[Invariant[Run]]" = [
    nothing_late_runs,
    bounds_are_kept,
    padding_is_least,
    prefetched_is_full,
    nobody_else_waits_longer,
]
AT_START: "list[Invariant[Run]]" = [
    only_who_waits_runs,
    first_in_first_out,
    oldest_bucket_first,
    ageing_bounds_overtaking,
    riders_cost_nothing,
    only_the_hopeless_are_shed,
    right_bucket_first,
    most_urgent_first,
]
AT_START_AGAIN: "list[Invariant[Run]]" = [
    runs_again_are_few,
    only_the_untold_run_again,
    failed_batches_are_halved,
]
AT_REST: "list[Invariant[Station]]" = [
    loop_hears_planned_reports_only,
    queue_is_bounded,
    fates_are_told,
    nobody_is_overdue,
    hangs_are_told,
    work_is_conserved,
    full_batches_are_prefetched,
    isolation_goes_on,
    slots_agree,
    stats_agree,
]
AT_RECORD: "list[Invariant[Run]]" = [record_agrees, reason_is_true]
AT_END_OF_CALL: "list[Invariant[Call]]" = [
    refusals_are_right,
    told_at_its_deadline,
    padding_never_shows,
    only_the_guilty_fail,
    ends_as_its_own,
    receipts_agree,
]
AT_END_OF_DRAIN: "list[Invariant[tuple[Station, bool | None]]]" = [drain_says_the_truth]
AT_END: "list[Invariant[Station]]" = [everybody_has_ended, no_task_is_left]
ALL: list[Invariant[Any]] = [
    *(AT_EVERY_START + AT_START + AT_START_AGAIN + AT_RECORD),
    *(AT_REST + AT_END),
    *AT_END_OF_CALL,
    *AT_END_OF_DRAIN,
]
