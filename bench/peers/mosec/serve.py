"""mosec: one worker process; its front's options come as arguments."""

from typing import Any

import numpy as np
from mosec import Server, Worker

from bench.peers.model import Model, Rows
from bench.peers.settings import MAX_BATCH_SIZE, WAIT, body

TIMEOUT = 30
"""Seconds that the worker may take for a batch."""


class Json(Worker):
    """JSON both ways, which is mosec's default."""

    def __init__(self) -> None:
        self._model = Model()

    def forward(self, data: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The answers to a batch of requests."""
        rows = np.stack([np.asarray(request["x"], np.float32) for request in data])
        return [{"y": row.tolist()} for row in self._model(rows)]


class Raw(Worker):
    """Float32 numbers one after the other, both ways."""

    resp_mime_type = "application/octet-stream"

    def __init__(self) -> None:
        self._model = Model()

    def deserialize(self, data: bytes) -> Rows:
        """One row, in the front's order of bytes."""
        return np.frombuffer(data, np.float32).reshape(self._model.row_shape)

    def serialize(self, data: bytes) -> bytes:
        """What `forward` gave."""
        return data

    def forward(self, data: list[Rows]) -> list[bytes]:
        """The answers to a batch of requests."""
        return [row.tobytes() for row in self._model(np.stack(data))]


def main() -> None:
    """Serve until the end."""
    server = Server()
    server.append_worker(
        Raw if body() == "raw" else Json,
        num=1,
        max_batch_size=MAX_BATCH_SIZE,
        max_wait_time=round(WAIT * 1000),
        timeout=TIMEOUT,
    )
    server.run()


if __name__ == "__main__":
    main()
