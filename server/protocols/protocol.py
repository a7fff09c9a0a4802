"""What a protocol is: a sans-IO codec between an exchange and an operation. Event loop."""

from collections.abc import Sequence
from typing import Protocol as Interface

from server.errors import ServingError
from server.exchange import Answer, Exchange
from server.inference import (
    FindModel,
    Infer,
    InferenceRequest,
    InferenceResponse,
    Operation,
    ServedModel,
    VersionState,
)


class Protocol(Interface):
    """Bytes to operations, and their results to bytes. Knows no sockets, queues or models."""

    name: str
    """What metrics call it."""
    prefix: str
    """Which request targets are its own."""

    def route(self, method: str, target: str) -> Operation:
        """What the client wants. ServingError."""

    def decode(self, operation: Infer, exchange: Exchange, find: FindModel) -> InferenceRequest:
        """Read the body. DecodeError for what is wrong with it, and what `find` raises."""

    def encode(self, request: InferenceRequest, response: InferenceResponse) -> Answer:
        """Write the outputs. InvalidArgument for outputs that the protocol has no form for."""

    def status(self, states: Sequence[VersionState]) -> Answer:
        """Write the states of a model's versions."""

    def metadata(self, model: ServedModel) -> Answer:
        """Write the signatures of a model."""

    def error(self, error: ServingError) -> Answer:
        """Write an error."""
