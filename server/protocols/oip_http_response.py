"""Writes answers to inference of the Open Inference Protocol over HTTP. Pure; event loop.

JSON, and after it the raw bytes of the outputs that were asked for so, in their order. Values are
written as one flat list. What Triton leaves out is left out here: its C++ client takes any
`parameters` without `binary_data_size` for an error.
"""

import re
from typing import Any, Final

import orjson

from server.compression import compress
from server.errors import InvalidArgument
from server.exchange import JSON, Answer
from server.inference import InferenceRequest, InferenceResponse
from server.protocols import strict_json
from server.protocols.oip_classes import best_classes
from server.protocols.oip_http_request import JSON_LENGTH, Form, Wanted
from server.protocols.oip_tensors import to_raw
from server.signature import Array

BYTES: Final = "application/octet-stream"

_ENCODING: Final = re.compile(
    r"\s*(?P<name>gzip|deflate|identity)\s*(?:;\s*q\s*=\s*(?P<q>[01](?:\.[0-9]{0,3})?)\s*)?",
    re.IGNORECASE,
)


def preferred_encoding(accepted: str) -> str:
    """Which of gzip and deflate a client's `Accept-Encoding` prefers; "" for neither.

    The highest q wins, the first of equal ones. Others (br, zstd, *) are never answered, because
    Triton's own asyncio client sends them and cannot read them.
    """
    best, most = "", 0.0
    for part in accepted.split(","):
        match = _ENCODING.fullmatch(part)
        if match and float(match["q"] or 1) > most:
            best, most = match["name"].lower(), float(match["q"] or 1)
    return "" if best == "identity" else best


def printed_size(request: InferenceRequest, response: InferenceResponse) -> int:
    """How many elements are written one by one: as values, as strings, or compressed."""
    form: Form = request.form
    return sum(
        array.size
        for wanted in form.outputs
        for array in [response.outputs[wanted.name]]
        if form.encoding or not wanted.raw or wanted.datatype == "BYTES"
    )


def write(request: InferenceRequest, response: InferenceResponse) -> Answer:
    """The answer. InvalidArgument for outputs that have no form as the client wants them."""
    form: Form = request.form
    told: list[bytes] = []
    raws: list[bytes] = []
    for wanted in form.outputs:
        array = response.outputs[wanted.name]
        if wanted.classes:
            array = best_classes(array, wanted.classes, f"output {wanted.name!r}")
        if wanted.raw:
            raws.append(to_raw(array))
            form_of = b'"parameters":{"binary_data_size":%d}' % len(raws[-1])
        else:
            form_of = b'"data":%b' % _values(array, wanted)
        described = _described(wanted, array)
        told.append(b"{%b,%b}" % (described, form_of))
    head = _head(request, told)
    if not any(raws):
        return _compressed(Answer(200, head, JSON), form.encoding)
    answer = Answer(200, b"".join([head, *raws]), BYTES, {JSON_LENGTH: str(len(head))})
    return _compressed(answer, form.encoding)


def _head(request: InferenceRequest, outputs: list[bytes]) -> bytes:
    form, model = request.form, request.model
    named = b'"id":%b,' % orjson.dumps(form.request_id) if form.request_id else b""
    return b'{%b"model_name":%b,"model_version":"%d","outputs":[%b]}' % (
        named,
        orjson.dumps(model.name),
        model.version,
        b",".join(outputs),
    )


def _described(wanted: Wanted, array: Array) -> bytes:
    described: dict[str, Any] = {
        "name": wanted.name,
        "datatype": wanted.datatype,
        "shape": array.shape,
    }
    return orjson.dumps(described)[1:-1]


def _values(array: Array, wanted: Wanted) -> bytes:
    if wanted.datatype != "BYTES":
        return strict_json.dumps(array.ravel())
    try:
        return orjson.dumps([element.decode() for element in array.ravel().tolist()])
    except UnicodeDecodeError:
        msg = f"output {wanted.name!r} has bytes that are not UTF-8: ask for it as binary data"
        raise InvalidArgument(msg) from None


def _compressed(answer: Answer, encoding: str) -> Answer:
    if encoding:
        answer.body = compress(answer.body, encoding)
        answer.headers = (answer.headers or {}) | {"Content-Encoding": encoding}
    return answer
