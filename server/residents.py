"""The resident models: loaded, warmed up, served, drained and let go. Event loop.

A version gets ready beside those that serve (`loading`); then new requests find it, and what it
replaces finishes what it has accepted.

    START --> LOADING --> AVAILABLE --> UNLOADING --> END
                 `-- does not load: END, with the error

A version that serves is AVAILABLE also while the same one is loaded anew.
"""

import asyncio
import gc
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog

from batcher import Admission, Batcher, BatchRecord, Fairness, Isolation
from batcher.lengths import VariableLength
from server import memory
from server.config import ModelConfig
from server.endpoint import Endpoint
from server.errors import StartupError, Unavailable
from server.folders import Mark
from server.inference import ServedModel, VersionState
from server.live.feed import Feed
from server.loading import Loaded, Loader, Order
from server.metrics import Metrics
from server.model import Model
from server.repository import Repository
from server.runner import Runner
from server.runtime import Runtime
from server.signature import Signature, Tensors
from server.statistics import VersionStatistics
from server.threads import ModelThreads
from server.warmup import batch_sizes

log: Final = structlog.get_logger("server.residents")


class Residents:
    """Brings versions of models into the repository, and out of it."""

    def __init__(
        self,
        repository: Repository,
        metrics: Metrics,
        threads: ModelThreads,
        loader: Loader,
        feed: Feed,
        *,
        runtime: Runtime,
        drain_timeout: float,
    ) -> None:
        self._repository = repository
        self._metrics = metrics
        self._threads = threads
        self._loader = loader
        self._feed = feed
        self._runtime = runtime
        self._drain_timeout = drain_timeout
        self._draining = False
        self._loads: set[asyncio.Task[Loaded]] = set()

    async def load(self, model: ModelConfig, version: int, path: Path) -> Mark:
        """Load a version and switch to it; what it replaces is let go.

        StartupError when it does not load: what served before goes on. Unavailable when the server
        drains. Returns the mark of the files that it was read from.
        """
        replaced = self._repository.versions(model.name, among={version})
        if not replaced:
            self._repository.set_state(model.name, VersionState(version, "LOADING"))
        began = asyncio.get_running_loop().time()
        loaded: Loaded | None = None
        failed = ""
        try:
            loaded = await self._loaded(path, model)
        except BaseException as error:
            failed = str(error)
            if not replaced:
                self._repository.set_state(model.name, VersionState(version, "END", failed))
            if not isinstance(error, StartupError):
                raise
        if loaded is None:
            # Only now that the error has gone, whose traceback refers to what was loaded.
            seconds = asyncio.get_running_loop().time() - began
            self._metrics.count_load(model.name, version, seconds, loaded=False)
            await _return_memory()
            raise StartupError(failed)
        for note in loaded.warm.notes:
            log.warning(note, model=model.name, version=version)
        signatures = _without_mask(loaded.warm.signatures, model.lengths)
        served = ServedModel(
            model.name, version, signatures, loaded.model.platform, model.max_batch_size
        )
        endpoint = await self._endpoint(served, loaded.model, model)
        if self._draining:
            await endpoint.batcher.close()
            raise _given_up()
        self._repository.add(endpoint)
        seconds = asyncio.get_running_loop().time() - began
        self._metrics.count_load(model.name, version, seconds, loaded=True)
        log.info(
            "model loaded",
            model=model.name,
            version=version,
            path=str(path),
            seconds=round(seconds, 2),
        )
        mark = loaded.mark
        del loaded  # Or this call would keep the model while it waits for the one before.
        await self.let_go(replaced)
        return mark

    async def let_go(self, endpoints: list[Endpoint]) -> None:
        """Take endpoints away from new requests, finish their accepted ones, and forget them all.

        Leaves nothing in the list: it would keep the models in memory.
        """
        if not endpoints:
            return
        while endpoints:
            await self._end(endpoints.pop())
        await _return_memory()

    async def drain(self) -> None:
        """Load nothing more, and finish what was accepted, for at most as long as configured."""
        self._draining = True
        for loading in self._loads:
            loading.cancel()
        endpoints: Iterable[Endpoint] = self._repository.endpoints()
        await asyncio.gather(*[self._finish(endpoint) for endpoint in endpoints])

    async def _loaded(self, path: Path, model: ModelConfig) -> Loaded:
        """Load, unless the server drains meanwhile. StartupError, Unavailable."""
        sizes = model.allowed_batch_sizes or tuple(batch_sizes(model.max_batch_size))
        order = Order(
            path,
            sizes,
            replace(self._runtime, device=model.device),
            model.lengths,
            model.run_timeout,
        )
        loading = asyncio.create_task(self._loader.load(order, self._threads.of(model.device)))
        self._loads.add(loading)
        if self._draining:
            loading.cancel()
        try:
            return await loading
        except asyncio.CancelledError:
            if not self._draining:
                raise
            raise _given_up() from None
        finally:
            self._loads.discard(loading)

    async def _endpoint(self, served: ServedModel, loaded: Model, model: ModelConfig) -> Endpoint:
        metrics = self._metrics.version(served.name, served.version)
        device = self._metrics.device(self._threads.name_of(model.device))
        statistics = VersionStatistics(served.name, served.version)
        feed = self._feed

        def on_batch(record: BatchRecord) -> None:
            metrics.observe(record)
            device.add(record.run_time)
            statistics.count_batch(record.size, record.run_time)
            if feed.watched:
                feed.batch(served.name, served.version, record)

        batcher: Batcher[Tensors, Tensors] = Batcher(
            Runner(loaded),
            max_batch_size=model.max_batch_size,
            batch_timeout=model.batch_timeout,
            regroup=model.regroup,
            prefetch=model.prefetch,
            max_queue_size=model.max_queue_size,
            allowed_batch_sizes=model.allowed_batch_sizes,
            run_timeout=model.run_timeout,
            executor=self._threads.of(model.device),
            on_batch=on_batch,
            admission=Admission(model.max_queue_bytes, model.max_wait),
            fairness=Fairness(model.ageing),
            # A model has no state that a row could change. To find all whom it refuses among as
            # many as a batch holds takes at most so many runs: nobody is told of another's mistake.
            repeatable=True,
            isolation=Isolation(max_extra_runs=2 * model.max_batch_size),
        )
        await batcher.__aenter__()
        metrics.add(batcher, statistics)
        return Endpoint(
            served,
            batcher,
            statistics,
            lengths=_with_dtype(model.lengths, loaded.signatures),
            count_bytes=model.max_queue_bytes is not None,
        )

    async def _end(self, endpoint: Endpoint) -> None:
        served = endpoint.served
        self._repository.remove(endpoint)
        is_replaced = self._repository.serves(served.name, served.version)
        if not is_replaced:
            self._repository.set_state(served.name, VersionState(served.version, "UNLOADING"))
        await self._finish(endpoint)
        self._metrics.version(served.name, served.version).remove(endpoint.batcher)
        if not is_replaced:
            self._repository.set_state(served.name, VersionState(served.version, "END"))
        event = "model replaced by itself, loaded anew" if is_replaced else "model unloaded"
        log.info(event, model=served.name, version=served.version)

    async def _finish(self, endpoint: Endpoint) -> None:
        if not await endpoint.batcher.drain(self._drain_timeout):
            log.warning(
                "some accepted requests were not finished in time",
                model=endpoint.served.name,
                version=endpoint.served.version,
                drain_timeout=self._drain_timeout,
            )


def _given_up() -> Unavailable:
    return Unavailable("the load was given up: the server is shutting down")


async def _return_memory() -> None:
    """Give back what models held that have gone.

    TensorFlow's functions refer to each other in circles, which only a collection opens. It stops
    everything for some 2 ms, and for as much more as there are other models: 50 ms for 70,000
    objects of theirs.
    """
    gc.collect()
    await asyncio.to_thread(memory.give_back)


def _without_mask(
    signatures: Mapping[str, Signature], lengths: VariableLength | None
) -> Mapping[str, Signature]:
    """Signatures as clients see them: the mask of padded inputs is made here, not sent by them.

    What runs alone is not padded, and takes its mask from the client as any other input.
    """
    if lengths is None or not lengths.mask:
        return signatures
    return {
        name: s
        if s.alone
        else replace(s, inputs={k: v for k, v in s.inputs.items() if k != lengths.mask})
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
