"""An exchange over aiohttp: reads the body and asks the front; for both adapters. Event loop."""

from typing import Final

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import BaseRequest

from server.compression import inflate, too_large
from server.errors import DecodeError, ServingError
from server.exchange import Answer, Exchange
from server.front import Front

_NO_BODY: Final = b""


async def answer(
    request: BaseRequest, target: str, front: Front, max_body_size: int, *, inflated: bool
) -> Answer:
    """Have the front answer one request of aiohttp's, whose body it may have inflated already."""
    exchange = Exchange(request.method, target, request.headers, _NO_BODY)
    try:
        exchange.body = await _read(request, max_body_size)
        if not inflated and hdrs.CONTENT_ENCODING in request.headers:
            encoding = request.headers[hdrs.CONTENT_ENCODING]
            exchange.body = inflate(exchange.body, encoding, max_body_size)
    except ServingError as error:
        told = front.refuse(exchange, error)
        # What was not read of the body must not be taken for the next request.
        told.close = True
        return told
    return await front.handle(exchange)


async def _read(request: BaseRequest, limit: int) -> bytes:
    """The whole body. TooLarge, DecodeError."""
    if not request.body_exists:
        return _NO_BODY
    content = request.content
    try:
        body = await content.readany()
        if not content.at_eof():
            parts = [body]
            size = len(body)
            while size <= limit and not content.at_eof():
                parts.append(await content.readany())
                size += len(parts[-1])
            body = b"".join(parts)
    except (web.RequestPayloadError, HttpProcessingError) as error:
        msg = f"the body cannot be read: {error}"
        raise DecodeError(msg) from error
    if len(body) > limit:
        raise too_large(limit)
    return body
