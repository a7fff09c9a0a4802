"""The resident models: loaded, warmed up, served, drained and let go. Event loop.

A model that is loaded anew gets ready beside the one that serves (`loading`); then new requests
find the new one, and the old one finishes what it has accepted. A change that has begun goes on to
its end, even if whoever asked for it goes away; only a load is given up, when the server drains.

    START --> LOADING --> AVAILABLE --> UNLOADING --> END
                 `-- does not load: END, with the error

A version that serves is AVAILABLE also while the same one is loaded anew.
"""

import asyncio
import functools
import gc
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import structlog

from batcher import Admission, Batcher, BatchRecord, Executor, Fairness, Isolation
from batcher.lengths import VariableLength
from server.config import ModelConfig
from server.endpoint import Endpoint
from server.errors import Aborted, FailedPrecondition, NotFound, StartupError, Unavailable
from server.inference import ServedModel, VersionState
from server.loading import Loader
from server.metrics import Metrics
from server.model import Model
from server.repository import Repository, find_version
from server.runner import Runner
from server.signature import Signature, Tensors
from server.statistics import VersionStatistics
from server.warmup import WarmUp, batch_sizes

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
        self._loader = Loader(executor)
        self._draining = False
        self._changes: dict[str, asyncio.Task[None]] = {}
        self._loads: set[asyncio.Task[tuple[Model, WarmUp]]] = set()

    async def load_all(self) -> None:
        """Load every model, one after the other. StartupError, before any is loaded if it can."""
        located = [(model, *_located(model.path)) for model in self._models.values()]
        for model, version, _ in located:
            self._repository.set_state(model.name, VersionState(version, "START"))
            self._repository.set_labels(model.name, model.labels)
        for model, version, path in located:
            await self._load(model, version, path)

    def base_path(self, name: str) -> str:
        """Where a configured model is, as the configuration says it. NotFound."""
        return str(self._configured(name).path)

    async def load(self, name: str) -> None:
        """Load a configured model, anew if it serves already, and switch to it.

        NotFound, Aborted; FailedPrecondition when it does not load: what served before goes on.
        Unavailable when the server drains.
        """
        model = self._configured(name)
        await self._change(name, functools.partial(self._replace, model))

    async def unload(self, name: str) -> None:
        """Stop serving a configured model, once what it has accepted is answered.

        NotFound, Aborted.
        """
        self._configured(name)
        await self._change(name, functools.partial(self._remove, name))

    async def drain(self) -> None:
        """Finish what was accepted, for at most as long as configured; then nothing runs."""
        self._draining = True
        for loading in self._loads:
            loading.cancel()
        endpoints = self._repository.endpoints()
        await asyncio.gather(*[self._finish(endpoint) for endpoint in endpoints])
        if self._changes:
            # Those that were leaving already have had their time as well.
            await asyncio.wait(self._changes.values())

    def _configured(self, name: str) -> ModelConfig:
        model = self._models.get(name)
        if model is None:
            told = ", ".join(repr(known) for known in self._models)
            msg = f"model {name!r} is not configured here; there are {told}"
            raise NotFound(msg)
        return model

    async def _change(self, name: str, change: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Make one change of a model at a time; whoever comes meanwhile is told so."""
        if name in self._changes:
            msg = f"model {name!r} is being loaded or unloaded already"
            raise Aborted(msg)
        changing = asyncio.create_task(change(), name=f"change of model {name}")
        self._changes[name] = changing
        changing.add_done_callback(lambda _: self._changes.pop(name))
        await asyncio.shield(changing)

    async def _replace(self, model: ModelConfig) -> None:
        """Load a model beside itself, then let the one go that served."""
        serving = self._repository.versions(model.name)
        try:
            version, path = _located(model.path)
            await self._load(model, version, path)
        except StartupError as error:
            told = str(error)
            log.error("model not loaded", model=model.name, error=told)  # noqa: TRY400 - foreseen
            raise FailedPrecondition(told) from error
        await self._let_go(serving)

    async def _remove(self, name: str) -> None:
        await self._let_go(self._repository.versions(name))

    async def _load(self, model: ModelConfig, version: int, path: Path) -> None:
        serves = self._serves(model.name, version)
        if not serves:
            self._repository.set_state(model.name, VersionState(version, "LOADING"))
        began = asyncio.get_running_loop().time()
        try:
            loaded, warm = await self._loaded(path, model)
        except BaseException as error:
            if not serves:
                self._repository.set_state(model.name, VersionState(version, "END", str(error)))
            raise
        for note in warm.notes:
            log.warning(note, model=model.name, version=version)
        signatures = _without_mask(warm.signatures, model.lengths)
        served = ServedModel(model.name, version, signatures, loaded.platform, model.max_batch_size)
        self._repository.add(await self._endpoint(served, loaded, model))
        seconds = round(asyncio.get_running_loop().time() - began, 2)
        log.info("model loaded", model=model.name, version=version, path=str(path), seconds=seconds)
        for label, labelled in model.labels.items():
            if labelled != version:
                note = "a label names a version that is not served"
                log.warning(note, model=model.name, label=label, version=labelled)

    async def _loaded(self, path: Path, model: ModelConfig) -> tuple[Model, WarmUp]:
        """Load, unless the server drains meanwhile. StartupError, Unavailable."""
        sizes = model.allowed_batch_sizes or tuple(batch_sizes(model.max_batch_size))
        loading = asyncio.create_task(self._loader.load(path, sizes))
        self._loads.add(loading)
        if self._draining:
            loading.cancel()
        try:
            loaded = await loading
        except asyncio.CancelledError:
            if not self._draining:
                raise
        finally:
            self._loads.discard(loading)
        if self._draining:
            msg = "the load was given up: the server is shutting down"
            raise Unavailable(msg)
        return loaded

    def _serves(self, name: str, version: int) -> bool:
        return any(e.served.version == version for e in self._repository.versions(name))

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
            allowed_batch_sizes=model.allowed_batch_sizes,
            run_timeout=model.run_timeout,
            executor=self._executor,
            on_batch=on_batch,
            admission=Admission(model.max_queue_bytes, model.max_wait),
            fairness=Fairness(model.ageing),
            # A model has no state that a row could change. To find all whom it refuses among as
            # many as a batch holds takes at most so many runs: nobody is told of another's mistake.
            repeatable=True,
            isolation=Isolation(max_extra_runs=2 * model.max_batch_size),
        )
        await batcher.__aenter__()
        metrics.add(batcher.stats)
        return Endpoint(
            served,
            batcher,
            statistics,
            lengths=_with_dtype(model.lengths, loaded.signatures),
            count_bytes=model.max_queue_bytes is not None,
        )

    async def _let_go(self, endpoints: list[Endpoint]) -> None:
        """Take endpoints away from new requests, finish their accepted ones, and forget them all.

        Leaves nothing in the list: it would keep the models in memory.
        """
        if not endpoints:
            return
        while endpoints:
            await self._end(endpoints.pop())
        _free_memory()

    async def _end(self, endpoint: Endpoint) -> None:
        served = endpoint.served
        self._repository.remove(endpoint)
        is_replaced = self._serves(served.name, served.version)
        if not is_replaced:
            self._repository.set_state(served.name, VersionState(served.version, "UNLOADING"))
        await self._finish(endpoint)
        self._metrics.model(served.name, served.version).remove(endpoint.batcher.stats)
        if not is_replaced:
            self._repository.set_state(served.name, VersionState(served.version, "END"))
        log.info("model unloaded", model=served.name, version=served.version)

    async def _finish(self, endpoint: Endpoint) -> None:
        if not await endpoint.batcher.drain(self._drain_timeout):
            log.warning(
                "some accepted requests were not finished in time",
                model=endpoint.served.name,
                version=endpoint.served.version,
                drain_timeout=self._drain_timeout,
            )


def _without_mask(
    signatures: Mapping[str, Signature], lengths: VariableLength | None
) -> Mapping[str, Signature]:
    """Signatures as clients see them: the mask of padded inputs is made here, not sent by them."""
    if lengths is None or not lengths.mask:
        return signatures
    return {
        name: replace(s, inputs={k: v for k, v in s.inputs.items() if k != lengths.mask})
        for name, s in signatures.items()
    }


def _with_dtype(
    lengths: VariableLength | None, signatures: Mapping[str, Signature]
) -> VariableLength | None:
    """The mask in the dtype that the model declares for it."""
    if lengths is None or not lengths.mask:
        return lengths
    masks = [s.inputs[lengths.mask] for s in signatures.values() if lengths.mask in s.inputs]
    return replace(lengths, mask_dtype=masks[0].dtype) if masks else lengths


def _located(path: Path) -> tuple[int, Path]:
    """The version to serve and its folder. StartupError, also for what may not be read."""
    try:
        return find_version(path)
    except OSError as error:
        msg = f"model path {path} cannot be read: {error.strerror or error}"
        raise StartupError(msg) from error


def _free_memory() -> None:
    """Give back what an unloaded model held. Stops everything for 0.2 to 0.3 s.

    TensorFlow's functions refer to each other in circles, which only a collection opens; whoever
    starts a server has put what was there at its start out of the collector's sight.
    """
    frozen = gc.get_freeze_count()
    gc.unfreeze()
    gc.collect()
    if frozen:
        gc.freeze()
