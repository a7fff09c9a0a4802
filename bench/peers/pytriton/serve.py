"""PyTriton: Triton batches, and asks this process for the outputs of each batch."""

import logging
import signal
import sys

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig, TritonSecurityConfig

from bench.peers.model import Model, Rows
from bench.peers.settings import MAX_BATCH_SIZE, WAIT, port


def main() -> None:
    """Serve until the end."""
    logging.basicConfig(level=logging.WARNING)
    # Otherwise SIGTERM leaves Triton and its shared memory behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    model = Model()

    @batch
    def infer(x: Rows) -> dict[str, Rows]:
        return {"y": model(x)}

    where = TritonConfig(
        http_address="127.0.0.1",
        http_port=port(),
        grpc_address="127.0.0.1",
        grpc_port=port() + 1,
        metrics_address="127.0.0.1",
        metrics_port=port() + 2,
        log_verbose=0,
    )
    # Otherwise a random token guards configuration and statistics, which load generators read.
    security = TritonSecurityConfig(restricted_endpoints=[])
    wait = DynamicBatcher(max_queue_delay_microseconds=round(WAIT * 1e6))
    with Triton(config=where, security_config=security) as triton:
        triton.bind(
            model_name="m",
            infer_func=infer,
            inputs=[Tensor(name="x", dtype=np.float32, shape=model.row_shape)],
            outputs=[Tensor(name="y", dtype=np.float32, shape=model.output_shape)],
            config=ModelConfig(max_batch_size=MAX_BATCH_SIZE, batcher=wait),
        )
        triton.serve()


if __name__ == "__main__":
    main()
