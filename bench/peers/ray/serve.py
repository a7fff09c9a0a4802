"""Ray Serve: one replica, whose batches `serve.batch` makes."""

import signal
import sys
from typing import Any

import numpy as np
import ray
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import LoggingConfig
from starlette.requests import Request

from bench.peers.model import Model, Rows
from bench.peers.settings import MAX_BATCH_SIZE, WAIT, folder, port

QUIET = LoggingConfig(enable_access_log=False, log_level="WARNING")


@serve.deployment(
    num_replicas=1,
    max_ongoing_requests=4096,
    ray_actor_options={"num_cpus": 1},
    logging_config=QUIET,
)
class Replica:
    """One process with one model."""

    def __init__(self) -> None:
        self._model = Model()

    @serve.batch(max_batch_size=MAX_BATCH_SIZE, batch_wait_timeout_s=WAIT)
    async def answers(self, rows: list[Rows]) -> list[list[float]]:
        """The outputs of a batch."""
        outputs: list[list[float]] = self._model(np.stack(rows)).tolist()
        return outputs

    async def __call__(self, request: Request) -> dict[str, Any]:
        """One request."""
        body = await request.json()
        return {"y": await self.answers(np.asarray(body["x"], np.float32))}


def main() -> None:
    """Serve until SIGTERM."""
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=200 * 2**20,
        log_to_driver=True,
        logging_level="WARNING",
        _node_ip_address="127.0.0.1",
        _temp_dir=folder(),
    )
    where = HTTPOptions(host="127.0.0.1", port=port())
    serve.start(proxy_location="HeadOnly", http_options=where, logging_config=QUIET)
    replica: Any = Replica
    serve.run(replica.bind(), route_prefix="/predict", logging_config=QUIET)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        signal.pause()
    finally:
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main()
