"""The cancellation matrix: at every stage of a request, whatever happens, everybody hears once."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from batcher import Batcher, BatcherClosed, BatchFailed, Receipt
from batcher.testing import FakeExecutor, Faults
from tests.batcher.scenes import (
    assert_books_balance,
    assert_nothing_left,
    ran,
    settle,
    upper,
    work_off,
)

NAMES = ("blocker", "subject", "neighbour", "later")
STAGES = ("queued", "taken", "running", "done")

# A model error strikes the batch that runs at that stage: the blocker's while the subject is
# queued, its own when it was taken or runs, the one behind it when it is done.
STRUCK = {"queued": 0, "taken": 1, "running": 1, "done": 2}


class CannotRun(Exception):
    """The model's own error."""


FAULTS: dict[str, Any] = {"raise": CannotRun("broken"), "short": Faults.one_result_short}


class Scene:
    """Four callers of a Batcher of two rows, brought to a stage of the subject by hand.

    The blocker runs alone. Behind it wait the subject and its neighbour, which make one batch, and
    one more who has to wait for the batch after that.
    """

    def __init__(self, stage: str, event: str, submit: "Submit") -> None:
        plan = {STRUCK[stage]: FAULTS[event]} if event in FAULTS else {}
        self.executor = FakeExecutor(by_hand=True)
        self.batcher: Batcher[str, str] = Batcher(
            Faults(upper, plan), max_batch_size=2, executor=self.executor
        )
        self._submit = submit
        self.callers: dict[str, asyncio.Task[str]] = {}

    async def reach(self, stage: str) -> None:
        """Go through the stages, up to and with this one."""
        self._call("blocker")
        await settle()
        for name in ("subject", "neighbour", "later"):
            self._call(name)
        await settle()
        assert self.batcher.stats().queued_requests == 3
        if stage == "queued":
            return
        self.executor.start_next()
        self.executor.finish_next()
        await settle()
        assert self.executor.handed_over == 1
        if stage == "taken":
            return
        self.executor.start_next()
        if stage == "running":
            return
        self.executor.finish_next()  # Not one step of the loop: the callers have not resumed.

    async def finish(self, stage: str) -> None:
        """Let the model run to the end of its work."""
        if stage == "running":
            self.executor.finish_next()
            await settle()
        await work_off(self.executor)

    def saw(self) -> dict[str, str]:
        """What each caller was told so far."""
        return {name: _told(name, task) for name, task in self.callers.items()}

    def _call(self, name: str) -> None:
        self.callers[name] = asyncio.ensure_future(self._submit(self.batcher, name))


def _told(name: str, task: "asyncio.Task[str]") -> str:
    if not task.done():
        return "waits"
    if task.cancelled():
        return "cancelled"
    if (error := task.exception()) is not None:
        return type(error).__name__
    assert task.result() == name.upper()
    return "answered"


Submit = Callable[[Batcher[str, str], str], Awaitable[str]]


async def submit(batcher: Batcher[str, str], item: str) -> str:
    return await batcher.submit(item)


async def submit_with_receipt(batcher: Batcher[str, str], item: str) -> str:
    result, receipt = await batcher.submit_with_receipt(item)
    assert isinstance(receipt, Receipt)
    return result


async def submit_many(batcher: Batcher[str, str], item: str) -> str:
    (result,) = await batcher.submit_many([item])
    return result


every_way_in = pytest.mark.parametrize("submit", [submit, submit_with_receipt, submit_many])

B, S, N, L = ([name] for name in NAMES)
ANSWERED, CANCELLED, CLOSED, FAILED, WAITS = (
    "answered",
    "cancelled",
    "BatcherClosed",
    "BatchFailed",
    "waits",
)

# What blocker, subject, neighbour and the later one were told; what `run_batch` was called with;
# how many requests were answered, failed, cancelled.
#
# "Answered, cancelled" at the stage "done" is no contradiction: the request was answered, the
# caller did not live to see it.
MATRIX: list[tuple[str, str, tuple[str, ...], list[list[str]], tuple[int, int, int]]] = [
    # ---- the caller is cancelled
    ("queued", "cancel", (ANSWERED, CANCELLED, ANSWERED, ANSWERED), [B, N + L], (3, 0, 1)),
    ("taken", "cancel", (ANSWERED, CANCELLED, ANSWERED, ANSWERED), [B, S + N, L], (3, 0, 1)),
    ("running", "cancel", (ANSWERED, CANCELLED, ANSWERED, ANSWERED), [B, S + N, L], (3, 0, 1)),
    ("done", "cancel", (ANSWERED, CANCELLED, ANSWERED, ANSWERED), [B, S + N, L], (4, 0, 0)),
    # ---- drain: the accepted are finished
    ("queued", "drain", (ANSWERED, ANSWERED, ANSWERED, ANSWERED), [B, S + N, L], (4, 0, 0)),
    ("taken", "drain", (ANSWERED, ANSWERED, ANSWERED, ANSWERED), [B, S + N, L], (4, 0, 0)),
    ("running", "drain", (ANSWERED, ANSWERED, ANSWERED, ANSWERED), [B, S + N, L], (4, 0, 0)),
    ("done", "drain", (ANSWERED, ANSWERED, ANSWERED, ANSWERED), [B, S + N, L], (4, 0, 0)),
    # ---- close: all without an answer fail; what was handed over runs for nobody
    ("queued", "close", (CLOSED, CLOSED, CLOSED, CLOSED), [B], (0, 4, 0)),
    ("taken", "close", (ANSWERED, CLOSED, CLOSED, CLOSED), [B, S + N], (1, 3, 0)),
    ("running", "close", (ANSWERED, CLOSED, CLOSED, CLOSED), [B, S + N], (1, 3, 0)),
    ("done", "close", (ANSWERED, ANSWERED, ANSWERED, CLOSED), [B, S + N, L], (3, 1, 0)),
    # ---- the model raises: its batch fails, nobody else's
    ("queued", "raise", (FAILED, ANSWERED, ANSWERED, ANSWERED), [B, S + N, L], (3, 1, 0)),
    ("taken", "raise", (ANSWERED, FAILED, FAILED, ANSWERED), [B, S + N, L], (2, 2, 0)),
    ("running", "raise", (ANSWERED, FAILED, FAILED, ANSWERED), [B, S + N, L], (2, 2, 0)),
    ("done", "raise", (ANSWERED, ANSWERED, ANSWERED, FAILED), [B, S + N, L], (3, 1, 0)),
    # ---- one result is missing: as if the model had raised
    ("queued", "short", (FAILED, ANSWERED, ANSWERED, ANSWERED), [B, S + N, L], (3, 1, 0)),
    ("taken", "short", (ANSWERED, FAILED, FAILED, ANSWERED), [B, S + N, L], (2, 2, 0)),
    ("running", "short", (ANSWERED, FAILED, FAILED, ANSWERED), [B, S + N, L], (2, 2, 0)),
    ("done", "short", (ANSWERED, ANSWERED, ANSWERED, FAILED), [B, S + N, L], (3, 1, 0)),
]


