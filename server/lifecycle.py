"""The life of the server: open the port, load, be ready, drain, close. Event loop."""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Final, Protocol

import structlog

from server.adapters.aiohttp_server import HttpServer
from server.app import Application
from server.config import Config
from server.errors import StartupError
from server.front import Front

GC_THRESHOLDS: Final = (50_000, 20, 100)
"""Allocations between collections, by generation. Requests in a batch outlive Python's own (700,
10, 10), which cost a tiny model 2 to 5 % of its requests a second (`python -m bench echo`)."""

SWITCH_INTERVAL: Final = 0.001
"""Seconds that a thread may keep Python's lock from another. With Python's own 0.005 the event loop
waits so long for almost every packet while the codec thread reads a large body, which is too long
in all (`python -m bench livez`). Small requests show no difference (`python -m bench echo`)."""

LEAST_TO_CLOSE: Final = 1.0
"""Seconds that answers have to go out, even if draining took all the time there was."""

log: Final = structlog.get_logger("server.lifecycle")


async def serve(
    config: Config,
    stop: asyncio.Event,
    announce: Callable[[Sequence[str], str], None],
    changes: AsyncIterator[Config],
) -> None:
    """Open the ports, load, say what serves and where; when `stop` is set, drain. StartupError.

    The ports are open while models load, so that `/livez` answers and `/readyz` says not yet.
    Of each of the `changes`, the models are served from then on.
    """
    application = Application(config)
    listeners = _listeners(config, application.front)
    application.open()
    closing = 0.0
    try:
        addresses = [await _open(listener, config.host, port) for listener, port in listeners]
        if await _ended_first(application.start(), stop):
            gc.set_threshold(*GC_THRESHOLDS)
            sys.setswitchinterval(SWITCH_INTERVAL)
            log.info("ready", addresses=addresses)
            announce(application.serving, " and ".join(addresses))
            following = asyncio.create_task(_follow(application, changes))
            await stop.wait()
            following.cancel()
            closing = asyncio.get_running_loop().time() + config.drain_timeout
            log.info("draining", delay=config.drain_delay, timeout=config.drain_timeout)
            # Clients and load balancers learn from answers, not from resets, that this server goes:
            # closing the port at once would reset whatever waits in its backlog.
            await asyncio.gather(application.drain(), asyncio.sleep(config.drain_delay))
    finally:
        left = max(closing - asyncio.get_running_loop().time(), LEAST_TO_CLOSE)
        await asyncio.gather(*[listener.close(left) for listener, _ in listeners])
        await application.flush()
        application.close()
    log.info("stopped")


class Listener(Protocol):
    """What an adapter with a port of its own is."""

    async def open(self, host: str, port: int) -> str:
        """Begin to accept connections; returns the address. OSError."""

    async def close(self, timeout: float) -> None:
        """Accept nothing more; let answers go out for `timeout` seconds. Also if never opened."""


def _listeners(config: Config, front: Front) -> list[tuple[Listener, int]]:
    """What listens, and where. StartupError."""
    listeners: list[tuple[Listener, int]] = [(HttpServer(front), config.port)]
    if config.grpc_port is not None:
        try:
            # Only who serves gRPC needs to have it installed.
            from server.adapters.grpc_server import GrpcServer  # noqa: PLC0415 - see above
        except ModuleNotFoundError as error:
            if error.name != "grpc":
                raise
            msg = "gRPC is not installed: pip install 'batcher[grpc]'"
            raise StartupError(msg) from error
        listeners.append((GrpcServer(front), config.grpc_port))
    return listeners


async def _open(listener: Listener, host: str, port: int) -> str:
    try:
        return await listener.open(host, port)
    except OSError as error:
        msg = f"cannot listen on {host}:{port}: {error.strerror or error}"
        raise StartupError(msg) from error


async def _follow(application: Application, changes: AsyncIterator[Config]) -> None:
    """Take over every new configuration, one after the other."""
    async for config in changes:
        log.info("new configuration", models=[model.name for model in config.models])
        try:
            await application.refresh(config)
        except Exception:
            log.exception("a new configuration met a defect of this server")


async def _ended_first(start: Coroutine[Any, Any, None], stop: asyncio.Event) -> bool:
    """Run the start-up; False, and it is given up, if `stop` comes before its end."""
    starting = asyncio.create_task(start)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not starting.done():
        starting.cancel()
        return False
    await starting
    return True
