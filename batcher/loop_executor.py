"""Batches as tasks on the event loop itself: remote models, GPU clients. Event loop."""

import asyncio
import contextvars
import functools

from batcher.executor import Done, Executor, Function, Outcome


class LoopExecutor(Executor):
    """Runs coroutine functions, each in a task of its own."""

    def __init__(self, slots: int = 1) -> None:
        super().__init__(slots)
        self._tasks: dict[asyncio.Task[Outcome], None] = {}

    def run(self, function: Function, argument: object, done: Done) -> None:
        """Start a task, in a context of its own: it inherits nothing from whoever came last."""
        task = asyncio.get_running_loop().create_task(
            self._await(function, argument), context=contextvars.Context()
        )
        self._tasks[task] = None
        task.add_done_callback(functools.partial(self._ended, done), context=contextvars.Context())

    def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _ended(self, done: Done, task: "asyncio.Task[Outcome]") -> None:
        self._tasks.pop(task, None)
        # Cancelled before its first step, `_await` had no chance to say so.
        cancelled = Outcome(None, asyncio.CancelledError(), 0.0)
        done(cancelled if task.cancelled() else task.result())

    async def _await(self, function: Function, argument: object) -> Outcome:
        loop = asyncio.get_running_loop()
        started = loop.time()
        returned = error = None
        try:
            returned = await function(argument)
        except BaseException as raised:  # noqa: BLE001 - however it ends, its callers must hear of it
            error = raised
        return Outcome(returned, error, loop.time() - started)
