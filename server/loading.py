"""Loads a model beside those that serve, and warms it up in turns with their batches. Event loop.

Reading a model takes seconds in which its frameworks need no model to stand still: a thread of its
own, the loader, does it. What runs the model takes turns with batches on the model thread, run by
run; so the model thread is warm too (oneDNN keeps what it prepares by thread), and memory has to
hold one batch at a time, as ever.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import structlog

from batcher import Executor, ThreadExecutor
from batcher.lengths import VariableLength
from server.errors import StartupError
from server.folders import Mark, Seen, look, mark
from server.model import Model, WrongOutput
from server.models import load
from server.runtime import Runtime
from server.signature import Signature, Tensors, names_text
from server.warmup import WarmUp, warm_up
from server.warmup.examples import example_pairs
from server.warmup.records import read_records

R = TypeVar("R")

log: Final = structlog.get_logger("server.loading")


@dataclass(frozen=True, slots=True)
class Order:
    """What to load, and how to warm it up: at these batch sizes, which ascend.

    `run_timeout` is how many seconds a run may take before it is taken to hang.
    """

    path: Path
    sizes: tuple[int, ...]
    runtime: Runtime = field(default_factory=Runtime)
    lengths: VariableLength | None = None
    run_timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that has run, and the mark of the files that it was read from."""

    model: Model
    warm: WarmUp
    mark: Mark


class Loader:
    """Looks for models and loads them, one after the other."""

    def __init__(self) -> None:
        self._thread = ThreadExecutor(name="loader")
        # Whether there is something new shows while something else is being loaded.
        self._scout = ThreadExecutor(name="scout")

    async def look(self, path: Path, unmarked: Collection[int] = ()) -> Mapping[int, Seen]:
        """What there is to load at a path: see `folders.look`. StartupError."""
        return await self._scout.call(_look, (path, unmarked))

    async def load(self, order: Order, executor: Executor) -> Loaded:
        """Load a model and run its signatures on its model thread. StartupError, saying why not.

        Cancelled, it stops before the next run; nobody waits for what the threads do by then.
        """
        turns = _Turns(executor, asyncio.get_running_loop(), order.run_timeout)
        try:
            return await self._thread.call(_load_and_warm_up, (order, turns))
        finally:
            turns.over = True


class _Turns:
    """The way from the loader thread to the model thread, for as long as somebody waits.

    `fault` is why the model cannot be served, whatever its input: a run has not come back, or gave
    something else than the signature says.
    """

    def __init__(
        self, executor: Executor, loop: asyncio.AbstractEventLoop, run_timeout: float | None
    ) -> None:
        self.over = False
        self.fault = ""
        self._executor = executor
        self._loop = loop
        self._run_timeout = run_timeout

    def take(self, function: Callable[[], R]) -> R:
        """Run something in a turn on the model thread. On the loader thread."""
        if self.over:
            msg = self.fault or "the load was given up"
            raise RuntimeError(msg)
        return asyncio.run_coroutine_threadsafe(self._turn(function), self._loop).result()

    async def _turn(self, function: Callable[[], R]) -> R:
        """The time counts from when the turn has come. On the event loop."""
        begun = asyncio.Event()

        def run(_: None) -> R:
            self._loop.call_soon_threadsafe(begun.set)
            return function()

        turn = asyncio.ensure_future(self._executor.call(run, None))
        beginning = asyncio.ensure_future(begun.wait())
        await asyncio.wait({turn, beginning}, return_when=asyncio.FIRST_COMPLETED)
        beginning.cancel()
        await asyncio.wait({turn}, timeout=self._run_timeout)
        if not turn.done():
            self._give_up(turn)
        return await asyncio.shield(turn)

    def _give_up(self, turn: "asyncio.Future[R]") -> None:
        """Nobody can stop a thread: others are told that it hangs, until it comes back."""
        self.over = True
        self.fault = f"its warm-up hangs: a run took longer than run_timeout={self._run_timeout} s"
        self._executor.lose_slot()
        turn.add_done_callback(lambda _: self._executor.regain_slot())
        raise RuntimeError(self.fault)


class _InTurns:
    """A model that runs on the model thread, whoever calls."""

    def __init__(self, model: Model, turns: _Turns) -> None:
        self._model = model
        self._turns = turns

    @property
    def platform(self) -> str:
        return self._model.platform

    @property
    def signatures(self) -> Mapping[str, Signature]:
        return self._model.signatures

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        try:
            return self._turns.take(lambda: self._model.run(signature, inputs))
        except WrongOutput as error:
            self._turns.fault = str(error)
            raise


def _look(what: tuple[Path, Collection[int]]) -> Mapping[int, Seen]:
    """On a thread, as folders may be far away."""
    return look(*what)


def _load_and_warm_up(what: tuple[Order, _Turns]) -> Loaded:
    """Load a model and run its signatures once. On the loader thread."""
    order, turns = what
    before = _marked(order.path)
    model = load(order.path, order.runtime)
    _check_lengths(order.lengths, model)
    try:
        warm = warm_up(
            _InTurns(model, turns),
            order.sizes,
            lengths=order.lengths,
            records=tuple(read_records(order.path, model)),
            examples=example_pairs(order.path, model),
            tell=lambda told: log.info(told, path=str(order.path)),
        )
    finally:
        if turns.fault:
            msg = f"the model in {order.path} cannot be served: {turns.fault}"
            raise StartupError(msg)
    if _marked(order.path) != before:
        msg = f"the files in {order.path} changed while they were read"
        raise StartupError(msg)
    return Loaded(model, warm, before)


def _check_lengths(lengths: VariableLength | None, model: Model) -> None:
    """Whether the model has what is to be padded and cut. StartupError."""
    if lengths is None:
        return
    signatures = model.signatures.values()
    inputs = {name for signature in signatures for name in signature.inputs}
    outputs = {name for signature in signatures for name in signature.outputs}
    mask = {lengths.mask} - {""}
    for option, named, there in (
        ("pad", lengths.inputs.keys(), inputs),
        ("pad_mask", mask, inputs),
        ("cut", lengths.outputs.keys(), outputs),
    ):
        for name in sorted(named - there):
            what = f"{option} names {name!r}, which no signature of the model has"
            msg = f"{what}; there are {names_text(there)}"
            raise StartupError(msg)


def _marked(path: Path) -> Mark:
    try:
        return mark(path)
    except OSError as error:
        msg = f"the files in {path} changed while they were read: {error}"
        raise StartupError(msg) from error
