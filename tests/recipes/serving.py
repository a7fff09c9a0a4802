"""Apps of recipes over real HTTP, and models that answer only when the test says so."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn
from aiohttp import web


class _Announced(uvicorn.Server):
    """Says when it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


@dataclass
class Served:
    """A server that serves an app."""

    client: httpx.AsyncClient
    stop: Callable[[], None]
    is_closed: Callable[[], bool]
    """Whether it stops, and takes no more connections."""


@asynccontextmanager
async def uvicorn_served(app: Any) -> AsyncIterator[Served]:
    """An ASGI app on uvicorn."""
    config = uvicorn.Config(app, lifespan="on", log_level="critical", ws="none")
    server = _Announced(config)
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        serving = asyncio.create_task(server.serve([listener]))
        up = asyncio.create_task(server.up.wait())
        await asyncio.wait({serving, up}, return_when=asyncio.FIRST_COMPLETED)
        assert up.done(), "the app did not start"

        def stop() -> None:
            server.should_exit = True

        try:
            async with _client(listener.getsockname()[1]) as client:
                yield Served(client, stop, lambda: listener.fileno() == -1)
        finally:
            stop()
            await serving


@asynccontextmanager
async def aiohttp_served(app: web.Application) -> AsyncIterator[Served]:
    """An aiohttp app as `web.run_app(app, handler_cancellation=True)` runs it."""
    runner = web.AppRunner(app, handler_cancellation=True)
    stopping: list[asyncio.Task[None]] = []

    def stop() -> None:
        stopping.append(asyncio.create_task(runner.cleanup()))

    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
        async with _client(runner.addresses[0][1]) as client:
            yield Served(client, stop, lambda: not runner.sites)
    finally:
        await asyncio.gather(*stopping)
        await runner.cleanup()


@asynccontextmanager
async def uvicorn_serves(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an ASGI app on uvicorn."""
    async with uvicorn_served(app) as served:
        yield served.client


def _client(port: int) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=30)


class Held:
    """A function that waits on its thread until it is let go."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function
        self._entered = threading.Event()
        self._free = threading.Event()

    def __call__(self, argument: Any) -> Any:
        self._entered.set()
        assert self._free.wait(30)
        return self._function(argument)

    async def entered(self) -> None:
        """Wait until the first call has begun."""
        assert await asyncio.to_thread(self._entered.wait, 30)

    def let_go(self) -> None:
        """Let this call and all later ones run."""
        self._free.set()


async def pasted(command: str, client: httpx.AsyncClient) -> str:
    """What a shell prints for a page's command, asked of this server."""
    served = str(client.base_url).rstrip("/")
    here = command.replace("http://127.0.0.1:8000", served).replace("http://127.0.0.1:8080", served)
    assert here != command
    shell = await asyncio.create_subprocess_shell(here, stdout=asyncio.subprocess.PIPE)
    out, _ = await shell.communicate()
    assert shell.returncode == 0
    return out.decode()
