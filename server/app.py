"""Puts the parts together: models, batchers, endpoints, metrics and the front. Event loop.

TensorFlow runs on the model thread only, so loading and warming up take turns there like batches.
"""

import asyncio
from pathlib import Path
from typing import Final

import structlog

from batcher import Batcher, Executor, ThreadExecutor
from server.config import Config, ModelConfig
from server.endpoint import Endpoint
from server.front import Front, Phase
from server.inference import VersionState
from server.metrics import Metrics, ModelMetrics
from server.model import Model
from server.models import load
from server.repository import Repository, find_version
from server.runner import Runner
from server.signature import Tensors
from server.warmup import WarmUp, warm_up

log: Final = structlog.get_logger("server.app")


class Application:
    """All parts of one server but its sockets, put together. The only place where they meet."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._metrics = Metrics()
        self._repository = Repository()
        self._executor: Executor = ThreadExecutor(name="model")
        self.front: Final = Front(self._repository, self._metrics)

    async def start(self) -> None:
        """Load and warm up every model, one after the other; then be ready. StartupError."""
        # From now on there is one model thread, until the end of `drain`.
        self._executor.attach(asyncio.get_running_loop())
        try:
            await self._load_all()
        except BaseException:
            await self.drain()
            raise
        self.front.phase = Phase.READY

    async def _load_all(self) -> None:
        located = [(model, *find_version(model.path)) for model in self._config.models]
        for model, version, _ in located:
            self._repository.set_state(model.name, VersionState(version, "START"))
        for model, version, path in located:
            await self._load(model, version, path)

    async def drain(self) -> None:
        """Refuse new requests; return when the accepted ones are answered, or their time is up."""
        self.front.phase = Phase.DRAINING
        timeout = self._config.drain_timeout
        batchers = [endpoint.batcher for endpoint in self._repository.endpoints()]
        finished = await asyncio.gather(*[batcher.drain(timeout) for batcher in batchers])
        if not all(finished):
            log.warning("some accepted requests were not finished in time", drain_timeout=timeout)
        self._executor.detach()

    async def _load(self, model: ModelConfig, version: int, path: Path) -> None:
        self._repository.set_state(model.name, VersionState(version, "LOADING"))
        began = asyncio.get_running_loop().time()
        loaded, warm = await self._executor.call(_load_and_warm_up, (path, model.max_batch_size))
        for note in warm.notes:
            log.warning(note, model=model.name, version=version)
        metrics = ModelMetrics(model.name, version)
        batcher: Batcher[Tensors, Tensors] = Batcher(
            Runner(loaded),
            max_batch_size=model.max_batch_size,
            batch_timeout=model.batch_timeout,
            max_queue_size=model.max_queue_size,
            executor=self._executor,
            on_batch=metrics.observe,
        )
        await batcher.__aenter__()
        self._metrics.add(metrics, batcher.stats)
        self._repository.add(
            Endpoint(model.name, version, warm.signatures, batcher, model.max_batch_size)
        )
        seconds = round(asyncio.get_running_loop().time() - began, 2)
        log.info("model loaded", model=model.name, version=version, path=str(path), seconds=seconds)


def _load_and_warm_up(what: tuple[Path, int]) -> tuple[Model, WarmUp]:
    """Load a model and run its signatures once. On the model thread."""
    path, max_batch_size = what
    model = load(path)
    return model, warm_up(model, max_batch_size)
