"""One change of a model at a time; who comes meanwhile is told, or waits. Event loop.

A change that has begun goes on to its end, even if whoever asked for it goes away.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeAlias

import structlog

from server.errors import Aborted, FailedPrecondition, Unavailable

log: Final = structlog.get_logger("server.changes")

ALL: Final = ""
"""In place of a model's name: a change of all of them together."""

Change: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


class Changes:
    """Those under way, by the names of their models."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Task[None]] = {}
        self._patient: set[asyncio.Task[None]] = set()

    def __contains__(self, name: str) -> bool:
        """Whether this model is being changed."""
        return name in self._running

    async def make(self, name: str, change: Change, *, patient: bool = False) -> None:
        """Make a change of a model, or of all together. Aborted while another is under way.

        A change that nobody asked for is `patient`: it waits for others, and they for it.
        """
        while name in self._running and (patient or self._running[name] in self._patient):
            await asyncio.wait({self._running[name]})
        if name in self._running:
            what = f"model {name!r} is" if name != ALL else "a configuration is"
            msg = f"{what} being loaded or unloaded already"
            raise Aborted(msg)
        changing = asyncio.create_task(change(), name=f"change of model {name}")
        self._running[name] = changing
        changing.add_done_callback(lambda _: self._running.pop(name))
        if patient:
            self._patient.add(changing)
            changing.add_done_callback(self._patient.discard)
        await asyncio.shield(changing)

    async def tried(self, name: str, change: Change) -> None:
        """Make a change that was not asked for by anybody who could be told what went wrong."""
        try:
            await self.make(name, change, patient=True)
        except FailedPrecondition:
            return  # What did not load is in the log.
        except Unavailable:
            return  # The server drains.
        except Exception:
            log.exception("a change of models met a defect", model=name)

    async def ended(self) -> None:
        """Wait for those under way, however they end."""
        if self._running:
            await asyncio.wait(self._running.values())
