"""The resident models: loaded, warmed up, served, drained and let go. Event loop.

What TensorFlow does for that happens on the model thread, where loading and warming up take turns
with batches. A model that is loaded anew gets ready beside the one that serves; then new requests
find the new one, and the old one finishes what it has accepted.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog

from batcher import Batcher, BatchRecord, Executor
from server.config import ModelConfig
from server.endpoint import Endpoint
from server.errors import Aborted, FailedPrecondition, NotFound, StartupError
from server.inference import ServedModel, VersionState
from server.metrics import Metrics
from server.model import Model
from server.models import load
from server.repository import Repository, find_version
from server.runner import Runner
from server.signature import Tensors
from server.statistics import VersionStatistics
from server.warmup import WarmUp, warm_up

log: Final = structlog.get_logger("server.residents")


class Residents:
    """Brings the configured models into the repository, and out of it."""

    def __init__(
        self,
        models: tuple[ModelConfig, ...],
        repository: Repository,
        metrics: Metrics,
        executor: Executor,
        drain_timeout: float,
    ) -> None:
        self._models = {model.name: model for model in models}
        self._repository = repository
        self._metrics = metrics
        self._executor = executor
        self._drain_timeout = drain_timeout
        self._changing: set[str] = set()

    async def load_all(self) -> None:
        """Load every model, one after the other. StartupError, before any is loaded if it can."""
        located = [(model, *find_version(model.path)) for model in self._models.values()]
        for model, version, _ in located:
            self._repository.set_state(model.name, VersionState(version, "START"))
        for model, version, path in located:
            await self._load(model, version, path)

    async def load(self, name: str) -> None:
        """Load a configured model, anew if it serves already, and switch to it.

        NotFound, Aborted; FailedPrecondition when it does not load: what served before goes on.
        """
        model = self._configured(name)
        with self._alone(name):
            serving = self._repository.versions(name)
            try:
                version, path = find_version(model.path)
                await self._load(model, version, path)
            except StartupError as error:
                raise FailedPrecondition(str(error)) from error
            for endpoint in serving:
                await self._let_go(endpoint)

    async def unload(self, name: str) -> None:
        """Stop serving a configured model, once what it has accepted is answered.

        NotFound, Aborted.
        """
        self._configured(name)
        with self._alone(name):
            for endpoint in self._repository.versions(name):
                await self._let_go(endpoint)

    async def drain(self) -> None:
        """Finish what was accepted, for at most as long as configured; then nothing runs."""
        endpoints = self._repository.endpoints()
        finished = await asyncio.gather(
            *[endpoint.batcher.drain(self._drain_timeout) for endpoint in endpoints]
        )
        if not all(finished):
            log.warning(
                "some accepted requests were not finished in time",
                drain_timeout=self._drain_timeout,
            )

    def _configured(self, name: str) -> ModelConfig:
        model = self._models.get(name)
        if model is None:
            told = ", ".join(repr(known) for known in self._models)
            msg = f"model {name!r} is not configured here; there are {told}"
            raise NotFound(msg)
        return model

    @contextlib.contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """One change of a model at a time; whoever comes meanwhile is told so."""
        if name in self._changing:
            msg = f"model {name!r} is being loaded or unloaded already"
            raise Aborted(msg)
        self._changing.add(name)
        try:
            yield
        finally:
            self._changing.discard(name)

    async def _load(self, model: ModelConfig, version: int, path: Path) -> None:
        replaced = self._state(model.name, version)
        self._repository.set_state(model.name, VersionState(version, "LOADING"))
        began = asyncio.get_running_loop().time()
        try:
            loaded, warm = await self._executor.call(
                _load_and_warm_up, (path, model.max_batch_size)
            )
        except BaseException as error:
            state = replaced or VersionState(version, "END", str(error))
            self._repository.set_state(model.name, state)
            raise
        for note in warm.notes:
            log.warning(note, model=model.name, version=version)
        served = ServedModel(
            model.name, version, warm.signatures, loaded.platform, model.max_batch_size
        )
        endpoint = await self._endpoint(served, loaded, model)
        self._repository.set_labels(model.name, model.labels)
        self._repository.add(endpoint)
        seconds = round(asyncio.get_running_loop().time() - began, 2)
        log.info("model loaded", model=model.name, version=version, path=str(path), seconds=seconds)

    def _state(self, name: str, version: int) -> VersionState | None:
        """The state of a version that serves while it is loaded anew; None if it does not."""
        serving = any(e.served.version == version for e in self._repository.versions(name))
        return VersionState(version, "AVAILABLE") if serving else None

    async def _endpoint(self, served: ServedModel, loaded: Model, model: ModelConfig) -> Endpoint:
        metrics = self._metrics.model(served.name, served.version)
        statistics = VersionStatistics(served.name, served.version)

        def on_batch(record: BatchRecord) -> None:
            metrics.observe(record)
            statistics.count_batch(record.size, record.run_time)

        batcher: Batcher[Tensors, Tensors] = Batcher(
            Runner(loaded),
            max_batch_size=model.max_batch_size,
            batch_timeout=model.batch_timeout,
            max_queue_size=model.max_queue_size,
            executor=self._executor,
            on_batch=on_batch,
        )
        await batcher.__aenter__()
        metrics.add(batcher.stats)
        return Endpoint(served, batcher, statistics)

    async def _let_go(self, endpoint: Endpoint) -> None:
        """Take an endpoint away from new requests, finish its accepted ones, and forget it."""
        served = endpoint.served
        self._repository.remove(endpoint)
        is_replaced = self._state(served.name, served.version) is not None
        if not is_replaced:
            self._repository.set_state(served.name, VersionState(served.version, "UNLOADING"))
        await endpoint.batcher.drain(self._drain_timeout)
        self._metrics.model(served.name, served.version).remove(endpoint.batcher.stats)
        if not is_replaced:
            self._repository.set_state(served.name, VersionState(served.version, "END"))
        log.info("model unloaded", model=served.name, version=served.version)


def _load_and_warm_up(what: tuple[Path, int]) -> tuple[Model, WarmUp]:
    """Load a model and run its signatures once. On the model thread."""
    path, max_batch_size = what
    model = load(path)
    return model, warm_up(model, max_batch_size)
