"""Inflating request bodies within a limit, and compressing answers. Pure."""

import zlib
from typing import Final

from server.errors import DecodeError, TooLarge, UnsupportedEncoding

_WINDOW_BITS: Final = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""How zlib names the containers that HTTP calls so (RFC 9110, 8.4.1); deflate is zlib's own."""


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """The body as it was before `Content-Encoding: encoding`.

    Never more than `limit` bytes are inflated, whatever a few compressed ones may promise.
    DecodeError, UnsupportedEncoding, TooLarge.
    """
    codings = [coding.strip() for coding in encoding.lower().split(",")]
    applied = [coding for coding in codings if coding not in ("", "identity")]
    if not applied:
        return body
    # A name that some old clients have for it, which the RFC asks to be understood.
    encoding = "gzip" if applied == ["x-gzip"] else ", ".join(applied)
    if encoding not in _WINDOW_BITS:
        msg = f"Content-Encoding {encoding!r} is not supported: use {' or '.join(_WINDOW_BITS)}"
        raise UnsupportedEncoding(msg)
    stream = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        inflated = stream.decompress(body, limit + 1)
    except zlib.error as error:
        msg = f"the body is not {encoding}: {error}"
        raise DecodeError(msg) from None
    if len(inflated) > limit:
        raise too_large(limit)
    if not stream.eof or stream.unused_data:
        what = "bytes follow its end" if stream.eof else "it ends too early"
        msg = f"the body is not {encoding}: {what}"
        raise DecodeError(msg)
    return inflated


def compress(body: bytes, encoding: str) -> bytes:
    """The body as `Content-Encoding: encoding` wants it, which is gzip or deflate.

    As fast as it can be: an answer is read once, and the client waits for it.
    """
    stream = zlib.compressobj(zlib.Z_BEST_SPEED, wbits=_WINDOW_BITS[encoding])
    return stream.compress(body) + stream.flush()


def too_large(limit: int) -> TooLarge:
    """A body has more bytes than `limit`."""
    return TooLarge(f"the body is larger than the {limit} bytes that this server reads")
