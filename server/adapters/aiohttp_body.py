"""An exchange over aiohttp: reads the body and asks the front; for both adapters. Event loop."""

import asyncio
from typing import Final

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import BaseRequest

from server.adapters.pace import Pace
from server.compression import too_large
from server.errors import DecodeError, ServingError
from server.exchange import Answer, Exchange
from server.front import Front

BODY_SECONDS: Final = 60.0
"""How long a body may take to come; a client that stalls in the middle is told so and let go."""

PACED: Final = 2**18
"""Bytes of a body that are read as they come; the rest comes at the pace that all bodies share."""

LARGE: Final = 2**20
"""Bytes of a body whose parts another thread joins. Python lets go of its lock for as many."""

_NO_BODY: Final = b""


async def answer(
    request: BaseRequest, target: str, front: Front, pace: Pace, *, inflated: bool
) -> Answer:
    """Have the front answer one request of aiohttp's, whose body it may have inflated already."""
    exchange = Exchange(request.method, target, request.headers, _NO_BODY)
    content, max_body_size = request.content, front.max_body_size
    try:
        # Most bodies have come whole, with the head, and need no waiting.
        body = (
            content.read_nowait() if content.is_eof() else await _read(request, max_body_size, pace)
        )
        if len(body) > max_body_size:
            raise too_large(max_body_size)
        if not inflated and hdrs.CONTENT_ENCODING in request.headers:
            exchange.encoding = request.headers[hdrs.CONTENT_ENCODING]
    except ServingError as error:
        told = front.refuse(exchange, error)
        # What was not read of the body must not be taken for the next request.
        told.close = True
        return told
    exchange.body = body
    return await front.handle(exchange)


async def _read(request: BaseRequest, limit: int, pace: Pace) -> bytes:
    """The whole body, or a little more of it than `limit`. DecodeError."""
    content = request.content
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue" and request.transport:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while size <= limit and not content.at_eof():
                if size >= PACED:
                    await pace.turn()
                parts.append(await content.readany())
                size += len(parts[-1])
    except TimeoutError:
        raise body_is_late() from None
    except (web.RequestPayloadError, HttpProcessingError) as error:
        msg = f"the body cannot be read: {error}"
        raise DecodeError(msg) from error
    return b"".join(parts) if size < LARGE else await asyncio.to_thread(b"".join, parts)


def body_is_late() -> DecodeError:
    """What to tell a client that stalls."""
    return DecodeError(f"the body has not come within {BODY_SECONDS:g} s")
