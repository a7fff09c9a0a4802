"""Keep-alive connections to one address, as many as are needed up to a limit. Event loop.

A request goes out at once on a connection that is free. If none is, it waits in line for the first
that gets free or is made, and a new one is made unless the limit is reached.

    waiting      then on its way, or failed: cannot connect; or given up: not sent in time
    on its way   then answered, or failed: lost, bad answer; or given up: no answer in time
"""

import asyncio
import os
from collections import deque
from typing import Final, Protocol, cast

from server.load.answers import AnswerReader, BadAnswer, Whole

IDLE: Final = -1
"""In place of a request's number: none is on its way."""

AT_ONCE: Final = 16
"""Connections made at the same time at most: more would flood the line of those that the server
has not accepted yet, where some are dropped and come back after a second."""


class Outcomes(Protocol):
    """Who is told how each request ended, by its number; each exactly once."""

    def answered(self, number: int, whole: Whole) -> None:
        """It has its answer, whatever the status."""
        ...

    def failed(self, number: int, why: str) -> None:
        """It has none and never will."""
        ...

    def unanswered(self, number: int, *, sent: bool) -> None:
        """It was given up: too late."""
        ...


class Pool:
    """Sends `request`, over and over. Numbers of requests ascend: the oldest is the lowest."""

    def __init__(
        self, address: tuple[str, int], request: bytes, limit: int, outcomes: Outcomes
    ) -> None:
        self._address = address
        self._request = request
        self._limit = limit
        self._outcomes = outcomes
        self._open: set[_Connection] = set()
        self._free: list[_Connection] = []
        self._connecting: set[asyncio.Task[None]] = set()
        self._waiting: deque[int] = deque()
        self._on_way: dict[int, _Connection] = {}

    async def connect(self, count: int) -> None:
        """Make connections ahead; one that fails will do so again when it is needed."""
        for _ in range(min(count, self._limit)):
            self._connect()
        await asyncio.gather(*self._connecting)

    def send(self, number: int) -> bool:
        """Send a request, or let it wait: whether it found a free connection."""
        if self._free:
            self._send(self._free.pop(), number)
            return True
        self._waiting.append(number)
        self._grow()
        return False

    def give_up(self, below: int) -> None:
        """End what is on its way or waits and has a lower number than `below`."""
        while self._on_way and (number := next(iter(self._on_way))) < below:
            self._on_way.pop(number).abandon()
            self._outcomes.unanswered(number, sent=True)
        while self._waiting and self._waiting[0] < below:
            self._outcomes.unanswered(self._waiting.popleft(), sent=False)

    def close(self) -> None:
        """End all connections, and what waits for one with them."""
        self._waiting.clear()
        for connecting in self._connecting:
            connecting.cancel()
        for connection in self._open:
            connection.abandon()

    def opened(self, connection: "_Connection") -> None:
        """A connection was made."""
        self._open.add(connection)
        self._serve(connection)

    def answered(self, connection: "_Connection", number: int, whole: Whole) -> None:
        """A connection has its answer and is free again."""
        del self._on_way[number]
        self._outcomes.answered(number, whole)
        if whole.head.closes:
            connection.abandon()
        else:
            self._serve(connection)

    def lost(self, connection: "_Connection", number: int, why: str) -> None:
        """A connection has ended, perhaps with a request on its way."""
        self._open.discard(connection)
        if connection in self._free:
            self._free.remove(connection)
        if self._on_way.pop(number, None) is not None:
            self._outcomes.failed(number, why)
        self._grow()

    def _serve(self, connection: "_Connection") -> None:
        if self._waiting:
            self._send(connection, self._waiting.popleft())
        else:
            self._free.append(connection)

    def _send(self, connection: "_Connection", number: int) -> None:
        self._on_way[number] = connection
        connection.send(number, self._request)

    def _grow(self) -> None:
        """Make connections while requests wait for more than are being made."""
        while (
            len(self._connecting) < min(len(self._waiting), AT_ONCE)
            and len(self._open) + len(self._connecting) < self._limit
        ):
            self._connect()

    def _connect(self) -> None:
        connecting = asyncio.create_task(self._make())
        self._connecting.add(connecting)
        connecting.add_done_callback(self._made)

    async def _make(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: _Connection(self), *self._address)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            if self._waiting:
                self._outcomes.failed(self._waiting.popleft(), f"cannot connect: {why}")

    def _made(self, connecting: "asyncio.Task[None]") -> None:
        self._connecting.discard(connecting)
        if not connecting.cancelled():
            self._grow()


class _Connection(asyncio.Protocol):
    """One connection with at most one request on its way."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._reader = AnswerReader()
        self._number = IDLE
        self._why = ""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._pool.opened(self)

    def send(self, number: int, request: bytes) -> None:
        """Begin."""
        self._number = number
        self._transport.write(request)

    def abandon(self) -> None:
        """End the connection; what is on its way has ended already."""
        self._number = IDLE
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        if self._number == IDLE:
            # Such as a farewell before the server closes: no request is on its way that fails.
            self._transport.abort()
            return
        try:
            whole = self._reader.take(data)
        except BadAnswer as bad:
            self._why = str(bad)
            self._transport.abort()
            return
        if whole is not None:
            number, self._number = self._number, IDLE
            self._pool.answered(self, number, whole)

    def connection_lost(self, exc: Exception | None) -> None:
        why = self._why or f"connection lost: {exc or 'the server closed it'}"
        self._pool.lost(self, self._number, why)
