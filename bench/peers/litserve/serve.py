"""LitServe: one worker process, and the queue that its guide advises above 100 requests/s."""

from typing import Any

import litserve
import numpy as np

from bench.peers.model import Model, Rows
from bench.peers.settings import MAX_BATCH_SIZE, WAIT, port


class Api(litserve.LitAPI):
    """The steps from a request to its answer, all in the worker."""

    def setup(self, device: str) -> None:
        """Load the model, in the worker."""
        self._model = Model()

    def decode_request(self, request: dict[str, Any]) -> Rows:
        """One row."""
        return np.asarray(request["x"], np.float32)

    def batch(self, inputs: list[Rows]) -> Rows:
        """Rows together."""
        return np.stack(inputs)

    def predict(self, x: Rows) -> Rows:
        """The outputs of a batch."""
        return self._model(x)

    def unbatch(self, output: Rows) -> list[Rows]:
        """Rows apart."""
        return list(output)

    def encode_response(self, output: Rows) -> dict[str, Any]:
        """One answer."""
        return {"y": output.tolist()}


def main() -> None:
    """Serve until the end."""
    server = litserve.LitServer(
        Api(max_batch_size=MAX_BATCH_SIZE, batch_timeout=WAIT),
        accelerator="cpu",
        devices=1,
        workers_per_device=1,
        timeout=60,
        fast_queue=True,
    )
    server.run(
        host="127.0.0.1",
        port=port(),
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )


if __name__ == "__main__":
    main()
