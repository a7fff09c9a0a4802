"""A server over real gRPC whose model answers only when the test says so."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc.aio
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from server.adapters.grpc_server import GrpcServer
from server.protocols.grpc_protocol import GrpcProtocol
from server.protocols.over_grpc import GRPC_PROTOCOLS
from tests.server.by_hand import ByHand, served_by_hand


@dataclass
class GrpcByHand:
    """What is behind it, the adapter, and a channel to it with TensorFlow Serving's `predict`."""

    behind: ByHand
    server: GrpcServer
    address: str
    channel: Any
    predict: Any


def doubled(*values: float) -> predict_pb2.PredictRequest:
    """A request of so many rows for the model that doubles them."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "doubler"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([[value] for value in values], tf.float32))
    return request


def values(answer: predict_pb2.PredictResponse) -> list[float]:
    """What came back."""
    return list(answer.outputs["y"].float_val)


@asynccontextmanager
async def grpc_by_hand(*more: GrpcProtocol, **limits: Any) -> AsyncIterator[GrpcByHand]:
    """Serve a `Doubler` over gRPC on a free port; `limits` are those of `served_by_hand`."""
    async with served_by_hand(**limits) as behind:
        server = GrpcServer(behind.front, (*GRPC_PROTOCOLS, *more))
        address = (await server.open("127.0.0.1", 0)).removeprefix("grpc://")
        try:
            async with grpc.aio.insecure_channel(address) as channel:
                stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
                yield GrpcByHand(behind, server, address, channel, stub.Predict)
        finally:
            await server.close(timeout=1.0)
