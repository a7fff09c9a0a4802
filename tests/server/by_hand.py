"""A server over real HTTP whose model answers only when the test says so."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np

from batcher import Batcher
from batcher.testing import FakeExecutor
from server.adapters.aiohttp_server import HttpServer
from server.endpoint import Endpoint
from server.front import Front, Phase
from server.metrics import Metrics
from server.repository import Repository
from server.runner import Runner
from server.signature import Signature, Tensors, TensorSpec


class Doubler:
    """A model: y = 2 x, float32 [-1, 1]; keeps what it was run on."""

    def __init__(self) -> None:
        self.seen: list[list[float]] = []

    @property
    def signatures(self) -> Mapping[str, Signature]:
        spec = {name: TensorSpec(name, "float32", (None, 1)) for name in "xy"}
        return {"serving_default": Signature("serving_default", {"x": spec["x"]}, {"y": spec["y"]})}

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        self.seen.append(inputs["x"][:, 0].tolist())
        return {"y": np.multiply(inputs["x"], np.float32(2))}


@dataclass
class ByHand:
    """The parts that a test acts on."""

    url: str
    http: HttpServer
    front: Front
    model: Doubler
    executor: FakeExecutor
    batcher: Batcher[Tensors, Tensors]

    def run_next(self) -> None:
        """Let the model run the batch that was handed over first, and tell its callers."""
        self.executor.start_next()
        self.executor.finish_next()


@asynccontextmanager
async def served_by_hand(
    *, max_batch_size: int = 8, max_queue_size: int = 16, max_body_size: int = 1000
) -> AsyncIterator[ByHand]:
    """Serve a `Doubler` named `doubler` on a free port."""
    model = Doubler()
    executor = FakeExecutor(by_hand=True)
    repository, metrics = Repository(), Metrics()
    front = Front(repository, metrics)
    batcher: Batcher[Tensors, Tensors] = Batcher(
        Runner(model),
        max_batch_size=max_batch_size,
        max_queue_size=max_queue_size,
        executor=executor,
    )
    async with batcher:
        repository.add(Endpoint("doubler", 1, model.signatures, batcher, max_batch_size))
        http = HttpServer(front, max_body_size)
        url = await http.open("127.0.0.1", 0)
        front.phase = Phase.READY
        try:
            yield ByHand(url, http, front, model, executor, batcher)
        finally:
            await http.close(timeout=1.0)
            await batcher.close()
