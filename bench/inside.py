"""Clients inside the server's own process: all of its way but sockets and the kernel. Event loop.

What they show is the CPU that our own code, aiohttp's parser and TensorFlow take for a request, and
next to nothing of what else the machine does: a change of 2 % can be seen, where load over sockets
scatters by 30.
"""

import asyncio
import pathlib
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import click

from server.adapters.heads import Heads
from server.adapters.http_connection import HttpConnection, Shared
from server.app import Application
from server.config import Config, ModelConfig

GOOD: Final = b"HTTP/1.1 200 "


class Took(NamedTuple):
    """Microseconds for one request: CPU of the event loop's thread, of all threads, and time."""

    loop: float
    process: float
    wall: float


class Client(asyncio.Transport):
    """A client and its connection in one: it sends the next request when it has its answer."""

    def __init__(self, clients: "Clients", shared: Shared) -> None:
        super().__init__()
        self._clients = clients
        self.connection = HttpConnection(shared)
        self.connection.connection_made(self)

    def write(self, data: Any) -> None:
        """An answer."""
        self._clients.answered(self, data)

    def is_closing(self) -> bool:
        """It stays."""
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """There is no socket."""
        return default

    def close(self) -> None:
        """Nothing is open."""

    def pause_reading(self) -> None:
        """It does not send before it is answered."""

    def resume_reading(self) -> None:
        """As above."""


class Clients:
    """So many clients, each of which waits for its answer before it asks again."""

    def __init__(self, front: Any, count: int, request: bytes) -> None:
        shared = Shared(front, Heads(front.enter), asyncio.Protocol, set(), lambda: None)
        self._loop = asyncio.get_running_loop()
        self._clients = [Client(self, shared) for _ in range(count)]
        self._request = request
        self._ready: list[Client] = []
        self._to_send = self._to_come = 0
        self._ended: asyncio.Future[None]

    async def ask(self, requests: int) -> Took:
        """Send so many requests and wait for all answers. ClickException if one is not good."""
        self._to_send, self._to_come = requests - len(self._clients), requests
        self._ended = self._loop.create_future()
        began = (time.thread_time(), time.process_time(), time.perf_counter())
        self._ready = list(self._clients)
        self._send()
        await self._ended
        ended = (time.thread_time(), time.process_time(), time.perf_counter())
        return Took(*((b - a) / requests * 1e6 for a, b in zip(began, ended, strict=True)))

    def answered(self, client: Client, answer: bytes) -> None:
        """One of them has its answer; who is to go on does so in the next turn of the loop."""
        if not answer.startswith(GOOD):
            msg = f"the server answered {answer!r}"
            raise click.ClickException(msg)
        self._to_come -= 1
        if self._to_send > 0:
            self._to_send -= 1
            if not self._ready:
                self._loop.call_soon(self._send)
            self._ready.append(client)
        elif not self._to_come:
            self._ended.set_result(None)

    def _send(self) -> None:
        ready, self._ready = self._ready, []
        for client in ready:
            # A copy, as what comes from a socket is: nothing can be known of it by its identity.
            client.connection.data_received(bytes(memoryview(self._request)))


@asynccontextmanager
async def served(name: str, folder: pathlib.Path) -> AsyncIterator[Application]:
    """The whole application but its listeners, with one model."""
    application = Application(Config(models=(ModelConfig(name, folder),)))
    application.open()
    await application.start()
    try:
        yield application
    finally:
        await application.drain()
        application.close()


def request(target: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """The bytes of one."""
    told = {"Host": "127.0.0.1:8501", **headers, "Content-Length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"POST {target} HTTP/1.1\r\n{lines}\r\n".encode() + body
