"""The body of TensorFlow Serving's predict, read into tensors. Pure.

    {"signature_name"?, "instances": rows}     a list of rows: each an object of all inputs by name,
                                               or the bare value of the only one
    {"signature_name"?, "inputs": columns}     an object of whole tensors by name, or the bare
                                               tensor of the only one

Written after tensorflow/serving (util/json_tensor.cc). Every input must be there, even one that the
signature has a default for; columns may have more than the inputs, rows may not. Of a key that an
object has twice the last value counts (there: the first, but for rows).
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from server.errors import DecodeError, ServingError, Unimplemented
from server.inference import ServedModel
from server.protocols import strict_json
from server.protocols.json_tensors import READABLE, hides_nothing, kind_of, no_element, to_array
from server.protocols.tfserving_strings import is_base64, to_strings
from server.signature import (
    DEFAULT_SIGNATURE,
    Array,
    Signature,
    Tensors,
    TensorSpec,
    names_text,
)

ROWS: Final = "instances"
COLUMNS: Final = "inputs"

SIGNATURE_NAME: Final = "signature_name"


def read_body(raw: bytes, *, arrays: bool) -> dict[str, Any]:
    """The object that every verb has as its body; see `json_arrays` for `arrays`. DecodeError."""
    body = strict_json.loads(raw, arrays=arrays)
    if not isinstance(body, dict):
        msg = f"the body must be a JSON object, not {kind_of(body)}"
        raise DecodeError(msg)
    name = body.get(SIGNATURE_NAME, "")
    if not isinstance(name, str):
        msg = f'"{SIGNATURE_NAME}" must be a string, not {kind_of(name)}'
        raise DecodeError(msg)
    return body


def find_signature(model: ServedModel, body: Mapping[str, Any]) -> Signature:
    """The signature that a body asks for. InvalidArgument if the model has no such."""
    return model.signature(body.get(SIGNATURE_NAME) or DEFAULT_SIGNATURE)


def read_tensors(raw: bytes, body: Mapping[str, Any], signature: Signature) -> tuple[Tensors, str]:
    """The inputs in a body that was parsed from `raw`, and their form: ROWS or COLUMNS."""
    if (ROWS in body) == (COLUMNS in body):
        came = "both" if ROWS in body else "neither"
        msg = f'the body must have either "{ROWS}" or "{COLUMNS}", it has {came}'
        raise DecodeError(msg)
    form = ROWS if ROWS in body else COLUMNS
    values = body[form]
    is_array = isinstance(values, np.ndarray)
    only_numbers = is_array or hides_nothing(raw, body, _strings(body, values))
    read = _from_rows if form == ROWS else _from_columns
    return read(values, signature, only_numbers), form


def _strings(body: Mapping[str, Any], values: Any) -> int:
    """Strings in a body of numbers, besides its keys: the names of the signature and inputs."""
    strings = 1 if SIGNATURE_NAME in body else 0
    if isinstance(values, dict):
        return strings + len(values)
    if isinstance(values, list) and values and isinstance(values[0], dict):
        return strings + sum(len(row) for row in values if isinstance(row, dict))
    return strings


def _from_rows(instances: Any, signature: Signature, only_numbers: bool) -> Tensors:  # noqa: FBT001
    """Each instance is a row: an object of all inputs, or the bare value of the only one."""
    if type(instances) not in (list, np.ndarray):
        msg = f'"{ROWS}" must be a list, not {kind_of(instances)}'
        raise DecodeError(msg)
    if not len(instances):
        msg = f'"{ROWS}" has no values, expected at least one row'
        raise DecodeError(msg)
    specs = signature.inputs
    if isinstance(instances[0], dict) and not is_base64(instances[0]):
        for place, instance in enumerate(instances):
            _check_instance(place, instance, specs)
        columns = {name: [instance[name] for instance in instances] for name in specs}
    elif len(specs) == 1:
        columns = dict.fromkeys(specs, instances)
    else:
        msg = (
            f'"{ROWS}" must be a list of objects with the inputs {names_text(specs)}:'
            f" got {kind_of(instances[0]) if isinstance(instances, list) else 'numbers'}"
        )
        raise DecodeError(msg)
    return {
        name: _tensor(values, specs[name], only_numbers, f'"{ROWS}"', DecodeError)
        for name, values in columns.items()
    }


def _check_instance(place: int, instance: Any, specs: Mapping[str, TensorSpec]) -> None:
    if not isinstance(instance, dict):
        msg = f'"{ROWS}"[{place}] must be an object like the first one, not {kind_of(instance)}'
        raise DecodeError(msg)
    if instance.keys() != specs.keys():
        msg = (
            f'"{ROWS}"[{place}] has the inputs {names_text(instance)}, expected {names_text(specs)}'
        )
        raise DecodeError(msg)


def _from_columns(inputs: Any, signature: Signature, only_numbers: bool) -> Tensors:  # noqa: FBT001
    """An object of whole tensors, or the bare tensor of the only input; ignores surplus names."""
    specs = signature.inputs
    if not isinstance(inputs, dict) or is_base64(inputs):
        if len(specs) != 1:
            msg = f'"{COLUMNS}" must be an object with {names_text(specs)}, not {kind_of(inputs)}'
            raise DecodeError(msg)
        inputs = dict.fromkeys(specs, inputs)
    missing = [name for name in specs if name not in inputs]
    if missing:
        msg = f'"{COLUMNS}" lacks {names_text(missing)}, it has {names_text(inputs)}'
        raise DecodeError(msg)
    return {
        name: _tensor(inputs[name], spec, only_numbers, f'"{COLUMNS}" {name!r}', Unimplemented)
        for name, spec in specs.items()
    }


def _tensor(
    values: Any,
    spec: TensorSpec,
    only_numbers: bool,  # noqa: FBT001
    where: str,
    no_form: type[ServingError],
) -> Array:
    """Nested lists as an array; `no_form` is what a dtype without a form in JSON raises."""
    if spec.dtype in READABLE:
        return to_array(values, spec, only_numbers=only_numbers, where=where)
    if spec.dtype == "string":
        if isinstance(values, np.ndarray):
            raise no_element(values, spec, where)
        return to_strings(values, spec, where)
    msg = f"input {spec.name!r} is {spec.dtype}, which has no JSON form"
    raise no_form(msg)
