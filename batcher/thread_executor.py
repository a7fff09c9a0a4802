"""Batches on threads of their own. Slots: event loop. Work: the model thread.

The threads are daemons: a function that hangs cannot keep the process from exiting
(`concurrent.futures` joins its threads at exit, and would).
"""

import asyncio
import queue
import threading
import time
from typing import Any, Final, TypeAlias

from batcher.executor import Done, Executor, Function, call

Work: TypeAlias = tuple[Function, Any, Done]


class ThreadExecutor(Executor):
    """Dedicated, named daemon threads, one for each slot. The default is one: the model thread."""

    def __init__(self, slots: int = 1, *, name: str = "model") -> None:
        super().__init__(slots)
        self.name: Final = name
        self._inbox: queue.SimpleQueue[Work | None]
        self._threads: list[threading.Thread] = []

    @property
    def in_order(self) -> bool:
        """One thread takes one after the other."""
        return self.slots == 1

    def run(self, function: Function, argument: object, done: Done) -> None:
        """Hand over to a model thread."""
        self._inbox.put((function, argument, done))

    def runs_current_thread(self) -> bool:
        """Whether this is one of the model threads."""
        return threading.current_thread() in self._threads

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        # A new inbox for each start: a thread that hangs when it is stopped keeps the old one.
        self._inbox = queue.SimpleQueue()
        self._threads = [
            threading.Thread(
                target=work_off,
                args=(loop, self._inbox),
                name=self.name if self.slots == 1 else f"{self.name}-{number}",
                daemon=True,
            )
            for number in range(self.slots)
        ]
        for thread in self._threads:
            thread.start()

    def _stop(self) -> None:
        for _ in self._threads:
            self._inbox.put(None)
        self._threads = []


def work_off(loop: asyncio.AbstractEventLoop, inbox: "queue.SimpleQueue[Work | None]") -> None:
    """Run what comes in until told to stop. On a model thread."""
    while (work := inbox.get()) is not None:
        function, argument, done = work
        ended = [done, call(function, argument, time.perf_counter)]
        # A thread that is idle, or has not run since it woke the loop, must keep nothing alive:
        # neither the last batch nor its results, nor a model that it loaded and that is let go.
        del work, function, argument, done
        try:
            loop.call_soon_threadsafe(_hand_over, ended)
        except RuntimeError:
            if loop.is_closed():
                return  # It was closed meanwhile: nobody is left to answer.
            raise


def _hand_over(ended: list[Any]) -> None:
    """Tell who waits for the end of a call; leaves nothing in the list."""
    outcome, done = ended.pop(), ended.pop()
    done(outcome)
