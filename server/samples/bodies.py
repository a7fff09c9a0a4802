"""Bodies of sample requests: TensorFlow Serving's JSON, the Open Inference Protocol's. Pure."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from server.protocols.json_tensors import READABLE
from server.protocols.oip_tensors import DATATYPES, RAW_ONLY, to_raw
from server.samples.values import (
    PREDICT,
    Filled,
    Nested,
    NoForm,
    SampleRequest,
    is_text,
    text_or_base64,
)
from server.signature import DEFAULT_SIGNATURE, TensorSpec


def rest_body(request: SampleRequest) -> dict[str, Any]:
    """Rows where the signature shares batches, columns where not; examples to classify. NoForm."""
    signature = request.signature
    body: dict[str, Any] = {}
    if signature.name != DEFAULT_SIGNATURE:
        body["signature_name"] = signature.name
    if request.verb != PREDICT:
        return body | {"examples": [_values(request.features)]}
    for tensor in request.inputs.values():
        if tensor.spec.dtype not in READABLE | {"string"}:
            msg = f"input {tensor.spec.name!r} is {tensor.spec.dtype}, which has no JSON form"
            raise NoForm(msg)
    if signature.batchable:
        row: Any = _values({k: tensor.row for k, tensor in request.inputs.items()})
        if len(request.inputs) == 1:
            (row,) = row.values()
        return body | {"instances": [row] * request.rows}
    inputs = _values(request.inputs)
    return body | {"inputs": next(iter(inputs.values())) if len(inputs) == 1 else inputs}


def oip_body(
    request: SampleRequest, is_raw: Callable[[Filled], bool], *, answers_raw: bool
) -> dict[str, Any]:
    """The JSON, with values, but for the inputs whose bytes come behind it. NoForm."""
    parameters: dict[str, Any] = {}
    if request.signature.name != DEFAULT_SIGNATURE:
        parameters["signature_name"] = request.signature.name
    if answers_raw:
        parameters["binary_data_output"] = True
    inputs = [_oip_input(tensor, raw=is_raw(tensor)) for tensor in request.inputs.values()]
    return {"inputs": inputs} | ({"parameters": parameters} if parameters else {})


def is_raw(tensor: Filled) -> bool:
    """Whether a tensor has no form as values."""
    if tensor.spec.dtype == "string":
        return not is_text([tensor.value])
    return DATATYPES.get(tensor.spec.dtype) in RAW_ONLY


def datatype(spec: TensorSpec, kind: str) -> str:
    """What the Open Inference Protocol calls the dtype of an input or output. NoForm."""
    known = DATATYPES.get(spec.dtype)
    if known is None:
        msg = f"{kind} {spec.name!r} is {spec.dtype}, which the protocol has no datatype for"
        raise NoForm(msg)
    return known


def _values(tensors: Mapping[str, Filled]) -> dict[str, Nested]:
    return {k: Nested(text_or_base64(tensor.value), tensor.shape) for k, tensor in tensors.items()}


def _oip_input(tensor: Filled, *, raw: bool) -> dict[str, Any]:
    told = {
        "name": tensor.spec.name,
        "shape": list(tensor.shape),
        "datatype": datatype(tensor.spec, "input"),
    }
    if raw:
        return told | {"parameters": {"binary_data_size": len(to_raw(tensor.array))}}
    # Flat lists will do, whatever the shape.
    return told | {"data": Nested(_text(tensor.value), (math.prod(tensor.shape),))}


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
