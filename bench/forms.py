"""The forms in which a row of numbers travels: how clients write and read each, and libraries do.

JSON has numbers as Python prints what a float32 array holds: all digits of a double, 20 bytes each.
"""

import functools
import io
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from multidict import CIMultiDict

from server.exchange import Exchange
from server.protocols.media_types import NPY, NPZ, RAW
from server.protocols.oip_http_request import JSON_LENGTH
from server.protocols.tensor_proto import DATA_TYPES
from server.protocols.wire import message
from server.signature import Array

MODEL: Final = "m"
"""Its input is `x`, its output `y`."""

_REST: Final = f"/v1/models/{MODEL}:predict"
_OIP: Final = f"/v2/models/{MODEL}/infer"
_PREDICT: Final = "/tensorflow.serving.PredictionService/Predict"
_MODEL_INFER: Final = "/inference.GRPCInferenceService/ModelInfer"

_PredictRequest: Final = message("tensorflow.serving.PredictRequest")
_PredictResponse: Final = message("tensorflow.serving.PredictResponse")
_ModelInferRequest: Final = message("inference.ModelInferRequest")
_ModelInferResponse: Final = message("inference.ModelInferResponse")


class Form(NamedTuple):
    """What a client sends for a row, what the form of the answer is called, and how it is read."""

    name: str
    ask: Callable[[Array], Exchange]
    answer: str
    read: Callable[[bytes], Any]


class Baseline(NamedTuple):
    """A library alone: no routes, no models, no mistakes, no names but one."""

    name: str
    write: Callable[[Array], bytes]
    decode: Callable[[bytes], Array]
    encode: Callable[[Array], bytes]
    read: Callable[[bytes], Any]


def _exchange(target: str, body: bytes, headers: Mapping[str, str] | None = None) -> Exchange:
    return Exchange("POST", target, CIMultiDict(headers or {}), body)


# ------------------------------------------------------------------------- JSON, and bytes after it


def _write_json(key: str, x: Array) -> bytes:
    return json.dumps({key: x.tolist()}).encode()


def _read_json(key: str, body: bytes) -> Any:
    return json.loads(body)[key]


def _rest(key: str, x: Array) -> Exchange:
    return _exchange(_REST, _write_json(key, x))


def _oip(x: Array) -> Exchange:
    body = json.dumps({"inputs": [_oip_input(x, data=x.ravel().tolist())]}).encode()
    return _exchange(_OIP, body)


def _oip_binary(x: Array) -> Exchange:
    one = _oip_input(x, parameters={"binary_data_size": x.nbytes})
    head = json.dumps({"inputs": [one], "parameters": {"binary_data_output": True}}).encode()
    return _exchange(_OIP, head + x.tobytes(), {JSON_LENGTH: str(len(head))})


def _oip_input(x: Array, **values: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": "FP32", "shape": x.shape, **values}


def _read_oip(body: bytes) -> Any:
    return json.loads(body)["outputs"][0]["data"]


def _read_oip_binary(body: bytes) -> Any:
    """The answer's JSON ends with its only list of objects."""
    return np.frombuffer(body[body.index(b"}]}") + 3 :], np.float32)


# ------------------------------------------------------------------------------------ plain binary


def _plain(media: str, write: Callable[[Array], bytes], x: Array) -> Exchange:
    return _exchange(_REST, write(x), {"Content-Type": media})


def _write_npy(x: Array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, x)
    return buffer.getvalue()


def _write_npz(x: Array) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=x)
    return buffer.getvalue()


def _read_raw(body: bytes) -> Array:
    return np.frombuffer(body, np.float32).reshape(1, -1)


# -------------------------------------------------------------------------------------------- gRPC


def _predict(field: str, values: Callable[[Array], Any], x: Array) -> Exchange:
    told = _PredictRequest(model_spec={"name": MODEL})
    shape = {"dim": [{"size": size} for size in x.shape]}
    tensor = {"dtype": DATA_TYPES["float32"], "tensor_shape": shape, field: values(x)}
    told.inputs["x"].MergeFrom(type(told.inputs["x"])(**tensor))
    return _exchange(_PREDICT, told.SerializeToString())


def _read_prediction(body: bytes) -> Any:
    return np.frombuffer(_PredictResponse.FromString(body).outputs["y"].float_val, np.float32)


def _model_infer_raw(x: Array) -> Exchange:
    told = _ModelInferRequest(
        model_name=MODEL, inputs=[_oip_input(x)], raw_input_contents=[x.tobytes()]
    )
    return _exchange(_MODEL_INFER, told.SerializeToString())


def _model_infer_typed(x: Array) -> Exchange:
    one = _oip_input(x, contents={"fp32_contents": x.ravel().tolist()})
    told = _ModelInferRequest(model_name=MODEL, inputs=[one])
    return _exchange(_MODEL_INFER, told.SerializeToString())


def _read_inferred(body: bytes) -> Any:
    return np.frombuffer(_ModelInferResponse.FromString(body).raw_output_contents[0], np.float32)


# -------------------------------------------------------------------------------------- the tables

TEXT: Final = "TensorFlow Serving REST, instances"
"""The form that tells how fast text is parsed."""

FORMS: Final = (
    Form(
        TEXT,
        functools.partial(_rest, "instances"),
        "TensorFlow Serving REST, predictions",
        functools.partial(_read_json, "predictions"),
    ),
    Form(
        "TensorFlow Serving REST, inputs",
        functools.partial(_rest, "inputs"),
        "TensorFlow Serving REST, outputs",
        functools.partial(_read_json, "outputs"),
    ),
    Form("OIP JSON", _oip, "OIP JSON", _read_oip),
    Form("OIP binary", _oip_binary, "OIP binary", _read_oip_binary),
    Form("octet-stream", functools.partial(_plain, RAW, bytes), "octet-stream", _read_raw),
    Form(
        "npy",
        functools.partial(_plain, NPY, _write_npy),
        "npy",
        lambda body: np.load(io.BytesIO(body)),
    ),
    Form(
        "npz",
        functools.partial(_plain, NPZ, _write_npz),
        "npz",
        lambda body: np.load(io.BytesIO(body))["y"],
    ),
    Form(
        "TensorFlow Serving gRPC, tensor_content",
        functools.partial(_predict, "tensor_content", bytes),
        "TensorFlow Serving gRPC, float_val",
        _read_prediction,
    ),
    Form(
        "TensorFlow Serving gRPC, float_val",
        functools.partial(_predict, "float_val", np.ravel),
        "TensorFlow Serving gRPC, float_val",
        _read_prediction,
    ),
    Form("OIP gRPC, raw", _model_infer_raw, "OIP gRPC, raw", _read_inferred),
    Form("OIP gRPC, typed", _model_infer_typed, "OIP gRPC, raw", _read_inferred),
)

BASELINES: Final = (
    Baseline(
        "json and NumPy alone",
        functools.partial(_write_json, "instances"),
        lambda body: np.array(json.loads(body)["instances"], np.float32),
        functools.partial(_write_json, "predictions"),
        functools.partial(_read_json, "predictions"),
    ),
    Baseline(
        "orjson and NumPy alone",
        functools.partial(_write_json, "instances"),
        lambda body: np.array(orjson.loads(body)["instances"], np.float32),
        lambda y: orjson.dumps({"predictions": y}, option=orjson.OPT_SERIALIZE_NUMPY),
        functools.partial(_read_json, "predictions"),
    ),
    Baseline("NumPy alone", bytes, _read_raw, lambda y: y.tobytes(), _read_raw),
)
