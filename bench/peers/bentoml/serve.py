"""BentoML: a batchable API. `bentoml serve` runs this."""

import bentoml
import numpy as np

from bench.peers.model import Model
from bench.peers.settings import MAX_BATCH_SIZE

DEADLINE_MS = 60_000
"""BentoML's default. It is no wait for more requests but a deadline: with 5 ms it answers 503 to
one request in eight. How long to wait it learns by itself, from its first requests on."""


@bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Service:
    """One worker process with one model."""

    def __init__(self) -> None:
        self._model = Model()

    @bentoml.api(
        route="/predict",
        batchable=True,
        batch_dim=0,
        max_batch_size=MAX_BATCH_SIZE,
        max_latency_ms=DEADLINE_MS,
    )
    def predict(self, x: np.ndarray) -> np.ndarray:
        """The outputs of a batch."""
        return self._model(x)
