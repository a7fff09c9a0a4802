"""JSON schemas of tensors, and examples of them, for descriptions in OpenAPI 3.1. Pure.

A `Component` is written once, among the schemas of the document, and referred to from wherever it
stands (`server.openapi` does that): so functions give schemas whole.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from server.inference import ServedModel
from server.signature import Shape, Signature

Schema: TypeAlias = dict[str, Any]


class Component(dict[str, Any]):
    """A schema with a name of its own; never changed once it is made."""

    def __init__(self, name: str, schema: Schema) -> None:
        super().__init__(schema)
        self.name: Final = name


def of_model(model: ServedModel, what: str, schema: Schema) -> Component:
    """What is a model's own."""
    return Component(f"{model.name}.{model.version}.{what}", schema)


TEXT: Final[Schema] = {"type": "string"}
FLAG: Final[Schema] = {"type": "boolean"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}


def record(required: Mapping[str, Any], **more: Any) -> Schema:
    """An object: these members, and whatever else."""
    return {
        "type": "object",
        "properties": {**required, **more},
        "required": list(required),
    }


def list_of(schema: Schema) -> Schema:
    """Any number of them."""
    return {"type": "array", "items": schema}


def any_of(schemas: Iterable[Schema]) -> Schema:
    """One of these, each told once; anything, if there are none."""
    told = list({id(schema): schema for schema in schemas}.values())
    if len(told) == 1:
        return told[0]
    return {"anyOf": told} if told else {}


# ----------------------------------------------------------------------------------- the elements


def _float(name: str, openapi_format: str) -> Component:
    bare = "NaN, Infinity and -Infinity are bare tokens, which strict JSON has not."
    return Component(name, {"type": "number", "format": openapi_format, "description": bare})


def _integer(name: str, bits: int) -> Component:
    low = 0 if name.startswith("u") else -(2 ** (bits - 1))
    return Component(name, {"type": "integer", "minimum": low, "maximum": low + 2**bits - 1})


NUMBERS: Final[Mapping[str, Component]] = {
    "bool": Component("bool", FLAG),
    "float32": _float("float32", "float"),
    "float64": _float("float64", "double"),
    **{f"int{bits}": _integer(f"int{bits}", bits) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": _integer(f"uint{bits}", bits) for bits in (8, 16, 32, 64)},
}
"""The dtypes that have the same form in the JSON of all protocols."""

STRING: Final = Component("text", TEXT)


MOST_SHOWN: Final = 1024
"""Elements, beyond which an example of tensors is too long to be read or pasted."""


def nested(element: Component, shape: Shape | None) -> Schema:
    """Lists in lists, down to elements."""
    if shape is None:
        return of_any_rank(element)
    schema: Schema = element
    elements = 1
    for size in reversed(shape):
        elements *= size or 1
        schema = list_of(schema) | ({} if size is None else _exactly(size, elements))
    return schema


def rows_of(schema: Schema, size: int | None) -> Schema:
    """A list with the size of a first dimension, which is at least 1."""
    return list_of(schema) | ({"minItems": 1} if size is None else _exactly(size, size))


def _exactly(size: int, elements: int) -> Schema:
    """The length of a list that has so many `elements`, with all lists in it."""
    if elements <= MOST_SHOWN:
        return {"minItems": size, "maxItems": size}
    # Viewers make examples of their own from the least length, and choke on images.
    return {"maxItems": size, "description": f"Exactly {size}."}


def of_any_rank(element: Component) -> Component:
    """An element, or lists of such, as deep as they like."""
    name = f"{element.name}.any-rank"
    inner = list_of({"$ref": f"#/components/schemas/{name}"})
    return Component(name, {"anyOf": [element, inner]})


def variants(shape: Shape) -> list[Shape]:
    """The shapes that a tensor may have: trailing dimensions declared as 1 may be left out."""
    found = [shape]
    while len(found[-1]) > 1 and found[-1][-1] == 1:
        found.append(found[-1][:-1])
    return found


# ----------------------------------------------------------------------------------- the examples

_ONES: Final = {"bool": True, "string": "text", "float32": 1.0, "float64": 1.0}


def one(dtype: str) -> Any:
    """An element for an example."""
    return _ONES.get(dtype, 1)


def sizes(shape: Shape | None) -> list[int]:
    """A shape for an example: one of what there may be any number of."""
    return [1] if shape is None else [1 if size is None else size for size in shape]


def is_shown(signature: Signature) -> bool:
    """Whether its inputs are small enough for an example."""
    specs = signature.inputs.values()
    return sum(math.prod(sizes(spec.shape)) for spec in specs) <= MOST_SHOWN


def with_examples(schema: Schema, examples: Mapping[str, Any]) -> dict[str, Any]:
    """A media type with its examples by name, if there are any."""
    told = {name: {"value": value} for name, value in examples.items()}
    return {"schema": schema, "examples": told} if told else {"schema": schema}
