"""The Open Inference Protocol over gRPC, with Triton's extensions. Pure codecs; event loop.

Written after kserve/open-inference-protocol (open_inference_grpc.proto) and the behaviour of
triton-inference-server/server (src/grpc), for which tritonclient is made. Differences: a model that
is unknown is not ready, instead of an error, as over HTTP for the same client; integers that do not
fit their type are refused. Not here: shared memory, sequences, streams.
"""

import functools
from collections.abc import Callable
from typing import Any, Final

from server.errors import Unimplemented
from server.exchange import Answer, Exchange
from server.inference import FindModel, InferenceRequest, InferenceResponse
from server.protocols import oip_grpc_calls as calls
from server.protocols.grpc_protocol import GrpcProtocol, reply
from server.protocols.oip_grpc_tensors import Form, read, write
from server.protocols.protocol import Call, Infer, Operation, Serving
from server.protocols.wire import message, parse

_INFER: Final = "ModelInfer"
_STREAM: Final = "ModelStreamInfer"
_ModelInferRequest: Final = message("inference.ModelInferRequest")

_HEAD: Final = 4096
"""Bytes of a request that tell what it is made of, unless its names are very long."""


class OipGrpc(GrpcProtocol):
    """The codecs."""

    name = "oip_grpc"
    service = "inference.GRPCInferenceService"
    streams = frozenset({_STREAM})

    def __init__(self) -> None:
        self.methods = {_INFER: _infer, _STREAM: _refuse_stream} | {
            method: functools.partial(_call, row, message(f"inference.{method}Request"), answer)
            for method, row in calls.METHODS.items()
            for answer in [message(f"inference.{method}Response")]
        }

    def parsed_size(self, operation: Infer, exchange: Exchange) -> int:
        """All of it, if there are strings to cut out one by one."""
        if exchange.body.find(b"BYTES", 0, _HEAD) >= 0:
            return len(exchange.body)
        return super().parsed_size(operation, exchange)

    def decode(self, operation: Infer, exchange: Exchange, find: FindModel) -> InferenceRequest:
        """Make arrays; whether there is such a model is told first, as Triton does."""
        return read(operation.note, find(operation.address))

    def printed_size(self, request: InferenceRequest, response: InferenceResponse) -> int:
        """Strings, which are written one by one."""
        form: Form = request.form
        return sum(
            response.outputs[wanted.name].size
            for wanted in form.outputs
            if wanted.datatype == "BYTES"
        )

    def encode(self, request: InferenceRequest, response: InferenceResponse) -> Answer:
        """Write the outputs as raw bytes, which every client reads."""
        return reply(write(request, response))


def _infer(exchange: Exchange) -> Operation:
    # Parsed here, as nothing else tells the model. protobuf holds the interpreter meanwhile: on
    # another thread it would be no better.
    asked = parse(_ModelInferRequest, exchange.body)
    return Infer(calls.address_of(asked.model_name, asked.model_version), note=asked)


def _refuse_stream(_: Exchange) -> Operation:
    msg = f"streams are not supported: send each request by {_INFER}"
    raise Unimplemented(msg)


def _call(
    row: calls.Method, request: Any, answer: Callable[..., Any], exchange: Exchange
) -> Operation:
    asked = parse(request, exchange.body)

    async def run(serving: Serving) -> Answer:
        return reply(answer(**await row.call(serving, asked)))

    model = getattr(asked, row.model) if row.model else ""
    return Call(run, model, admin=row.changes(asked), is_open=row.is_open)
