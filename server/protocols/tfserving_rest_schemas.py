"""The bodies of TensorFlow Serving's REST API as JSON schemas, with examples. Pure."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from server.errors import InvalidArgument
from server.inference import ServedModel
from server.protocols.openapi_schemas import (
    FLAG,
    NUMBERS,
    STRING,
    TEXT,
    Component,
    Schema,
    any_of,
    is_shown,
    list_of,
    nested,
    of_model,
    one,
    record,
    rows_of,
    sizes,
    variants,
)
from server.protocols.tfserving_features import EXAMPLES
from server.protocols.tfserving_inputs import COLUMNS, ROWS
from server.protocols.tfserving_strings import BASE64, BYTES
from server.signature import DEFAULT_SIGNATURE, Shape, Signature, TensorSpec

_ALPHABET: Final = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}(==)?|[A-Za-z0-9+/]{3}=?)?$"
_BASE64: Final = Component(
    BASE64,
    record({BASE64: {"type": "string", "contentEncoding": "base64", "pattern": _ALPHABET}})
    | {"additionalProperties": False},
)
_STRING: Final = Component(
    "string", {"description": "Text, or any bytes in base64.", "anyOf": [TEXT, _BASE64]}
)


class Form(NamedTuple):
    """A way to ask one signature, and how it is answered then; `example` is None for none."""

    name: str
    request: Schema
    answer: Schema
    example: Any


# ---------------------------------------------------------------------------------------- predict


def predictions(model: ServedModel) -> list[Form]:
    """Every signature by rows and by columns."""
    return [form for s in model.signatures.values() for form in _forms(model, s)]


def _forms(model: ServedModel, signature: Signature) -> Iterator[Form]:
    """By rows and by columns; neither for what has no form in JSON, rows only where there are."""
    specs = [*signature.inputs.values(), *signature.outputs.values()]
    if any(spec.dtype not in NUMBERS and spec.dtype != "string" for spec in specs):
        return
    name = signature.name
    if _has_rows(signature):
        yield Form(
            f"{name}, by rows",
            of_model(model, f"{name}.{ROWS}", _body(signature, ROWS, _instances(signature))),
            of_model(model, f"{name}.predictions", record({"predictions": _rows(signature)})),
            _example(signature, ROWS),
        )
    yield Form(
        f"{name}, by columns",
        of_model(model, f"{name}.{COLUMNS}", _body(signature, COLUMNS, _columns(signature))),
        of_model(model, f"{name}.outputs", record({"outputs": _outputs(signature)})),
        _example(signature, COLUMNS),
    )


def _has_rows(signature: Signature) -> bool:
    """Whether there are rows to give, and rows to get: as many of every output."""
    outputs = [spec.shape for spec in signature.outputs.values()]
    shapes = [*outputs, *(spec.shape for spec in signature.inputs.values())]
    return () not in shapes and len({shape[0] for shape in outputs if shape}) <= 1


def _body(signature: Signature, key: str, tensors: Schema) -> Schema:
    if signature.name == DEFAULT_SIGNATURE:
        return record({key: tensors}, signature_name={"enum": [DEFAULT_SIGNATURE, ""]})
    return record({"signature_name": {"const": signature.name}, key: tensors})


def _instances(signature: Signature) -> Schema:
    """Rows as objects of all inputs, or as the bare value of the only one."""
    specs = signature.inputs
    members = {name: _row(spec, _read(spec)) for name, spec in specs.items()}
    first = {spec.shape[0] for spec in specs.values() if spec.shape}
    row = record(members) | {"additionalProperties": False}
    objects = rows_of(row, first.pop() if len(first) == 1 else None)
    if len(specs) != 1:
        return objects
    (spec,) = specs.values()
    return any_of([*_tensor(spec), objects])


def _columns(signature: Signature) -> Schema:
    """An object of whole tensors, or the bare one where there is only one."""
    tensors = {name: _tensor(spec) for name, spec in signature.inputs.items()}
    objects = record({name: any_of(tensor) for name, tensor in tensors.items()})
    if len(tensors) != 1:
        return objects
    (tensor,) = tensors.values()
    return any_of([*tensor, objects])


def _tensor(spec: TensorSpec) -> list[Schema]:
    """An input with all its rows, in every form that it may have."""
    if not spec.shape:
        return [nested(_read(spec), spec.shape)]
    return [rows_of(nested(_read(spec), shape[1:]), shape[0]) for shape in variants(spec.shape)]


def _row(spec: TensorSpec, element: Component) -> Schema:
    """One row of a tensor."""
    if spec.shape is None:
        return nested(element, None)
    return any_of([nested(element, shape[1:]) for shape in variants(spec.shape)])


def _rows(signature: Signature) -> Schema:
    """The rows of the only output; or an object of all outputs for each row."""
    specs = signature.outputs
    if len(specs) == 1:
        return _outputs(signature)
    return list_of(record({name: _row(spec, _written(spec)) for name, spec in specs.items()}))


def _outputs(signature: Signature) -> Schema:
    """The only output; or an object of them all."""
    columns = {
        name: any_of([nested(_written(spec), shape) for shape in _shapes(spec)])
        for name, spec in signature.outputs.items()
    }
    return next(iter(columns.values())) if len(columns) == 1 else record(columns)


def _read(spec: TensorSpec) -> Component:
    return NUMBERS.get(spec.dtype, _STRING)


def _written(spec: TensorSpec) -> Component:
    if spec.dtype == "string":
        return _BASE64 if spec.name.endswith(BYTES) else STRING
    return NUMBERS[spec.dtype]


def _shapes(spec: TensorSpec) -> Sequence[Shape | None]:
    return variants(spec.shape) if spec.shape else [spec.shape]


def _example(signature: Signature, key: str) -> Any:
    """Ones of the declared shape; one row of each tensor that may have any number."""
    if not is_shown(signature):
        return None
    columns = {name: _filled(spec) for name, spec in signature.inputs.items()}
    if len(columns) == 1:
        return _named(signature, {key: next(iter(columns.values()))})
    if key == COLUMNS:
        return _named(signature, {key: columns})
    rows = zip(*columns.values(), strict=False)
    return _named(signature, {key: [dict(zip(columns, row, strict=True)) for row in rows]})


def _filled(spec: TensorSpec) -> Any:
    value = one(spec.dtype)
    for size in reversed(sizes(spec.shape)):
        value = [value] * size
    return value


def _named(signature: Signature, body: dict[str, Any]) -> dict[str, Any]:
    default = signature.name == DEFAULT_SIGNATURE
    return body if default else {"signature_name": signature.name, **body}


# --------------------------------------------------------------------------- classify and regress

_SCALARS: Final = ({"type": "number"}, FLAG, _STRING)
_FEATURES: Final = Component(
    "Features",
    {
        "description": "By name: numbers, booleans or strings, one or a list of one kind.",
        "type": "object",
        "additionalProperties": {"anyOf": [*_SCALARS, *map(list_of, _SCALARS)]},
    },
)
_CLASS: Final = Component(
    "Class",
    {
        "description": "Label and score.",
        "type": "array",
        "prefixItems": [TEXT, NUMBERS["float32"]],
        "minItems": 2,
        "maxItems": 2,
    },
)
CLASSES: Final = Component("Classes", record({"results": list_of(list_of(_CLASS))}))
VALUES: Final = Component("Values", record({"results": list_of(NUMBERS["float32"])}))


def of_examples(
    model: ServedModel, check: Callable[[Signature], object], answer: Component
) -> list[Form]:
    """The signatures that take examples and pass `check`, which raises InvalidArgument."""
    return [
        Form(
            signature.name,
            of_model(model, f"{signature.name}.{EXAMPLES}", _of_examples(signature)),
            answer,
            _named(signature, {EXAMPLES: [{"x": 1.0}]}),
        )
        for signature in model.signatures.values()
        if _passes(check, signature)
    ]


def _of_examples(signature: Signature) -> Schema:
    body = _body(signature, EXAMPLES, list_of(_FEATURES) | {"minItems": 1})
    return body | {"properties": body["properties"] | {"context": _FEATURES}}


def _passes(check: Callable[[Signature], object], signature: Signature) -> bool:
    try:
        check(signature)
    except InvalidArgument:
        return False
    return True
