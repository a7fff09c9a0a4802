"""The forms in which a row of numbers can be sent to the server, each as a client would write it.

What a form costs is what its protocol needs to read such a request, and to write an answer of the
same numbers. Beside them stand the parsers that it could be done with, alone.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import orjson
from multidict import CIMultiDict
from numpy.typing import NDArray

from server.exchange import Answer, Exchange
from server.inference import InferenceRequest, InferenceResponse, ServedModel
from server.protocols.npy import write_npy, write_npz
from server.protocols.oip_grpc import OipGrpc
from server.protocols.oip_http import OipHttp
from server.protocols.plain_binary import PlainBinary
from server.protocols.protocol import Infer, Protocol
from server.protocols.tfserving_grpc import PredictionService
from server.protocols.tfserving_rest import TensorFlowServingRest
from server.protocols.wire import message
from server.signature import Signature, TensorSpec

Row: TypeAlias = NDArray[np.float32]

MODEL: Final = "m"
REST: Final = f"/v1/models/{MODEL}:predict"
DT_FLOAT: Final = 1


class Form(NamedTuple):
    """Two functions without arguments: one reads a request, the other writes an answer."""

    name: str
    read: Callable[[], Any]
    write: Callable[[], Any]


def alone(row: Row) -> list[Form]:
    """Parsers, and NumPy to make an array of what they give."""
    text = json.dumps({"instances": row.tolist()}).encode()
    raw = row.tobytes()
    return [
        Form(
            "json and NumPy, alone",
            lambda: np.array(json.loads(text)["instances"], np.float32),
            lambda: json.dumps({"predictions": row.tolist()}),
        ),
        Form(
            "orjson and NumPy, alone",
            lambda: np.array(orjson.loads(text)["instances"], np.float32),
            lambda: orjson.dumps({"predictions": row}, option=orjson.OPT_SERIALIZE_NUMPY),
        ),
        Form(
            "frombuffer and tobytes, alone",
            lambda: np.frombuffer(raw, np.float32).reshape(row.shape),
            row.tobytes,
        ),
    ]


def served(row: Row) -> list[Form]:
    """The server's own codecs. ValueError if one reads another row than was sent."""
    rest, oip = TensorFlowServingRest(), OipHttp()
    plain = PlainBinary(rest)
    shortest = orjson.dumps({"instances": row}, option=orjson.OPT_SERIALIZE_NUMPY)
    raw = {"Content-Type": "application/octet-stream"}
    npy, npz = {"Content-Type": "application/x-npy"}, {"Content-Type": "application/x-npz"}
    infer = f"/v2/models/{MODEL}/infer"
    of_bytes, header = _oip_binary(row)
    return [
        _served("TensorFlow Serving, JSON", rest, REST, body=shortest, row=row),
        _served("Open Inference, JSON", oip, infer, body=_oip_json(row), row=row),
        _served("Open Inference, binary", oip, infer, body=of_bytes, row=row, headers=header),
        _served("octet-stream", plain, REST, body=row.tobytes(), row=row, headers=raw),
        _served("npy", plain, REST, body=write_npy(row), row=row, headers=npy),
        _served("npz", plain, REST, body=write_npz({"x": row}), row=row, headers=npz),
        _tensorflow_grpc("TensorFlow Serving, gRPC, typed", row, float_val=row.ravel().tolist()),
        _tensorflow_grpc("TensorFlow Serving, gRPC, content", row, tensor_content=row.tobytes()),
        _oip_grpc("Open Inference, gRPC, typed", row, typed=True),
        _oip_grpc("Open Inference, gRPC, raw", row, typed=False),
    ]


def _served(
    name: str,
    protocol: Protocol,
    target: str,
    *,
    body: bytes,
    row: Row,
    headers: Mapping[str, str] | None = None,
) -> Form:
    shape = (None, row.shape[1])
    inputs, outputs = (
        {"x": TensorSpec("x", "float32", shape)},
        {"y": TensorSpec("y", "float32", shape)},
    )
    signature = Signature("serving_default", inputs, outputs)
    model = ServedModel(MODEL, 1, {"serving_default": signature}, "tensorflow_savedmodel", 64)
    known = CIMultiDict({"Host": "127.0.0.1:8501", "Accept": "*/*", **(headers or {})})

    def read() -> InferenceRequest:
        exchange = Exchange("POST", target, known, body)
        operation = protocol.route(exchange)
        assert isinstance(operation, Infer)
        return protocol.decode(operation, exchange, lambda _: model)

    request = read()
    if not np.array_equal(request.inputs["x"], row):
        msg = f"{name} reads another row than was sent"
        raise ValueError(msg)

    def write() -> Answer:
        return protocol.encode(request, InferenceResponse({"y": row}))

    return Form(name, read, write)


def _oip_json(row: Row) -> bytes:
    tensor = {"name": "x", "shape": row.shape, "datatype": "FP32", "data": row.ravel()}
    return orjson.dumps({"inputs": [tensor]}, option=orjson.OPT_SERIALIZE_NUMPY)


def _oip_binary(row: Row) -> tuple[bytes, dict[str, str]]:
    size = {"binary_data_size": row.nbytes}
    tensor = {"name": "x", "shape": row.shape, "datatype": "FP32", "parameters": size}
    output = {"name": "y", "parameters": {"binary_data": True}}
    head = orjson.dumps({"inputs": [tensor], "outputs": [output]})
    return head + row.tobytes(), {"Inference-Header-Content-Length": str(len(head))}


def _tensorflow_grpc(name: str, row: Row, **values: Any) -> Form:
    asked = message("tensorflow.serving.PredictRequest")()
    asked.model_spec.name = MODEL
    tensor = asked.inputs["x"]
    tensor.dtype = DT_FLOAT
    for size in row.shape:
        tensor.tensor_shape.dim.add(size=size)
    for field, value in values.items():
        if field == "tensor_content":
            tensor.tensor_content = value
        else:
            getattr(tensor, field).extend(value)
    target = "/tensorflow.serving.PredictionService/Predict"
    return _served(name, PredictionService(), target, body=asked.SerializeToString(), row=row)


def _oip_grpc(name: str, row: Row, *, typed: bool) -> Form:
    asked = message("inference.ModelInferRequest")(model_name=MODEL)
    tensor = asked.inputs.add(name="x", datatype="FP32", shape=row.shape)
    if typed:
        tensor.contents.fp32_contents.extend(row.ravel().tolist())
    else:
        asked.raw_input_contents.append(row.tobytes())
    target = "/inference.GRPCInferenceService/ModelInfer"
    return _served(name, OipGrpc(), target, body=asked.SerializeToString(), row=row)