@every_way_in
@pytest.mark.parametrize(("stage", "event", "told", "batches", "counts"), MATRIX)
async def test_matrix(
    *,
    submit: Submit,
    stage: str,
    event: str,
    told: tuple[str, ...],
    batches: list[list[str]],
    counts: tuple[int, int, int],
) -> None:
    scene = Scene(stage, event, submit)
    batcher = scene.batcher
    drain: asyncio.Task[bool] | None = None
    async with batcher:
        await scene.reach(stage)
        if event == "cancel":
            scene.callers["subject"].cancel()
        elif event == "drain":
            drain = asyncio.ensure_future(batcher.drain())
        elif event == "close":
            await batcher.close()
        await settle()
        assert_books_balance(batcher)
        _check_at_once(scene, stage, event)
        if event in {"drain", "close"}:
            with pytest.raises(BatcherClosed):
                await batcher.submit("too late")

        await scene.finish(stage)
        assert tuple(scene.saw().values()) == told
        assert ran(scene.executor) == batches
        if drain is not None:
            assert await drain
    stats = batcher.stats()
    assert (stats.answered, stats.failed, stats.cancelled) == counts
    assert (stats.accepted, stats.refused) == (4, 0)
    assert_nothing_left(batcher, scene.executor)


def _check_at_once(scene: Scene, stage: str, event: str) -> None:
    """What must have happened before the model does anything more."""
    saw, queued = scene.saw(), scene.batcher.stats().queued_requests
    before = {"queued": 3, "taken": 1, "running": 1, "done": 0}[stage]
    if event == "cancel":
        assert saw["subject"] == CANCELLED
        assert saw["neighbour"] == (ANSWERED if stage == "done" else WAITS)
        assert queued == before - (stage == "queued")
    elif event == "close":
        assert WAITS not in saw.values()
        assert queued == 0
    else:
        assert saw["subject"] == (ANSWERED if stage == "done" else WAITS)
        assert queued == before


def test_the_matrix_has_every_cell() -> None:
    events = ("cancel", "drain", "close", "raise", "short")
    assert [cell[:2] for cell in MATRIX] == [(s, e) for e in events for s in STAGES]


@pytest.mark.parametrize(
    ("event", "cause", "says"),
    [
        ("raise", CannotRun, "broken"),
        ("short", ValueError, "run_batch returned 1 results for 2 requests"),
    ],
)
async def test_a_failed_batch_gives_each_caller_an_exception_of_its_own_with_the_shared_cause(
    event: str, cause: type[Exception], says: str
) -> None:
    scene = Scene("taken", event, submit)
    async with scene.batcher:
        await scene.reach("taken")
        await scene.finish("taken")
        first, second = (scene.callers[name].exception() for name in ("subject", "neighbour"))
        assert isinstance(first, BatchFailed)
        assert isinstance(second, BatchFailed)
        assert first is not second
        assert first.__cause__ is second.__cause__
        assert isinstance(first.__cause__, cause)
        assert str(first.__cause__) == says
        assert says in str(first)


@every_way_in
@pytest.mark.parametrize("stage", ["taken", "running", "done"])
async def test_a_cancelled_caller_of_a_batch_that_fails_sees_its_cancellation_only(
    stage: str, submit: Submit
) -> None:
    scene = Scene("taken", "raise", submit)
    async with scene.batcher:
        await scene.reach(stage)
        scene.callers["subject"].cancel()
        await settle()
        await scene.finish(stage)
        assert tuple(scene.saw().values()) == (ANSWERED, CANCELLED, FAILED, ANSWERED)
    assert_nothing_left(scene.batcher, scene.executor)


@every_way_in
async def test_closing_after_a_cancellation_leaves_it_a_cancellation(submit: Submit) -> None:
    scene = Scene("queued", "cancel", submit)
    async with scene.batcher:
        await scene.reach("queued")
        scene.callers["subject"].cancel()
        await scene.batcher.close()  # Before the subject came to say that it is gone.
        await settle()
        assert tuple(scene.saw().values()) == (CLOSED, CANCELLED, CLOSED, CLOSED)
        await work_off(scene.executor)
    stats = scene.batcher.stats()
    assert (stats.failed, stats.cancelled) == (3, 1)
    assert_nothing_left(scene.batcher, scene.executor)
