"""Heads of requests: read by aiohttp's parser once, and known again by their bytes. Event loop.

A client sends the same head over and over, but for its Content-Length. To parse one takes 8 µs, to
find that it has been parsed before a tenth of one (`python -m bench pieces`); and what follows from
a head alone, such as the route, is found out with it. So heads are kept, and looked up by all of
their bytes: what is found is what a parser would have said, because it has.

Heads that differ from each other in every request (an id, a trace) push out only one another: what
is used again moves on into the newer generation, what is not is forgotten with the older one.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, NamedTuple, TypeVar

from aiohttp import HttpVersion10, hdrs
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser
from aiohttp.http_exceptions import HttpProcessingError

E = TypeVar("E")

MOST: Final = 1024
"""Heads in a generation; there are two."""

LONGEST: Final = 4096
"""Bytes of a head that is kept."""

_SCHEME_AND_AUTHORITY: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/?]*", re.IGNORECASE)
_LENGTH: Final = re.compile(r"[0-9]{1,18}", re.ASCII)

# What makes a request more than a head and a body of a known length.
_MORE: Final = (hdrs.TRANSFER_ENCODING, hdrs.EXPECT, hdrs.UPGRADE)


def _never(_: str) -> bool:
    return False


class Head(NamedTuple, Generic[E]):
    """A head that a body of `length` bytes follows.

    `encoding` is how the body is compressed, "" if it is not. `keep_alive` is what the client wants
    of the connection, `old` says that it speaks HTTP/1.0. `entrance` is what somebody made of
    method, target and headers.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    length: int
    encoding: str
    keep_alive: bool
    old: bool
    entrance: E


class Heads(Generic[E]):
    """Reads heads, and keeps them."""

    def __init__(
        self,
        enter: Callable[[str, str, Mapping[str, str]], E],
        streams: Callable[[str], bool] = _never,
        most: int = MOST,
    ) -> None:
        self._enter = enter
        self._streams = streams
        self._most = most
        self._newer: dict[bytes, Head[E]] = {}
        self._older: dict[bytes, Head[E]] = {}

    def find(self, raw: bytes) -> Head[E] | None:
        """The head in `raw`, which ends with its empty line; None if it is not a plain one.

        Not plain is what cannot be parsed, a body in chunks, and all that asks for another
        protocol, for an answer before the body, or for one that `streams`.
        """
        head = self._newer.get(raw)
        if head is not None:
            return head
        head = self._older.get(raw) or self._read(raw)
        if head is not None and len(raw) <= LONGEST:
            if len(self._newer) >= self._most:
                self._older, self._newer = self._newer, {}
            self._newer[raw] = head
        return head

    def _read(self, raw: bytes) -> Head[E] | None:
        message = _parsed(raw)
        if message is None or message.upgrade:
            return None
        headers: Mapping[str, str] = message.headers
        if any(name in headers for name in _MORE):
            return None
        length = headers.get(hdrs.CONTENT_LENGTH, "0")
        if not _LENGTH.fullmatch(length):
            return None
        target = origin_form(message.path)
        if self._streams(target):
            return None
        return Head(
            message.method,
            target,
            headers,
            int(length),
            headers.get(hdrs.CONTENT_ENCODING, ""),
            not message.should_close,
            message.version == HttpVersion10,
            self._enter(message.method, target, headers),
        )


def _parsed(raw: bytes) -> Any:
    """What aiohttp makes of a head; None if it refuses it."""
    loop: Any = None  # Whoever reads the body needs one, and here nobody does.
    parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16, auto_decompress=False)
    try:
        messages, _, rest = parser.feed_data(raw)
    except HttpProcessingError:
        return None
    return messages[0][0] if len(messages) == 1 and not rest else None


def origin_form(target: str) -> str:
    """A target without scheme and authority, which proxies put before it (RFC 9112, 3.2.2)."""
    if target.startswith("/"):
        return target
    before = _SCHEME_AND_AUTHORITY.match(target)
    if before is None:
        return target
    rest = target[before.end() :]
    return rest if rest.startswith("/") else f"/{rest}"
