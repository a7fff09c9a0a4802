"""An answer that comes part by part, over aiohttp, for as long as its client reads. Event loop."""

import asyncio
from typing import Final

from aiohttp import hdrs, web

from server.exchange import Answer

UNREAD_SECONDS: Final = 30.0
"""How long a client may leave unread what it was sent before it is taken for gone."""


async def stream(request: web.BaseRequest, told: Answer) -> web.StreamResponse:
    """Send an answer that has `more`, and close that. A part is asked for when the last is out."""
    assert told.more is not None
    headers = {"Content-Type": told.content_type, **(told.headers or {})}
    response = web.StreamResponse(status=told.status, headers=headers)
    try:
        await response.prepare(request)
        if request.method != hdrs.METH_HEAD:
            await _send(request, response, told.body)
            async for part in told.more:
                await _send(request, response, part)
        await response.write_eof()
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
    except ConnectionError:
        pass  # The client has gone.
    finally:
        await told.more.aclose()
    return response


async def _send(request: web.BaseRequest, response: web.StreamResponse, part: bytes) -> None:
    """Write, and wait until most of it is out: what waits here must not pile up. TimeoutError."""
    async with asyncio.timeout(UNREAD_SECONDS):
        await response.write(part)
        await request.writer.drain()
