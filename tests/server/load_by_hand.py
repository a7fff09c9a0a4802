"""A clock that tests move by hand, and a server that answers when it is told to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

REQUEST = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n[]"


def answer(status: int = 200, body: bytes = b"{}", headers: str = "") -> bytes:
    """A whole HTTP/1.1 answer."""
    head = f"HTTP/1.1 {status} So\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class HandClock:
    """A `Clock` that stands still until it is moved; then whoever is due is called in order."""

    def __init__(self) -> None:
        self._now = 0.0
        self._at = 0.0
        self._call: Callable[[], None] | None = None
        self._set = asyncio.Event()
        self.closed = False

    def now(self) -> float:
        return self._now

    def wake(self, at: float, call: Callable[[], None]) -> None:
        self._at, self._call = at, call
        self._set.set()

    def close(self) -> None:
        self._call = None
        self.closed = True

    async def is_set(self) -> None:
        """Wait until somebody has asked to be called."""
        await self._set.wait()

    def move(self, to: float) -> None:
        """Let time pass moment by moment: everybody is called when it is due."""
        while self._call is not None and self._at <= to:
            self._now = max(self._now, self._at)
            self._fire()
        self._now = to

    def jump(self, to: float) -> None:
        """Let time pass while nobody looks: all that was due is called only then."""
        self._now = to
        while self._call is not None and self._at <= to:
            self._fire()

    def _fire(self) -> None:
        call, self._call = self._call, None
        assert call is not None
        call()


class HeldServer:
    """Takes requests and keeps them until `let_go`; connections and requests are counted."""

    def __init__(self) -> None:
        self.connections = 0
        self.received = 0
        self.held: list[asyncio.StreamWriter] = []
        self.address = ("127.0.0.1", 0)
        self.at_once = b""
        self._changed = asyncio.Event()

    async def has(self, held: int) -> None:
        """Wait until so many requests are held."""
        while len(self.held) < held:
            self._changed.clear()
            await self._changed.wait()

    def let_go(self, count: int, told: bytes = b"") -> None:
        """Answer the requests that came first."""
        for _ in range(count):
            self.held.pop(0).write(told or answer())

    def hang_up(self) -> None:
        """End the connection of the request that came first, and send no answer."""
        self.held.pop(0).transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                await reader.readexactly(len(REQUEST))
                self.received += 1
                if self.at_once:
                    writer.write(self.at_once)
                else:
                    self.held.append(writer)
                    self._changed.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def held_server(at_once: bytes = b"") -> AsyncIterator[HeldServer]:
    """Run one on a port of the loopback; with `at_once` it holds nothing and answers that."""
    held = HeldServer()
    held.at_once = at_once
    server = await asyncio.start_server(held.serve, "127.0.0.1", 0)
    held.address = server.sockets[0].getsockname()
    try:
        yield held
    finally:
        server.close()
