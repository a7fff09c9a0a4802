"""Sends what happens to everybody who looks, as server-sent events. Event loop.

One timer runs while there is a viewer; at each tick one event is made, for all of them. Each viewer
has the newest event or none: who reads slowly misses some, and sees by their numbers how many.

    first viewer ──> ticks ──> last viewer gone     nothing is kept, nothing runs
                       └──── the server drains ──> all viewers are told, and their streams end
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

import orjson
import structlog

from server.errors import Unavailable
from server.exchange import Answer
from server.live.feed import Feed, Taken

log: Final = structlog.get_logger("server.live")

TICK: Final = 0.2
"""Seconds between events."""

MOST_VIEWERS: Final = 16
"""Pages that may look at the same time; each has a connection, and an event in its buffers."""

RETRY: Final = 1000
"""Milliseconds after which a viewer comes back when its stream has ended."""

Describe = Callable[[Taken], dict[str, Any]]
"""What an event says of the models, given what has happened to them."""


class _Viewer:
    """The newest event that one has not been sent, and whoever waits for it."""

    __slots__ = ("news", "waiting")

    def __init__(self) -> None:
        self.news = b""
        self.waiting = asyncio.Event()


class Stream:
    """Has the viewers, and the timer of them all."""

    def __init__(self, feed: Feed, describe: Describe, *, tick: float = TICK) -> None:
        self._feed = feed
        self._describe = describe
        self._tick = tick
        self._viewers: set[_Viewer] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._number = 0
        self._ended = False

    @property
    def viewers(self) -> int:
        """How many look."""
        return len(self._viewers)

    def answer(self) -> Answer:
        """A stream of events for one more viewer. Unavailable."""
        if self._ended:
            msg = "the server is shutting down"
            raise Unavailable(msg)
        if len(self._viewers) >= MOST_VIEWERS:
            msg = f"{MOST_VIEWERS} pages look already, as many as may"
            raise Unavailable(msg, retry_after=RETRY / 1000)
        # A proxy that collects an answer before it passes it on would show nothing.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        first = f"retry: {RETRY}\n\n".encode()
        return Answer(200, first, "text/event-stream", headers, more=self._events())

    def end(self) -> None:
        """Tell all viewers that this was it. Nobody can look from now on."""
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        try:
            self._tell()
        except Exception:
            # Accepted requests are yet to be answered: what only shows them must not prevent it.
            log.exception("the live page met a defect of this server")
            for viewer in self._viewers:
                viewer.waiting.set()

    async def _events(self) -> AsyncGenerator[bytes, None]:
        # Only now, and not when it is announced: an answer that never gets here has no viewer.
        if len(self._viewers) >= MOST_VIEWERS:
            return
        viewer = _Viewer()
        self._viewers.add(viewer)
        self._begin()
        try:
            while not self._ended or viewer.news:
                await viewer.waiting.wait()
                viewer.waiting.clear()
                news, viewer.news = viewer.news, b""
                if news:
                    yield news
        finally:
            self._viewers.discard(viewer)
            self._rest()

    def _begin(self) -> None:
        if self._timer is None and not self._ended:
            self._feed.watched = True
            self._timer = asyncio.get_running_loop().call_later(self._tick, self._next)

    def _rest(self) -> None:
        if self._viewers:
            return
        self._feed.watched = False
        self._feed.take()
        # Who comes back is to see that something was missed.
        self._number += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _next(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._tick, self._next)
        self._tell()

    def _tell(self) -> None:
        if not self._viewers:
            return
        self._number += 1
        told = {"number": self._number, "at": time.monotonic(), "viewers": len(self._viewers)}
        told |= {"ended": self._ended, **self._describe(self._feed.take())}
        news = b"id: %d\ndata: %b\n\n" % (self._number, orjson.dumps(told))
        for viewer in self._viewers:
            viewer.news = news
            viewer.waiting.set()
