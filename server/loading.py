"""Loads a model beside those that serve, and warms it up in turns with their batches. Event loop.

Reading a model takes seconds in which its frameworks need no model to stand still: a thread of its
own, the loader, does it. What runs the model takes turns with batches on the model thread, run by
run; so the model thread is warm too (oneDNN keeps what it prepares by thread), and memory has to
hold one batch at a time, as ever.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from batcher import Executor, ThreadExecutor
from server.model import Model
from server.models import load
from server.signature import Signature, Tensors
from server.warmup import WarmUp, warm_up

R = TypeVar("R")


class Loader:
    """Loads models, one after the other, for one model thread."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._thread = ThreadExecutor(name="loader")

    async def load(self, path: Path, sizes: Sequence[int]) -> tuple[Model, WarmUp]:
        """Load the model in a folder and run its signatures. StartupError, saying why not.

        Cancelled, it stops before the next run; nobody waits for what the threads do by then.
        """
        turns = _Turns(self._executor, asyncio.get_running_loop())
        try:
            return await self._thread.call(_load_and_warm_up, (path, sizes, turns))
        finally:
            turns.over = True


class _Turns:
    """The way from the loader thread to the model thread, for as long as somebody waits."""

    def __init__(self, executor: Executor, loop: asyncio.AbstractEventLoop) -> None:
        self.over = False
        self._executor = executor
        self._loop = loop

    def take(self, function: Callable[[], R]) -> R:
        """Run something in a turn on the model thread. On the loader thread."""
        if self.over:
            msg = "the load was given up"
            raise RuntimeError(msg)
        turn = self._executor.call(lambda _: function(), None)
        return asyncio.run_coroutine_threadsafe(turn, self._loop).result()


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
        return self._turns.take(lambda: self._model.run(signature, inputs))


def _load_and_warm_up(what: tuple[Path, Sequence[int], _Turns]) -> tuple[Model, WarmUp]:
    """Load a model and run its signatures once. On the loader thread."""
    path, sizes, turns = what
    model = load(path)
    return model, warm_up(_InTurns(model, turns), sizes)
