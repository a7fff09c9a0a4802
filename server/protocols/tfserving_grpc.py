"""TensorFlow Serving's PredictionService over gRPC. Pure codecs; event loop and codec thread.

Written after the behaviour of tensorflow/serving (servables/tensorflow/predict_util.cc):

    Predict            tensors by name in, tensors by name out, in the typed lists of TensorProto
    Classify, Regress, MultiInference      examples in (tfserving_grpc_examples.py)
    GetModelMetadata                       the signatures (tfserving_grpc_models.py)
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from server.errors import FailedPrecondition, InvalidArgument
from server.exchange import Answer, Exchange
from server.inference import FindModel, InferenceRequest, InferenceResponse, ServedModel
from server.protocols.grpc_protocol import GrpcProtocol, reply
from server.protocols.protocol import Infer
from server.protocols.tensor_proto import DATA_TYPES, to_array, write
from server.protocols.tfserving_grpc_examples import (
    multi_inference,
    read_classification,
    read_regression,
)
from server.protocols.tfserving_grpc_models import get_model_metadata
from server.protocols.tfserving_specs import address_in, describe, signature_of
from server.protocols.wire import message, parse
from server.signature import Array, Signature, Tensors

_PredictRequest: Final = message("tensorflow.serving.PredictRequest")
_PredictResponse: Final = message("tensorflow.serving.PredictResponse")


class PredictionService(GrpcProtocol):
    """The codecs. The `form` of its requests is a function that makes the message to reply with."""

    name = "tfserving_grpc"
    service = "tensorflow.serving.PredictionService"

    def __init__(self) -> None:
        self._read: Final[Mapping[str, Callable[[bytes, ServedModel], InferenceRequest]]] = {
            "Predict": read_prediction,
            "Classify": read_classification,
            "Regress": read_regression,
        }
        self.methods = {verb: functools.partial(_infer, verb) for verb in self._read} | {
            "MultiInference": multi_inference,
            "GetModelMetadata": get_model_metadata,
        }

    def decode(self, operation: Infer, exchange: Exchange, find: FindModel) -> InferenceRequest:
        """Read the whole message."""
        return self._read[operation.verb](exchange.body, find(operation.address))

    def encode(self, request: InferenceRequest, response: InferenceResponse) -> Answer:
        """Write the message that belongs to the request's."""
        return reply(request.form(request, response))


def _infer(verb: str, exchange: Exchange) -> Infer:
    return Infer(address_in(exchange), verb)


# ------------------------------------------------------------------------------------- Predict


def read_prediction(body: bytes, model: ServedModel) -> InferenceRequest:
    """A request to Predict; its form writes a PredictResponse."""
    told = parse(_PredictRequest, body)
    signature = signature_of(told.model_spec, model, FailedPrecondition)
    inputs = {name: _input(signature, name, tensor) for name, tensor in told.inputs.items()}
    _add_defaults(inputs, signature)
    wanted = _wanted(signature, list(told.output_filter))
    return InferenceRequest(model, signature, inputs, functools.partial(_write_prediction, wanted))


def _input(signature: Signature, name: str, tensor: Any) -> Array:
    spec = signature.inputs.get(name)
    if spec is None:
        told = ", ".join(repr(known) for known in sorted(signature.inputs)) or "none"
        msg = f"signature {signature.name!r} has no input {name!r}; it has {told}"
        raise InvalidArgument(msg)
    if tensor.dtype != DATA_TYPES.get(spec.dtype):
        came = _DTYPES.get(tensor.dtype, f"the dtype number {tensor.dtype}")
        msg = f"input {name!r} is {spec}, got {came}"
        raise InvalidArgument(msg)
    return to_array(tensor, f"input {name!r}")


def _add_defaults(inputs: Tensors, signature: Signature) -> None:
    """Put in what the request leaves out and the signature has a default for.

    A default of one row is that of every row.
    """
    missing = signature.defaults.keys() - inputs.keys()
    if missing:
        rows = max((len(array) for array in inputs.values() if array.ndim), default=1)
        for name in missing:
            default = signature.defaults[name]
            if signature.inputs[name].has_batch_dimension and len(default) == 1:
                default = np.broadcast_to(default, (rows, *default.shape[1:]))
            inputs[name] = default


_DTYPES: Final = {number: dtype for dtype, number in DATA_TYPES.items()}


def _wanted(signature: Signature, filtered: Sequence[str]) -> Sequence[str]:
    """The names of the outputs to answer with: all, or those that the client asks for."""
    for name in filtered:
        if name not in signature.outputs:
            told = ", ".join(repr(known) for known in sorted(signature.outputs))
            msg = f'"output_filter" has {name!r}; signature {signature.name!r} has {told}'
            raise InvalidArgument(msg)
        if filtered.count(name) > 1:
            msg = f'"output_filter" has {name!r} more than once'
            raise InvalidArgument(msg)
    return filtered or list(signature.outputs)


def _write_prediction(
    wanted: Sequence[str], request: InferenceRequest, response: InferenceResponse
) -> Any:
    told = _PredictResponse()
    for name in wanted:
        write(response.outputs[name], told.outputs[name], f"output {name!r}")
    describe(told.model_spec, request.model, request.signature.name)
    return told
