"""The release rule: what a free thread does with a queue at a time, and why."""

from asyncio import AbstractEventLoop, Future, new_event_loop
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher import Reason
from batcher.policy import NOBODY_WAITS, Limits, Release, Wait, next_release
from batcher.queue import RequestQueue
from batcher.request import Request

PATIENCE = 2.0
EAGER = Limits(max_batch_size=4, max_queue_size=10, batch_timeout=0.0)
PATIENT = Limits(max_batch_size=4, max_queue_size=10, batch_timeout=PATIENCE)

Arrivals = list[tuple[str, int, float]]
"""Bucket, rows, time."""


@pytest.fixture(scope="module")
def loop() -> Iterator[AbstractEventLoop]:
    loop = new_event_loop()
    yield loop
    loop.close()


def filled(loop: AbstractEventLoop, arrivals: Arrivals) -> RequestQueue[str, int]:
    queue: RequestQueue[str, int] = RequestQueue(EAGER.max_batch_size)
    for number, (bucket, size, arrival) in enumerate(arrivals):
        future: Future[int] = loop.create_future()
        queue.put(Request("item", size, number, arrival, future), bucket)
    return queue


@pytest.mark.parametrize(
    ("arrivals", "limits", "now", "draining", "decision"),
    [
        # ---- nobody waits
        ([], EAGER, 0.0, False, None),
        ([], PATIENT, 9.0, True, None),
        # ---- the oldest head, and why
        ([("a", 1, 0.0)], EAGER, 0.0, False, ("a", Reason.IDLE)),
        ([("a", 1, 0.0), ("b", 4, 0.0)], EAGER, 0.0, False, ("a", Reason.IDLE)),
        ([("a", 4, 0.0)], EAGER, 0.0, False, ("a", Reason.FULL)),
        ([("a", 2, 0.0), ("a", 3, 0.0)], PATIENT, 0.0, False, ("a", Reason.FULL)),
        ([("a", 1, 0.0)], EAGER, 0.0, True, ("a", Reason.DRAIN)),
        ([("a", 1, 0.0)], PATIENT, 0.0, True, ("a", Reason.DRAIN)),
        ([("a", 4, 0.0)], PATIENT, 0.0, True, ("a", Reason.FULL)),
        ([("a", 1, 0.0), ("b", 4, 0.0)], PATIENT, 0.0, True, ("a", Reason.DRAIN)),
        ([("a", 1, 1.0)], PATIENT, 3.0, False, ("a", Reason.TIMEOUT)),
        ([("a", 1, 1.0)], PATIENT, 9.0, False, ("a", Reason.TIMEOUT)),
        ([("a", 1, 1.0), ("b", 4, 1.0)], PATIENT, 3.0, False, ("a", Reason.TIMEOUT)),
        # ---- the oldest waits for company until its time is up
        ([("a", 1, 1.0)], PATIENT, 1.0, False, 3.0),
        ([("a", 1, 1.0)], PATIENT, 2.9, False, 3.0),
        ([("a", 1, 1.0), ("a", 2, 2.0), ("b", 3, 2.0)], PATIENT, 2.5, False, 3.0),
        # ---- meanwhile a full one overtakes it: of several, the oldest
        ([("a", 1, 1.0), ("b", 4, 2.0)], PATIENT, 2.5, False, ("b", Reason.FULL)),
        (
            [("a", 1, 1.0), ("c", 1, 1.5), ("b", 4, 2.0), ("c", 3, 2.0)],
            PATIENT,
            2.5,
            False,
            ("c", Reason.FULL),
        ),
        # ---- a full queue has no room for company
        (
            [("a", 3, 1.0), ("b", 3, 1.0), ("c", 3, 1.0), ("d", 1, 1.0)],
            PATIENT,
            1.0,
            False,
            ("a", Reason.FULL),
        ),
        ([("a", 3, 1.0), ("b", 3, 1.0), ("c", 3, 1.0)], PATIENT, 1.0, False, 3.0),
    ],
)
def test_the_rule(
    loop: AbstractEventLoop,
    arrivals: Arrivals,
    limits: Limits,
    now: float,
    decision: tuple[str, Reason] | float | None,
    *,
    draining: bool,
) -> None:
    decided = next_release(filled(loop, arrivals), limits, now, draining=draining)
    if isinstance(decided, Release):
        assert (decided.lane.bucket, decided.reason) == decision
    else:
        assert decided == Wait(decision)  # type: ignore[arg-type]


def test_an_empty_queue_waits_for_an_arrival_only(loop: AbstractEventLoop) -> None:
    assert next_release(filled(loop, []), PATIENT, 1.0, draining=False) is NOBODY_WAITS
    assert NOBODY_WAITS.until is None


arrivals_of_any_kind = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(1, 4), st.floats(0.0, 9.0)), max_size=12
).map(lambda arrivals: sorted(arrivals, key=lambda arrival: arrival[2]))


@given(
    arrivals=arrivals_of_any_kind,
    later=st.floats(0.0, 9.0),
    patience=st.sampled_from([0.0, 1.0, PATIENCE]),
    draining=st.booleans(),
)
def test_whatever_waits_the_rule_holds(
    loop: AbstractEventLoop, arrivals: Arrivals, later: float, patience: float, *, draining: bool
) -> None:
    limits = Limits(max_batch_size=4, max_queue_size=10, batch_timeout=patience)
    queue = filled(loop, arrivals)
    now = (arrivals[-1][2] if arrivals else 0.0) + later
    decided = next_release(queue, limits, now, draining=draining)
    assert next_release(queue, limits, now, draining=draining) == decided  # It only looks.
    if not arrivals:
        assert decided == NOBODY_WAITS
        return
    oldest, _, arrival = arrivals[0]
    rows = {bucket: sum(size for b, size, _ in arrivals if b == bucket) for bucket in "abc"}
    due = arrival + patience
    if isinstance(decided, Wait):
        assert decided.until == due > now
        assert not draining
        assert max(rows.values()) < 4
        assert sum(rows.values()) < 10
        return
    bucket = decided.lane.bucket
    if bucket != oldest:
        assert decided.reason is Reason.FULL
        assert rows[str(bucket)] >= 4 > rows[oldest]
        assert now < due
        assert not draining
    why = {
        Reason.FULL: rows[str(bucket)] >= 4 or sum(rows.values()) >= 10,
        Reason.DRAIN: draining,
        Reason.IDLE: patience == 0,
        Reason.TIMEOUT: patience > 0 and now >= due,
    }
    assert why[decided.reason]
