"""Reads the answers of one HTTP/1.1 connection, part by part. Pure.

It understands answers with a Content-Length and chunked ones, and says clearly what else it got. A
full client costs several times as much, and would be what is measured.
"""

import functools
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

MAX_HEAD: Final = 65536
"""Bytes of status line and headers; more is no answer of a model server."""

CHUNKED: Final = -1
"""In place of a length: the body tells it, piece by piece."""

MAX_LINE: Final = 4096
"""Bytes of the line before a chunk, or of a trailer."""

_SIZE: Final = re.compile(rb"[0-9a-fA-F]{1,15}")

HEADS: Final = 64
"""Heads that are remembered: they differ in length and date only, and many answers share one."""


class BadAnswer(Exception):
    """The server answered in a way that this client does not measure."""


class Head(NamedTuple):
    """What counts of status line and headers."""

    status: int
    length: int
    closes: bool
    timing: bytes = b""
    """`Server-Timing`, in lower case"""


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
    kept = b"close" if version == b"HTTP/1.0" else b"keep-alive"
    closes = headers.get(b"connection", kept) == b"close"
    length = _length(headers, status[:3].decode())
    return Head(int(status[:3]), length, closes, headers.get(b"server-timing", b""))


def _length(headers: Mapping[bytes, bytes], status: str) -> int:
    """Bytes of the body, or CHUNKED. BadAnswer."""
    coding = headers.get(b"transfer-encoding")
    if coding == b"chunked":
        return CHUNKED
    if coding is not None:
        msg = f"an answer in the coding {coding!r}: expected none, or chunked"
        raise BadAnswer(msg)
    length = headers.get(b"content-length", b"")
    if not length.isdigit():
        msg = f"no valid Content-Length in an answer with status {status}"
        raise BadAnswer(msg)
    return int(length)


class _Chunks:
    """The body of a chunked answer, as far as it was found."""

    def __init__(self, at: int) -> None:
        self.body = bytearray()
        self._at = at
        self._is_last = False

    def end(self, received: bytearray) -> int | None:
        """Go on in what was received: the end of the answer, None if it did not come. BadAnswer."""
        while (line_end := received.find(b"\r\n", self._at)) >= 0:
            line = bytes(received[self._at : line_end])
            if self._is_last:
                self._at = line_end + 2
                if not line:
                    return self._at
                continue
            size, begin = _chunk_size(line), line_end + 2
            if size == 0:
                self._is_last = True
                self._at = begin
                continue
            if len(received) < begin + size + 2:
                return None
            if received[begin + size : begin + size + 2] != b"\r\n":
                msg = "a chunk is longer than it says"
                raise BadAnswer(msg)
            self.body += received[begin : begin + size]
            self._at = begin + size + 2
        if len(received) - self._at > MAX_LINE:
            msg = f"a line of more than {MAX_LINE} bytes among the chunks"
            raise BadAnswer(msg)
        return None


def _chunk_size(line: bytes) -> int:
    size = line.partition(b";")[0].strip()
    if not _SIZE.fullmatch(size):
        msg = f"no valid size of a chunk: {line[:40]!r}"
        raise BadAnswer(msg)
    return int(size, 16)


class AnswerReader:
    """Puts answers together; one at a time, as each request waits for the answer before it."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._head: Head | None = None
        self._body_at = 0
        self._chunks: _Chunks | None = None

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
            if self._head.length == CHUNKED:
                self._chunks = _Chunks(self._body_at)
        chunks = self._chunks
        size = self._body_at + self._head.length if chunks is None else chunks.end(self._received)
        if size is None or len(self._received) < size:
            return None
        return self._whole(self._head, size)

    def _whole(self, head: Head, end: int) -> Whole:
        if len(self._received) > end:
            msg = "more bytes than the answer says that it has"
            raise BadAnswer(msg)
        body = self._received[self._body_at :] if self._chunks is None else self._chunks.body
        whole = Whole(head, end, bytes(body))
        self._received.clear()
        self._head = self._chunks = None
        return whole
