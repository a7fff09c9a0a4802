"""The bodies of the Open Inference Protocol over HTTP as JSON schemas, with examples. Pure."""

import math
from collections.abc import Iterable
from typing import Any, Final

from server.inference import ServedModel
from server.protocols.oip_models import default_signature
from server.protocols.oip_tensors import DATATYPES, RAW_ONLY
from server.protocols.openapi_schemas import (
    COUNT,
    FLAG,
    NUMBERS,
    STRING,
    TEXT,
    Component,
    Schema,
    any_of,
    is_shown,
    list_of,
    of_any_rank,
    of_model,
    one,
    record,
    sizes,
    with_examples,
)
from server.signature import Signature, TensorSpec

# -------------------------------------------------------------------------------------- inference


def request_media(model: ServedModel) -> dict[str, Any]:
    """The media type for requests in JSON: any signature whose inputs have values; {} if none."""
    able = [s for s in model.signatures.values() if _has_values(s.inputs.values()) and _named(s)]
    if not able:
        return {}
    default = default_signature(model)
    return with_examples(
        any_of([_request(model, s, default) for s in able]),
        {s.name: _example(s, default) for s in able if is_shown(s)},
    )


def answer_schema(model: ServedModel) -> Schema:
    """An answer of any signature."""
    return any_of([_answer(model, signature) for signature in model.signatures.values()])


def _named(signature: Signature) -> list[TensorSpec]:
    """The outputs that the protocol has a datatype for."""
    return [spec for spec in signature.outputs.values() if spec.dtype in DATATYPES]


def _has_values(specs: Iterable[TensorSpec]) -> bool:
    """Whether they can be told in JSON."""
    return all(DATATYPES.get(s.dtype) not in {None, *RAW_ONLY} for s in specs)


_PARAMETERS: Final = Component(
    "InferParameters",
    record(
        {},
        timeout=COUNT | {"description": "Microseconds that the answer may take; 0 for any."},
        priority=COUNT | {"description": "1 goes first, 2 is usual, then come the others."},
        binary_data_output=FLAG | {"description": "Whether outputs that do not say are raw."},
        signature_name=TEXT,
    )
    | {"additionalProperties": {"type": ["string", "number", "boolean"]}},
)
_OUTPUT_PARAMETERS: Final = Component(
    "OutputParameters",
    record(
        {},
        binary_data=FLAG,
        classification=COUNT | {"description": "So many of the best classes, for the scores."},
    ),
)


def _request(model: ServedModel, signature: Signature, default: Signature) -> Component:
    inputs = [_input(spec) for spec in signature.inputs.values()]
    tensors = list_of(any_of(inputs)) | {"minItems": len(inputs), "maxItems": len(inputs)}
    names = [spec.name for spec in _named(signature)]
    output = record({"name": {"enum": names}}, parameters=_OUTPUT_PARAMETERS)
    more = {"id": TEXT, "outputs": list_of(output)}
    if signature is default:
        schema = record({"inputs": tensors}, parameters=_PARAMETERS, **more)
    else:
        chosen = record({"signature_name": {"const": signature.name}})
        schema = record({"inputs": tensors, "parameters": {"allOf": [_PARAMETERS, chosen]}}, **more)
    return of_model(model, f"{signature.name}.infer", schema)


def _input(spec: TensorSpec) -> Schema:
    return record(
        {
            "name": {"const": spec.name},
            "shape": _shape(spec),
            "datatype": {"const": DATATYPES[spec.dtype]},
            "data": list_of(of_any_rank(NUMBERS.get(spec.dtype, STRING))),
        }
    )


def _shape(spec: TensorSpec) -> Schema:
    """The declared sizes; only integers, where any rank will do or trailing ones may be left."""
    if spec.shape is None or spec.shape[1:][-1:] == (1,):
        return list_of(COUNT)
    told = [COUNT | {"minimum": 1}] if spec.shape[:1] == (None,) else []
    told += [COUNT if size is None else {"const": size} for size in spec.shape[len(told) :]]
    limits: Schema = {"minItems": len(told), "maxItems": len(told)}
    return list_of(COUNT) | limits | ({"prefixItems": told} if told else {})


def _answer(model: ServedModel, signature: Signature) -> Component:
    forms = [form for spec in _named(signature) for form in _output(spec)]
    schema = record(
        {
            "model_name": {"const": model.name},
            "model_version": {"const": str(model.version)},
            "outputs": list_of(any_of(forms)),
        },
        id=TEXT,
    )
    return of_model(model, f"{signature.name}.inferred", schema)


def _output(spec: TensorSpec) -> list[Schema]:
    """Its values, the size of its raw ones, or its best classes as strings."""
    datatype = DATATYPES[spec.dtype]
    named = {"name": {"const": spec.name}, "shape": list_of(COUNT)}
    size = {"parameters": record({"binary_data_size": COUNT})}
    forms = [
        record(named | {"datatype": {"enum": [datatype, "BYTES"]}} | size),
        record(named | {"datatype": {"const": "BYTES"}, "data": list_of(STRING)}),
    ]
    if spec.dtype in NUMBERS:
        values = {"datatype": {"const": datatype}, "data": list_of(NUMBERS[spec.dtype])}
        forms.insert(0, record(named | values))
    return forms


def _example(signature: Signature, default: Signature) -> dict[str, Any]:
    """Ones of the declared shape, one row where there may be any number."""
    example: dict[str, Any] = {"inputs": [_example_of(s) for s in signature.inputs.values()]}
    parameters: dict[str, Any] = {}
    if signature is not default:
        parameters["signature_name"] = signature.name
    outputs = _named(signature)
    if not _has_values(outputs):
        parameters["binary_data_output"] = True
    if parameters:
        example["parameters"] = parameters
    if len(outputs) < len(signature.outputs):
        example["outputs"] = [{"name": spec.name} for spec in outputs]
    return example


def _example_of(spec: TensorSpec) -> dict[str, Any]:
    shape = sizes(spec.shape)
    told = {"name": spec.name, "shape": shape, "datatype": DATATYPES[spec.dtype]}
    return told | {"data": [one(spec.dtype)] * math.prod(shape)}
