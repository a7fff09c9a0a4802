"""Puts the parts together: models, batchers, metrics, the door and the front. Event loop."""

import asyncio
from typing import Final

import numpy as np

from batcher import Executor, ThreadExecutor
from server.access import Access
from server.config import Config
from server.front import Front
from server.metrics import Metrics
from server.repository import Repository
from server.residents import Residents
from server.serving import Phase, Serving


class Application:
    """All parts of one server but its sockets, put together. The only place where they meet."""

    def __init__(self, config: Config) -> None:
        metrics, repository = Metrics(), Repository()
        # TensorFlow runs on the model thread only; large bodies are parsed on the codec thread.
        self._executor: Executor = ThreadExecutor(name="model")
        self._codec: Executor = ThreadExecutor(name="codec")
        self._residents = Residents(
            config.models, repository, metrics, self._executor, config.drain_timeout
        )
        self._serving = Serving(repository, self._residents, config.log_level)
        self.front: Final = Front(
            repository,
            metrics,
            self._serving,
            Access(
                config.tokens,
                config.admin_tokens,
                admin=config.admin,
                hosts=(config.host, *config.allowed_hosts),
            ),
            self._codec,
            max_body_size=config.max_body_size,
            cors=config.cors,
        )

    def open(self) -> None:
        """Begin to take requests, the first of which are told that models are loading."""
        self._codec.attach(asyncio.get_running_loop())

    async def start(self) -> None:
        """Load and warm up every model, one after the other; then be ready. StartupError."""
        # From now on there is one model thread, until the end of `drain`.
        self._executor.attach(asyncio.get_running_loop())
        await self._codec.call(_let_floats_overflow, None)
        try:
            await self._residents.load_all()
        except BaseException:
            await self.drain()
            raise
        self._serving.phase = Phase.READY

    async def drain(self) -> None:
        """Refuse new requests; return when the accepted ones are answered, or their time is up."""
        self._serving.phase = Phase.DRAINING
        await self._residents.drain()
        self._executor.detach()

    def close(self) -> None:
        """End the codec thread, which the last answers still needed."""
        self._codec.detach()


def _let_floats_overflow(_: None) -> None:
    """Let numbers become infinities without a warning on this thread, as adapters do on theirs."""
    np.seterr(over="ignore")
