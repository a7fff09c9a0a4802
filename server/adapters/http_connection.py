"""A connection that carries plain requests by itself, and leaves others to aiohttp. Event loop.

Plain is a head that came in one piece (`heads`) and a body of a known, not too large length, one
request after the other: what inference clients send. Of aiohttp it needs the parser of heads only.
Whatever else comes up (chunks, pipelining, `Expect`, nonsense) hands the connection over, with all
that has not been answered, to one of aiohttp's own, which keeps it until its end.

An inference is run without a task. Its coroutine is driven from here: to its first wait right as
the body arrives, and on from there when what it waits for has happened. A task for each request,
and the waking of one for each connection, took as long as all the rest (`python -m bench echo`).

    at rest ──head──> arriving ──all of the body──> asked ──answer──> at rest
       └────────────────┴───── what is not plain ─────┴──> aiohttp's
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple, cast

from aiohttp import hdrs
from aiohttp.tcp_helpers import tcp_keepalive

from server.adapters.aiohttp_answer import whole
from server.adapters.aiohttp_body import BODY_SECONDS, PACED, body_is_late
from server.adapters.heads import Head, Heads
from server.exchange import Answer, Exchange
from server.front import Entrance, Front

KEEP_ALIVE: Final = 3630.0
"""Seconds that a connection may rest: more than the hour of the proxies before it."""

_END_OF_HEAD: Final = b"\r\n\r\n"


class Shared(NamedTuple):
    """What all connections of a server have in common.

    `others` makes aiohttp's connections; `here` are those that this module carries, and `emptied`
    is called when the last of them has gone.
    """

    front: Front
    heads: Heads[Entrance | None]
    others: Callable[[], asyncio.Protocol]
    here: set["HttpConnection"]
    emptied: Callable[[], None]


class HttpConnection(asyncio.Protocol):
    """One connection, from its beginning until it is closed or handed over."""

    __slots__ = (
        "_arriving",
        "_asked",
        "_awaited",
        "_clogged",
        "_coroutine",
        "_early",
        "_ends",
        "_loop",
        "_missing",
        "_most",
        "_parts",
        "_rest",
        "_shared",
        "_stall",
        "_task",
        "_transport",
        "_used_at",
    )

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._most = min(PACED, shared.front.max_body_size)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._clogged = self._ends = False
        # Since when it rests, and the timer that looks at that.
        self._used_at = self._loop.time()
        self._rest: asyncio.TimerHandle | None = None
        # A request that has come in part: its head, all bytes so far, and how many are missing.
        self._arriving: Head[Entrance | None] | None = None
        self._parts: list[bytes] = []
        self._missing = 0
        self._stall: asyncio.TimerHandle | None = None
        # A request that has come whole, by what it is answered, and what has come after it.
        self._asked: Head[Entrance | None] | None = None
        self._coroutine: Coroutine[Any, None, Answer] | None = None
        self._awaited: asyncio.Future[Any] | None = None
        self._task: asyncio.Task[Answer] | None = None
        self._early = b""

    # ------------------------------------------------------------------------------- arriving

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to rest."""
        self._transport = cast("asyncio.Transport", transport)
        tcp_keepalive(self._transport)
        self._shared.here.add(self)
        self._rest = self._loop.call_later(KEEP_ALIVE, self._end_rest)

    def data_received(self, data: bytes) -> None:
        """Take a request, or a part of one."""
        if self._asked is not None:
            self._take_early(data)
        elif self._arriving is not None:
            self._take_part(self._arriving, data)
        else:
            end = data.find(_END_OF_HEAD) + len(_END_OF_HEAD)
            head = self._shared.heads.find(data[:end]) if end >= len(_END_OF_HEAD) else None
            if head is None or head.length > self._most:
                self._hand_over(data)
            elif len(data) == end + head.length:
                self._ask(head, data[end:])
            elif len(data) < end + head.length:
                self._arriving = head
                self._missing = end + head.length
                self._stall = self._loop.call_later(BODY_SECONDS, self._end_stall)
                self._take_part(head, data)
            else:
                self._hand_over(data)

    def _take_part(self, head: Head[Entrance | None], data: bytes) -> None:
        self._parts.append(data)
        self._missing -= len(data)
        if self._missing > 0:
            return
        parts = self._forget_parts()
        if self._missing < 0:
            if not self._ends:
                self._hand_over(b"".join(parts))
                return
            # No answer comes after this one, whatever is asked.
            parts[-1] = parts[-1][: self._missing]
        # The head is left out before the parts are joined: one copy of a large body, not two.
        begin = sum([len(part) for part in parts]) - head.length
        parts[0] = parts[0][begin:]
        self._ask(head, b"".join(parts))

    def _forget_parts(self) -> list[bytes]:
        if self._stall is not None:
            self._stall.cancel()
        parts, self._parts, self._arriving = self._parts, [], None
        return parts

    def _take_early(self, data: bytes) -> None:
        """Somebody does not wait for the answer: no more until it is out."""
        assert self._transport is not None
        self._early += data
        self._transport.pause_reading()

    # ------------------------------------------------------------------------------ answering

    def _ask(self, head: Head[Entrance | None], body: bytes) -> None:
        """Have the front answer; inferences without a task, what may wait for anything with one."""
        self._asked = head
        exchange = Exchange(head.method, head.target, head.headers, body, head.encoding)
        answering = self._shared.front.handle(exchange, entrance=head.entrance)
        if head.entrance is None:
            self._task = self._loop.create_task(answering)
            self._task.add_done_callback(self._end_task)
        else:
            self._coroutine = answering
            self._go_on()

    def _go_on(self, _: "asyncio.Future[Any] | None" = None) -> None:
        """Let the coroutine run until it waits for something, as a task would."""
        assert self._coroutine is not None
        try:
            awaited = self._coroutine.send(None)
        except StopIteration as end:
            self._coroutine = self._awaited = None
            self._answer(end.value)
        except asyncio.CancelledError:
            self._coroutine = self._awaited = None
            self.abort()
        except Exception:
            self.abort()
            raise
        else:
            # This tells a future that whoever awaits it takes care of being told.
            awaited._asyncio_future_blocking = False  # noqa: SLF001 - asyncio's own duck type
            self._awaited = awaited
            awaited.add_done_callback(self._go_on)

    def _end_task(self, task: "asyncio.Task[Answer]") -> None:
        self._task = None
        if task.cancelled():
            self.abort()
            return
        if task.exception() is not None:
            self.abort()
        self._answer(task.result())

    def _answer(self, told: Answer) -> None:
        """Write an answer, unless its client has gone; then rest, or close."""
        head, transport = self._asked, self._transport
        assert head is not None
        self._asked = None
        if transport is None or transport.is_closing():
            return
        stays = head.keep_alive and not told.close and not self._ends
        is_head = head.method == hdrs.METH_HEAD
        transport.write(whole(told, keep_alive=stays, old=head.old, bodiless=is_head))
        if not stays:
            transport.close()
            return
        self._used_at = self._loop.time()
        if self._early:
            early, self._early = self._early, b""
            self._hand_over(early)

    # --------------------------------------------------------------------------------- ending

    def pause_writing(self) -> None:
        """The client reads slowly: no more of its requests until it has."""
        assert self._transport is not None
        self._clogged = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It has read."""
        assert self._transport is not None
        self._clogged = False
        if not self._early:
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits for an answer any more."""
        self._leave()
        if self._awaited is not None:
            self._awaited.cancel()
        if self._task is not None:
            self._task.cancel()

    def finish(self) -> None:
        """Close, after the answer if a request has begun to come."""
        self._ends = True
        if self._asked is None and self._arriving is None and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _end_rest(self) -> None:
        """Close if nothing has happened for too long; look again when it may be so."""
        assert self._transport is not None
        left = self._used_at + KEEP_ALIVE - self._loop.time()
        if self._asked is not None or self._arriving is not None:
            left = KEEP_ALIVE
        if left > 0:
            self._rest = self._loop.call_later(left, self._end_rest)
        else:
            # An answer that its client has not read for as long is not waited for.
            self._transport.abort()

    def _end_stall(self) -> None:
        """The rest of a body does not come."""
        head = self._arriving
        assert head is not None
        self._forget_parts()
        self._asked = head
        exchange = Exchange(head.method, head.target, head.headers, b"")
        told = self._shared.front.refuse(exchange, body_is_late())
        told.close = True
        self._answer(told)

    def _hand_over(self, data: bytes) -> None:
        """Leave the connection to aiohttp, with what has come of a request."""
        transport, other = self._transport, self._shared.others()
        assert transport is not None
        self._leave()
        transport.set_protocol(other)
        other.connection_made(transport)
        if self._clogged:
            other.pause_writing()
        transport.resume_reading()
        other.data_received(data)

    def _leave(self) -> None:
        self._transport = None
        self._forget_parts()
        if self._rest is not None:
            self._rest.cancel()
        self._shared.here.discard(self)
        if not self._shared.here:
            self._shared.emptied()
