"""Reads and writes the messages of inference of the Open Inference Protocol over gRPC. Pure.

The tensors of a request are either all `raw_input_contents`, one entry for each input in their
order, of which surplus ones are ignored as in Triton; or the typed `contents` of each input. Those
of an answer are always `raw_output_contents`: tritonclient reads nothing else but strings.
"""

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from server.errors import DecodeError
from server.inference import InferenceRequest, InferenceResponse, ServedModel
from server.protocols.oip_classes import best_classes
from server.protocols.oip_grpc_calls import values_of
from server.protocols.oip_parameters import requested_limits, requested_signature, unsigned
from server.protocols.oip_specs import datatype_of, find_spec, refuse_shared_memory
from server.protocols.oip_tensors import check_shape, from_raw, from_values, to_raw
from server.protocols.wire import message
from server.signature import Array, Signature, Tensors, TensorSpec, shape_text

_ModelInferResponse: Final = message("inference.ModelInferResponse")


class Wanted(NamedTuple):
    """An output that the client asks for; its best `classes` only, if any."""

    name: str
    datatype: str
    classes: int = 0


class Form(NamedTuple):
    """How the answer has to look."""

    request_id: str
    outputs: tuple[Wanted, ...]


# -------------------------------------------------------------------------------------- reading


def read(asked: Any, model: ServedModel) -> InferenceRequest:
    """The request in a ModelInferRequest. DecodeError, InvalidArgument, Unimplemented."""
    parameters = values_of(asked.parameters)
    timeout, priority = requested_limits(parameters)
    signature = requested_signature(model, parameters)
    form = Form(asked.id, _read_outputs(asked.outputs, signature))
    inputs = _read_inputs(asked, signature)
    return InferenceRequest(model, signature, inputs, form, timeout, priority)


def _read_inputs(asked: Any, signature: Signature) -> Tensors:
    tensors: Tensors = {}
    raws = asked.raw_input_contents
    for index, one in enumerate(asked.inputs):
        spec = find_spec(one.name, f"inputs[{index}]", signature.inputs, tensors)
        where = f"input {spec.name!r}"
        datatype = datatype_of(spec, where, one.datatype)
        shape = check_shape(tuple(one.shape), f"{where}: the shape")
        refuse_shared_memory(one.parameters, where)
        if not raws:
            tensors[spec.name] = _from_contents(one.contents, datatype, spec, shape)
            continue
        if one.HasField("contents"):
            msg = f"{where} has contents, although the request has raw_input_contents"
            raise DecodeError(msg)
        if index >= len(raws):
            msg = f"{where} lacks its raw_input_contents, there are {len(raws)}"
            raise DecodeError(msg)
        tensors[spec.name] = from_raw(raws[index], datatype, shape, where)
    return tensors


def _read_outputs(outputs: Any, signature: Signature) -> tuple[Wanted, ...]:
    """Those that are asked for; all, if none are."""
    if not outputs:
        return tuple(
            Wanted(name, datatype_of(spec, f"output {name!r}"))
            for name, spec in signature.outputs.items()
        )
    wanted: dict[str, Wanted] = {}
    for index, one in enumerate(outputs):
        spec = find_spec(one.name, f"outputs[{index}]", signature.outputs, wanted)
        where = f"output {spec.name!r}"
        refuse_shared_memory(one.parameters, where)
        datatype = datatype_of(spec, where)
        classes = unsigned(values_of(one.parameters), "classification")
        wanted[spec.name] = Wanted(spec.name, "BYTES" if classes else datatype, classes)
    return tuple(wanted.values())


_INTEGERS: Final = ("int_contents", np.dtype(np.int32))
_UNSIGNED: Final = ("uint_contents", np.dtype(np.uint32))
_CONTENTS: Final[Mapping[str, tuple[str, np.dtype[Any]]]] = {
    "BOOL": ("bool_contents", np.dtype(np.bool_)),
    "INT8": _INTEGERS,
    "INT16": _INTEGERS,
    "INT32": _INTEGERS,
    "INT64": ("int64_contents", np.dtype(np.int64)),
    "UINT8": _UNSIGNED,
    "UINT16": _UNSIGNED,
    "UINT32": _UNSIGNED,
    "UINT64": ("uint64_contents", np.dtype(np.uint64)),
    "FP32": ("fp32_contents", np.dtype(np.float32)),
    "FP64": ("fp64_contents", np.dtype(np.float64)),
}
"""Datatypes of numbers that have typed contents -> the field, and what its elements are."""


def _from_contents(contents: Any, datatype: str, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    """The array of a checked shape in typed contents. DecodeError."""
    where = f"input {spec.name!r}"
    if datatype not in _CONTENTS:
        return from_values(list(contents.bytes_contents), datatype, shape, where)
    field, dtype = _CONTENTS[datatype]
    values = getattr(contents, field)
    if len(values) != math.prod(shape):
        msg = (
            f"{where} has {len(values)} elements in {field}, expected {math.prod(shape)}"
            f" for {datatype} of the shape {shape_text(shape)}"
        )
        raise DecodeError(msg)
    # protobuf 7 hands its numbers over as a buffer; what was before it, one by one.
    array: Array = np.array(values, dtype)
    if dtype != spec.numpy_dtype:
        array = _narrowed(array, spec.numpy_dtype, f"{where}: {field}")
    return array.reshape(shape)


def _narrowed(array: Array, dtype: np.dtype[Any], where: str) -> Array:
    limits = np.iinfo(dtype)
    if array.size and not limits.min <= array.min() <= array.max() <= limits.max:
        msg = f"{where} has a number outside of {dtype}, {limits.min} to {limits.max}"
        raise DecodeError(msg)
    return array.astype(dtype)


# -------------------------------------------------------------------------------------- writing


def write(request: InferenceRequest, response: InferenceResponse) -> Any:
    """A ModelInferResponse. InvalidArgument for outputs that have no classes."""
    form: Form = request.form
    model = request.model
    answer = _ModelInferResponse(
        model_name=model.name, model_version=str(model.version), id=form.request_id
    )
    for wanted in form.outputs:
        array = response.outputs[wanted.name]
        if wanted.classes:
            array = best_classes(array, wanted.classes, f"output {wanted.name!r}")
        answer.outputs.add(name=wanted.name, datatype=wanted.datatype, shape=array.shape)
        answer.raw_output_contents.append(to_raw(array))
    return answer
