"""A server over real HTTP whose model answers only when the test says so."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from batcher import Batcher, ThreadExecutor
from batcher.testing import FakeExecutor
from server.access import Access
from server.adapters.aiohttp_server import HttpServer
from server.config import ModelConfig
from server.endpoint import Endpoint
from server.front import Front
from server.inference import ServedModel
from server.live.feed import Feed
from server.live.snapshot import snapshot
from server.live.stream import Stream
from server.live.survey import survey
from server.loading import Loader
from server.metrics import Metrics
from server.repository import Repository
from server.residents import Residents
from server.runner import Runner
from server.runtime import Runtime
from server.serving import Phase, Serving
from server.signature import Signature, Tensors, TensorSpec
from server.statistics import VersionStatistics
from server.threads import ModelThreads
from server.upkeep import Upkeep

PREDICT = "/v1/models/doubler:predict"


def body(*values: float) -> bytes:
    """A request of so many rows, in JSON."""
    return json.dumps({"instances": [[value] for value in values]}).encode()


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something on this machine's loopback has happened."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what happens in a socket sets no event
            await asyncio.sleep(0)


class Doubler:
    """A model: y = 2 x, float32 [-1, 1]; keeps what it was run on, and `fails` if it is to."""

    platform = "doubler"

    def __init__(self) -> None:
        self.seen: list[list[float]] = []
        self.fails = False

    @property
    def signatures(self) -> Mapping[str, Signature]:
        spec = {name: TensorSpec(name, "float32", (None, 1)) for name in "xy"}
        return {"serving_default": Signature("serving_default", {"x": spec["x"]}, {"y": spec["y"]})}

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        self.seen.append(inputs["x"][:, 0].tolist())
        if self.fails:
            msg = "broken"
            raise RuntimeError(msg)
        return {"y": np.multiply(inputs["x"], np.float32(2))}


@dataclass
class ByHand:
    """The parts that a test acts on."""

    url: str
    http: HttpServer
    front: Front
    serving: Serving
    model: Doubler
    executor: FakeExecutor
    batcher: Batcher[Tensors, Tensors]
    codec: ThreadExecutor

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection, for whatever bytes a test wants to send."""
        host, port = self.url.removeprefix("http://").split(":")
        return await asyncio.open_connection(host, int(port))

    def run_next(self) -> None:
        """Let the model run the batch that was handed over first, and tell its callers."""
        self.executor.start_next()
        self.executor.finish_next()


@asynccontextmanager
async def served_by_hand(
    *,
    max_batch_size: int = 8,
    max_queue_size: int = 16,
    max_body_size: int = 1000,
    access: Access | None = None,
    front_of: Callable[..., Front] = Front,
) -> AsyncIterator[ByHand]:
    """Serve a `Doubler` named `doubler` on a free port."""
    model = Doubler()
    executor = FakeExecutor(by_hand=True)
    repository, metrics = Repository(), Metrics()
    loader, feed = Loader(), Feed()
    residents = Residents(
        repository, metrics, ModelThreads(), loader, feed, runtime=Runtime(), drain_timeout=1.0
    )
    template = ModelConfig("template", Path())
    upkeep = Upkeep((), repository, residents, loader, template=template)
    serving = Serving(repository, upkeep, "info")
    codec = ThreadExecutor(name="codec")
    access = access or Access()
    stream = Stream(feed, lambda taken: snapshot(survey(repository), taken))
    front = front_of(
        repository,
        metrics,
        serving,
        access,
        codec,
        feed=feed,
        stream=stream,
        max_body_size=max_body_size,
    )
    codec.attach(asyncio.get_running_loop())
    batcher: Batcher[Tensors, Tensors] = Batcher(
        Runner(model),
        max_batch_size=max_batch_size,
        max_queue_size=max_queue_size,
        executor=executor,
    )
    async with batcher:
        served = ServedModel("doubler", 1, model.signatures, model.platform, max_batch_size)
        repository.add(Endpoint(served, batcher, VersionStatistics("doubler", 1)))
        http = HttpServer(front)
        url = await http.open("127.0.0.1", 0)
        serving.phase = Phase.READY
        try:
            yield ByHand(url, http, front, serving, model, executor, batcher, codec)
        finally:
            await http.close(timeout=1.0)
            await batcher.close()
            codec.detach()
