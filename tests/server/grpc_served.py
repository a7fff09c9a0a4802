"""An application over real gRPC on a loop in a thread of its own, for clients that block."""

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from server.adapters.grpc_server import GrpcServer
from server.app import Application
from server.config import Config

R = TypeVar("R")


class GrpcServed:
    """Serves while it is entered; `address` is host and port."""

    def __init__(self, config: Config) -> None:
        self.application = Application(config)
        self.address = ""
        self._grpc = GrpcServer(self.application.front)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def __enter__(self) -> Self:
        self._thread.start()
        self.address = self.run(self._open()).removeprefix("grpc://")
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self) -> str:
        self.application.open()
        await self.application.start()
        return await self._grpc.open("127.0.0.1", 0)

    async def _close(self) -> None:
        await self.application.drain()
        await self._grpc.close(timeout=1.0)
        self.application.close()
