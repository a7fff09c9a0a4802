"""A typed asyncio client of this server, and of TensorFlow Serving's and Triton's kind. Event loop.

    from server.client import Client

    async with Client("http://127.0.0.1:8501", "digits") as client:
        scores = await client.predict(scans)

It needs no TensorFlow. What a call has to hold to (its deadline, retries, the protocol) is in
`Client`; what can come of it besides an answer, in `errors`.
"""

from server.client.client import Client
from server.client.errors import (
    BadAnswer,
    ClientError,
    DeadlineExceeded,
    Forbidden,
    InvalidRequest,
    NotFound,
    Refused,
    ServerFailed,
    Unreachable,
)
from server.client.metadata import ModelMetadata, ModelState
from server.client.options import Options
from server.client.retries import Retries
from server.client.timing import Receipt

__all__ = [
    "BadAnswer",
    "Client",
    "ClientError",
    "DeadlineExceeded",
    "Forbidden",
    "InvalidRequest",
    "ModelMetadata",
    "ModelState",
    "NotFound",
    "Options",
    "Receipt",
    "Refused",
    "Retries",
    "ServerFailed",
    "Unreachable",
]
