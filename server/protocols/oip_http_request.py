"""Reads requests for inference of the Open Inference Protocol over HTTP. Pure; event loop.

A body is JSON, and after it the raw bytes of the inputs that say how many are theirs, in the order
of these inputs. `Inference-Header-Content-Length` says where the JSON ends:

    absent           the body is nothing but JSON
    its length       the bytes of the JSON; the raw tensors begin there
    0                the body is nothing but the bytes of the only input, of one row
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from server.errors import DecodeError, InvalidArgument
from server.exchange import Exchange
from server.inference import InferenceRequest, ServedModel
from server.protocols import strict_json
from server.protocols.json_tensors import kind_of
from server.protocols.oip_models import default_signature
from server.protocols.oip_parameters import (
    requested_limits,
    requested_signature,
    switch,
    unsigned,
)
from server.protocols.oip_specs import datatype_of, find_spec, refuse_shared_memory
from server.protocols.oip_tensors import RAW_ONLY, check_shape, from_raw, from_values
from server.signature import Signature, Tensors, TensorSpec

JSON_LENGTH: Final = "Inference-Header-Content-Length"
_DIGITS: Final = re.compile("[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """An output that the client asks for: raw or as values; and its best `classes` only, if any."""

    name: str
    datatype: str
    raw: bool
    classes: int = 0


@dataclass(frozen=True, slots=True)
class Form:
    """How the answer has to look; `encoding` is "" for one that is not compressed."""

    request_id: str
    outputs: tuple[Wanted, ...]
    encoding: str


def json_length(exchange: Exchange) -> int:
    """How many bytes of the body are JSON; 0 for a raw request. DecodeError."""
    told = exchange.headers.get(JSON_LENGTH)
    if told is None:
        return len(exchange.body)
    if not _DIGITS.fullmatch(told) or int(told) > len(exchange.body):
        msg = (
            f"{JSON_LENGTH} must be a number of bytes that the body has,"
            f" at most {len(exchange.body)}, not {told[:64]!r}"
        )
        raise DecodeError(msg)
    return int(told)


def read(exchange: Exchange, model: ServedModel, encoding: str) -> InferenceRequest:
    """The request in a body that is not compressed. DecodeError, InvalidArgument, Unimplemented."""
    length = json_length(exchange)
    if not length and JSON_LENGTH in exchange.headers:
        return _read_raw(exchange.body, model, encoding)
    told = strict_json.loads(exchange.body[:length], arrays=True)
    if not isinstance(told, dict):
        msg = f"the body must be a JSON object, not {kind_of(told)}"
        raise DecodeError(msg)
    request_id = _member(told, "id", str, "the request") if "id" in told else ""
    parameters = _parameters(told, "the request")
    timeout, priority = requested_limits(parameters)
    signature = requested_signature(model, parameters)
    raw = switch(parameters, "binary_data_output", otherwise=False)
    wanted = _read_outputs(told, signature, raw=raw)
    inputs = _read_inputs(told, signature, memoryview(exchange.body)[length:])
    form = Form(request_id, wanted, encoding)
    return InferenceRequest(model, signature, inputs, form, timeout, priority)


# --------------------------------------------------------------------------------------- inputs


def _read_inputs(told: Mapping[str, Any], signature: Signature, rest: memoryview) -> Tensors:
    tensors: Tensors = {}
    place = 0
    for index, one in enumerate(_member(told, "inputs", list, "the request")):
        spec = _spec(one, f"inputs[{index}]", signature.inputs, tensors)
        where = f"input {spec.name!r}"
        datatype = datatype_of(spec, where, _member(one, "datatype", str, where))
        shape = check_shape(_member(one, "shape", list, where), f"{where}: the shape")
        parameters = _parameters(one, where)
        if ("data" in one) == ("binary_data_size" in parameters):
            came = "both" if "data" in one else "neither"
            msg = f'{where} must have either "data" or "binary_data_size", it has {came}'
            raise DecodeError(msg)
        if "data" in one:
            tensors[spec.name] = from_values(one["data"], datatype, shape, where)
            continue
        size = unsigned(parameters, "binary_data_size")
        if size > len(rest) - place:
            msg = f"{where} has {size} bytes, only {len(rest) - place} are left after the JSON"
            raise DecodeError(msg)
        tensors[spec.name] = from_raw(rest[place : place + size], datatype, shape, where)
        place += size
    if place != len(rest):
        msg = f"{len(rest)} bytes follow the JSON, the inputs take {place}"
        raise DecodeError(msg)
    return tensors


def _read_raw(body: bytes, model: ServedModel, encoding: str) -> InferenceRequest:
    """The bytes of one row for a model of one input; strings without their length."""
    signature = default_signature(model)
    if len(signature.inputs) != 1:
        msg = (
            f"a raw request needs a model of one input, {model.name!r} has {len(signature.inputs)}"
        )
        raise InvalidArgument(msg)
    (spec,) = signature.inputs.values()
    where = f"input {spec.name!r}"
    datatype = datatype_of(spec, where)
    if datatype == "BYTES":
        array = from_values([body], datatype, _shape_of_row(spec, signature, 1, where), where)
    else:
        count = len(body) // spec.numpy_dtype.itemsize
        array = from_raw(body, datatype, _shape_of_row(spec, signature, count, where), where)
    form = Form("", _read_outputs({}, signature, raw=True), encoding)
    return InferenceRequest(model, signature, {spec.name: array}, form)


def _shape_of_row(spec: TensorSpec, signature: Signature, count: int, where: str) -> list[int]:
    """One row, with the only dimension of any size as large as `count` elements make it."""
    sizes = [] if spec.shape is None else list(spec.shape)
    if signature.batchable:
        sizes[0] = 1
    if spec.shape is None or sizes.count(None) > 1:
        msg = f"a raw request leaves one dimension open at most, {where} is {spec}"
        raise InvalidArgument(msg)
    known = math.prod(size for size in sizes if size is not None)
    shape = [count // max(1, known) if size is None else size for size in sizes]
    if math.prod(shape) != count:
        msg = f"{where} is {spec}, the raw request has {count} elements for its row"
        raise DecodeError(msg)
    return shape


# -------------------------------------------------------------------------------------- outputs


def _read_outputs(
    told: Mapping[str, Any], signature: Signature, *, raw: bool
) -> tuple[Wanted, ...]:
    outputs = _member(told, "outputs", list, "the request") if "outputs" in told else []
    if not outputs:
        return tuple(_wanted(spec, {}, raw=raw) for spec in signature.outputs.values())
    wanted: dict[str, Wanted] = {}
    for index, one in enumerate(outputs):
        where = f"outputs[{index}]"
        spec = _spec(one, where, signature.outputs, wanted)
        wanted[spec.name] = _wanted(spec, _parameters(one, where), raw=raw)
    return tuple(wanted.values())


def _wanted(spec: TensorSpec, parameters: Mapping[str, Any], *, raw: bool) -> Wanted:
    where = f"output {spec.name!r}"
    datatype = datatype_of(spec, where)
    raw = switch(parameters, "binary_data", otherwise=raw)
    classes = unsigned(parameters, "classification")
    if datatype in RAW_ONLY and not raw and not classes:
        msg = f"{where} is {datatype}, which has no JSON form: ask for its bytes"
        raise InvalidArgument(msg)
    return Wanted(spec.name, "BYTES" if classes else datatype, raw, classes)


# ------------------------------------------------------------------------- members and their types


def _spec(
    told: Any, where: str, specs: Mapping[str, TensorSpec], seen: Mapping[str, object]
) -> TensorSpec:
    """Which tensor an object is about; each may come once. DecodeError, InvalidArgument."""
    if not isinstance(told, dict):
        msg = f"{where} must be an object, not {kind_of(told)}"
        raise DecodeError(msg)
    return find_spec(_member(told, "name", str, where), where, specs, seen)


def _parameters(told: Mapping[str, Any], where: str) -> dict[str, Any]:
    if "parameters" not in told:
        return {}
    parameters: dict[str, Any] = _member(told, "parameters", dict, where)
    refuse_shared_memory(parameters, where)
    return parameters


def _member(told: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
    """A member that must be there and of one kind. DecodeError."""
    if key not in told:
        msg = f"{where} lacks {key!r}"
        raise DecodeError(msg)
    value = told[key]
    if type(value) is not kind:
        msg = f"{where}: {key!r} must be {kind_of(kind())}, not {kind_of(value)}"
        raise DecodeError(msg)
    return value
