"""aiohttp's low-level server in front of the front: no routes, no middlewares. Event loop.

It costs about 28 µs of CPU a request where a routed `Application` costs 39 (an echo, measured), and
is what `batcher-server` runs.
"""

import asyncio
import contextlib
import socket
import urllib.parse
from typing import Final

import numpy as np
from aiohttp import web

from server.adapters.aiohttp_answer import WholeAnswer
from server.adapters.aiohttp_body import answer
from server.front import Front

BACKLOG: Final = 4096
"""Connections that may wait to be accepted. aiohttp's 128 costs some clients of a few hundred that
connect at once a second, the time after which they repeat their SYN."""


class HttpServer:
    """Listens on one address."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._listener: asyncio.Server | None = None
        self._server: web.Server | None = None

    async def open(self, host: str, port: int) -> str:
        """Begin to accept connections; returns the URL. OSError."""
        # Numbers become infinities without a warning. The setting is of this context, which every
        # connection inherits; for each request anew it would cost more than reading its numbers.
        np.seterr(over="ignore")
        self._server = web.Server(
            self._handle,
            handler_cancellation=True,
            access_log=None,
            # aiohttp takes a gzip stream that was cut off for a whole one.
            auto_decompress=False,
        )
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._server, host, port, backlog=BACKLOG)
        address = self._listener.sockets[0].getsockname()
        family = self._listener.sockets[0].family
        shown = f"[{address[0]}]" if family == socket.AF_INET6 else address[0]
        return f"http://{shown}:{address[1]}"

    async def close(self, timeout: float) -> None:
        """Accept nothing more; let answers under way go out, for `timeout` seconds; disconnect."""
        if self._listener is not None and self._server is not None:
            self._listener.close()
            self._server.pre_shutdown()
            await self._server.shutdown(timeout)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._listener.wait_closed()

    async def _handle(self, request: web.BaseRequest) -> WholeAnswer:
        return WholeAnswer(
            await answer(
                request,
                _origin_form(request.raw_path),
                self._front,
                inflated=False,
            )
        )


def _origin_form(target: str) -> str:
    """A target without scheme and authority, which proxies put before it (RFC 9112, 3.2.2)."""
    if target.startswith("/"):
        return target
    parts = urllib.parse.urlsplit(target)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
