"""The Open Inference Protocol over HTTP, as its tests ask and read."""

import gzip
import json
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from server.exchange import Answer, Exchange
from server.inference import InferenceRequest, ModelAddress, ServedModel
from server.protocols.oip_http import OipHttp
from server.protocols.oip_tensors import from_raw
from server.protocols.protocol import Infer
from server.signature import Array, Signature, TensorSpec, why_alone
from tests.server.conftest import Served

HALF = "/v2/models/half_plus_two"
TWO = "/v2/models/two_by_two"
DTYPES = "/v2/models/every_dtype"
ODD = "/v2/models/odd_ones"
WORDS = "/v2/models/words"


def infer(served: Served, model: str, body: Any, **headers: str) -> Answer:
    """An inference; a body that is no bytes is sent as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return served.ask("POST", f"{model}/infer", raw, headers)


def outputs(answer: Answer) -> dict[str, Any]:
    """The outputs of an answer in JSON by name."""
    assert answer.status == 200, answer.body
    assert answer.content_type == "application/json"
    return {output["name"]: output for output in json.loads(answer.body)["outputs"]}


def assert_refused(answer: Answer, status: int, *words: str) -> None:
    """One object with one key, whose text has these words."""
    assert answer.status == status, answer.body
    assert answer.content_type == "application/json"
    told = json.loads(answer.body)
    assert list(told) == ["error"]
    for word in words:
        assert word in told["error"]


# -------------------------------------------------------------------------------------- raw tensors

LENGTH = "Inference-Header-Content-Length"


def ask_raw(
    served: Served,
    model: str,
    head: Any,
    raw: bytes = b"",
    *,
    length: object = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """JSON and raw tensors, with the length of the JSON unless another is given."""
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    told = {LENGTH: str(len(text) if length is None else length)}
    return served.ask("POST", f"{model}/infer", text + raw, {**told, **(headers or {})})


def read(answer: Answer, body: bytes | None = None) -> tuple[dict[str, Any], dict[str, Array]]:
    """The outputs of an answer as its JSON tells them, and the raw ones as arrays."""
    assert answer.status == 200, answer.body
    body = answer.body if body is None else body
    length = len(body)
    if answer.content_type == "application/octet-stream":
        assert answer.headers is not None
        length = int(answer.headers[LENGTH])
    told, rest = {}, body[length:]
    arrays = {}
    for output in json.loads(body[:length])["outputs"]:
        told[output["name"]] = output
        if "parameters" in output:
            assert list(output["parameters"]) == ["binary_data_size"]
            assert "data" not in output
            size = output["parameters"]["binary_data_size"]
            raw, rest = rest[:size], rest[size:]
            where = output["name"]
            arrays[where] = from_raw(raw, output["datatype"], output["shape"], where)
    assert rest == b""
    return told, arrays


def raw_x(size: Any, shape: Any = (1, 1), datatype: str = "FP32") -> dict[str, Any]:
    """An input named x whose bytes follow the JSON."""
    parameters = {"binary_data_size": size}
    return {"name": "x", "shape": shape, "datatype": datatype, "parameters": parameters}


def body_of(*inputs: Any, **more: Any) -> dict[str, Any]:
    """A body."""
    return {"inputs": list(inputs)} | more


ALL_RAW = {"binary_data_output": True}
ONE = struct.pack("<f", 1.0)

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "": bytes,
}
INFLATE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "": bytes,
}


# ------------------------------------------------------------------------------- without a server


def one_input(shape: tuple[int | None, ...] | None, dtype: str = "int16") -> ServedModel:
    """A model of one input and one output of this kind."""
    inputs = {"x": TensorSpec("x", dtype, shape)}
    outputs = {"y": TensorSpec("y", dtype, (None,))}
    signature = Signature("serving_default", inputs, outputs, alone=why_alone(inputs, outputs))
    return ServedModel("m", 1, {"serving_default": signature}, "test", 8)


def decode(model: ServedModel, body: bytes, length: int) -> InferenceRequest:
    """A request as the front would have it decoded."""
    exchange = Exchange("POST", "/v2/models/m/infer", {LENGTH: str(length)}, body)
    return OipHttp().decode(Infer(ModelAddress("m")), exchange, lambda _: model)
