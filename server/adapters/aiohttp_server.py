"""The HTTP server that `batcher-server` runs: its listener, and its connections. Event loop.

Each connection begins as one of ours (`http_connection`), and stays so as long as its requests are
plain. Others are aiohttp's, of its low-level server: no routes, no middlewares; 28 µs of CPU for an
echo, where a routed `Application` costs 39.
"""

import asyncio
import contextlib
import socket
from typing import Any, Final

import numpy as np
from aiohttp import web

from server.adapters.aiohttp_answer import WholeAnswer
from server.adapters.aiohttp_body import answer
from server.adapters.aiohttp_stream import stream
from server.adapters.heads import Heads, origin_form
from server.adapters.http_connection import HttpConnection, Shared
from server.adapters.pace import Pace
from server.errors import DecodeError, Internal, ServingError
from server.exchange import Exchange
from server.front import Front

BACKLOG: Final = 4096
"""Connections that may wait to be accepted. aiohttp's 128 costs some clients of a few hundred that
connect at once a second, the time after which they repeat their SYN."""


class HttpServer:
    """Listens on one address."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._pace = Pace()
        self._listener: asyncio.Server | None = None
        self._shared: Shared | None = None
        self._others: web.Server | None = None
        self._emptied = asyncio.Event()

    async def open(self, host: str, port: int) -> str:
        """Begin to accept connections; returns the URL. OSError."""
        # Numbers become infinities without a warning. The setting is of this context, which every
        # connection inherits; for each request anew it would cost more than reading its numbers.
        np.seterr(over="ignore")
        self._others = _Server(
            self._handle,
            self._front,
            handler_cancellation=True,
            access_log=None,
            # aiohttp takes a gzip stream that was cut off for a whole one.
            auto_decompress=False,
        )
        shared = Shared(
            self._front,
            Heads(self._front.enter, self._front.streams),
            self._others,
            set(),
            self._emptied.set,
        )
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: HttpConnection(shared), host, port, backlog=BACKLOG
        )
        self._shared = shared
        address = self._listener.sockets[0].getsockname()
        family = self._listener.sockets[0].family
        shown = f"[{address[0]}]" if family == socket.AF_INET6 else address[0]
        return f"http://{shown}:{address[1]}"

    async def close(self, timeout: float) -> None:
        """Accept nothing more; let answers under way go out, for `timeout` seconds; disconnect."""
        if self._listener is None or self._others is None or self._shared is None:
            return
        self._listener.close()
        self._others.pre_shutdown()
        await asyncio.gather(
            self._finish(self._shared.here, timeout), self._others.shutdown(timeout)
        )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._listener.wait_closed()

    async def _finish(self, connections: set[HttpConnection], timeout: float) -> None:
        """Close those at rest, and the others with their answers, or when time is up."""
        for connection in list(connections):
            connection.finish()
        self._emptied.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                if connections:
                    await self._emptied.wait()
        for connection in list(connections):
            connection.abort()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        target = origin_form(request.raw_path)
        told = await answer(request, target, self._front, self._pace, inflated=False)
        return WholeAnswer(told) if told.more is None else await stream(request, told)


class _Connection(web.RequestHandler):
    """A connection on which even what is no HTTP is answered in the words of the server."""

    __slots__ = ("_front",)

    def __init__(self, manager: web.Server, front: Front, **options: Any) -> None:
        super().__init__(manager, **options)
        self._front = front

    def data_received(self, data: bytes) -> None:
        """Parse; what turns out to be no HTTP in the middle of a body ends that body.

        aiohttp keeps the error for the next request, and lets this one wait for the rest of it.
        """
        super().data_received(data)
        if self._messages and self._current_request is not None:
            error = getattr(self._messages[-1][0], "exc", None)
            content = self._current_request.content
            if error is not None and not content.is_eof():
                content.set_exception(web.RequestPayloadError(_reason(error.message)))

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what could not be parsed (400), or what the adapter failed on; then disconnect."""
        if status == web.HTTPBadRequest.status_code:
            reason = _reason(message or "")
            error: ServingError = DecodeError(f"the request cannot be read: {reason}")
        else:
            error = Internal("internal error; the server's log has the details")
            error.__cause__ = exc
        refused = self._front.refuse(Exchange(request.method, "", {}, b""), error)
        refused.close = True
        return WholeAnswer(refused)


def _reason(message: str) -> str:
    """The first line of what aiohttp's parser says; the others show the bytes."""
    first = message.partition("\n")[0].rstrip(":")
    return first.encode("ascii", "backslashreplace").decode()


class _Server(web.Server):
    """Makes such connections."""

    def __init__(
        self, handler: Any, front: Front, *, handler_cancellation: bool, **options: Any
    ) -> None:
        super().__init__(handler, handler_cancellation=handler_cancellation)
        self._front = front
        self._options = options

    def __call__(self) -> _Connection:
        return _Connection(self, self._front, loop=asyncio.get_running_loop(), **self._options)
