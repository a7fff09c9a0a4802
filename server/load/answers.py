"""Reads the answers of one HTTP/1.1 connection, part by part. Pure.

It understands answers with a Content-Length and says clearly what else it got. A full client costs
several times as much, and would be what is measured.
"""

import functools
from typing import Final, NamedTuple

MAX_HEAD: Final = 65536
"""Bytes of status line and headers; more is no answer of a model server."""

HEADS: Final = 64
"""Heads that are remembered: they differ in length and date only, and many answers share one."""


class BadAnswer(Exception):
    """The server answered in a way that this client does not measure."""


class Head(NamedTuple):
    """What counts of status line and headers."""

    status: int
    length: int
    closes: bool


class Whole(NamedTuple):
    """One answer: its head, all its bytes counted, and its body."""

    head: Head
    size: int
    body: bytes


@functools.lru_cache(HEADS)
def parse_head(head: bytes) -> Head:
    """Read status line and headers, without the empty line. BadAnswer."""
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


class AnswerReader:
    """Puts answers together; one at a time, as each request waits for the answer before it."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._head: Head | None = None
        self._body_at = 0

    def take(self, part: bytes) -> Whole | None:
        """Take what came: the answer, if that completes it. BadAnswer."""
        self._received += part
        if self._head is None:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                if len(self._received) > MAX_HEAD:
                    msg = f"headers of more than {MAX_HEAD} bytes"
                    raise BadAnswer(msg)
                return None
            self._head = parse_head(bytes(self._received[:end]))
            self._body_at = end + 4
        size = self._body_at + self._head.length
        if len(self._received) < size:
            return None
        if len(self._received) > size:
            msg = "more bytes than the Content-Length of the answer"
            raise BadAnswer(msg)
        whole = Whole(self._head, size, bytes(self._received[self._body_at :]))
        self._received.clear()
        self._head = None
        return whole
