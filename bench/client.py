"""A lean HTTP/1.1 client for load: one request, over and over, on one connection. Event loop only.

It understands answers with a Content-Length on connections that stay open, and says clearly what
else it got. aiohttp's client costs several times as much, and would be what is measured.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final, NamedTuple, cast

MAX_HEAD: Final = 65536
"""Bytes of status line and headers; more is no answer of a model server."""


class BadAnswer(Exception):
    """The server answered in a way that this client does not measure."""


class Head(NamedTuple):
    """What counts of status line and headers."""

    status: int
    length: int
    closes: bool


class Answer(NamedTuple):
    """One answer: its status, the seconds it took, all its bytes and its body."""

    status: int
    seconds: float
    size: int
    body: bytes


def parse_head(head: bytes) -> Head:
    """Read status line and headers, without the empty line. BadAnswer. Pure."""
    first, _, rest = head.partition(b"\r\n")
    version, _, status = first.partition(b" ")
    if not version.startswith(b"HTTP/1.") or not status[:3].isdigit():
        msg = f"no HTTP/1 answer: it begins with {first[:40]!r}"
        raise BadAnswer(msg)
    headers = {}
    for line in rest.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        headers[name] = value.strip()
    if b"transfer-encoding" in headers:
        msg = "a chunked answer: this client measures answers with a Content-Length"
        raise BadAnswer(msg)
    length = headers.get(b"content-length", b"")
    if not length.isdigit():
        msg = f"no valid Content-Length in an answer with status {status[:3].decode()}"
        raise BadAnswer(msg)
    kept = b"close" if version == b"HTTP/1.0" else b"keep-alive"
    return Head(int(status[:3]), int(length), headers.get(b"connection", kept) == b"close")


class Client(asyncio.Protocol):
    """Sends its request again whenever `answered` says so; `ended` has what went wrong, if it did.

    `answered` is called with each answer and returns whether to go on. `request` is what is sent
    next: it may exchange it for another.
    """

    def __init__(self, request: bytes, answered: Callable[[Answer], bool]) -> None:
        self.request = request
        self._answered = answered
        self._received = bytearray()
        self._head: Head | None = None
        self._body_at = 0
        self._transport: asyncio.Transport
        self.sent_at = 0.0
        self.ended: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        """Collect an answer; it may come in any number of parts."""
        if self.ended.done():
            return
        self._received += data
        try:
            self._take_answer()
        except BadAnswer as bad:
            self.end(str(bad))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell why, unless that is known already."""
        self.end(f"connection lost: {exc or 'the server closed it'}")

    def end(self, failure: str | None) -> None:
        """Stop at once: `failure` says why, None that it was meant to."""
        if not self.ended.done():
            self.ended.set_result(failure)
            self._transport.abort()

    def _send(self) -> None:
        self._received.clear()
        self._head = None
        self.sent_at = time.perf_counter()
        self._transport.write(self.request)

    def _take_answer(self) -> None:
        if self._head is None:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                if len(self._received) > MAX_HEAD:
                    msg = f"headers of more than {MAX_HEAD} bytes"
                    raise BadAnswer(msg)
                return
            self._head = parse_head(bytes(self._received[:end]))
            self._body_at = end + 4
        size = self._body_at + self._head.length
        if len(self._received) < size:
            return
        if len(self._received) > size:
            msg = "more bytes than the Content-Length of the answer"
            raise BadAnswer(msg)
        seconds = time.perf_counter() - self.sent_at
        body = bytes(self._received[self._body_at :])
        goes_on = self._answered(Answer(self._head.status, seconds, size, body))
        if not goes_on:
            self.end(None)
        elif self._head.closes:
            msg = "the server closes connections after its answers (Connection: close)"
            raise BadAnswer(msg)
        else:
            self._send()
