"""A lean HTTP/1.1 client for load: one request, over and over, on one connection. Event loop only.

A closed loop: the next request goes out when the last one is answered. `server.load` is the open
one, and reads answers for both.
"""

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple, cast

from server.load.answers import AnswerReader, BadAnswer


class Answer(NamedTuple):
    """One answer: its status, the seconds it took, all its bytes and its body."""

    status: int
    seconds: float
    size: int
    body: bytes


class Client(asyncio.Protocol):
    """Sends its request again whenever `answered` says so; `ended` has what went wrong, if it did.

    `answered` is called with each answer and returns whether to go on. `request` is what is sent
    next: it may exchange it for another.
    """

    def __init__(self, request: bytes, answered: Callable[[Answer], bool]) -> None:
        self.request = request
        self._answered = answered
        self._reader = AnswerReader()
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
        try:
            self._take(data)
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
        self.sent_at = time.perf_counter()
        self._transport.write(self.request)

    def _take(self, data: bytes) -> None:
        whole = self._reader.take(data)
        if whole is None:
            return
        head, size, body = whole
        seconds = time.perf_counter() - self.sent_at
        goes_on = self._answered(Answer(head.status, seconds, size, body))
        if not goes_on:
            self.end(None)
        elif head.closes:
            msg = "the server closes connections after its answers (Connection: close)"
            raise BadAnswer(msg)
        else:
            self._send()
