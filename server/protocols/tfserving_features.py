"""The body of TensorFlow Serving's classify and regress, and their answers, in JSON. Pure.

    {"signature_name"?, "context"?: features, "examples": [features, ...]}
    {"results": [[[label, score], ...], ...]}      of classify: for each example its classes
    {"results": [value, ...]}                      of regress: for each example its value

Features are an object of values, or lists of values, by name. All values of a feature are of one
kind, which its literals tell: a number with a point or an exponent is a float, one without is an
integer, as true and false are (1 and 0); a string is bytes, and so is `{"b64": ...}`. So `80` is
not what a model takes that parses floats. Written after tensorflow/serving (util/json_tensor.cc).
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from server.errors import DecodeError
from server.protocols.json_tensors import kind_of
from server.protocols.tfserving_examples import (
    classes_and_scores,
    examples_tensor,
    regressed,
)
from server.protocols.tfserving_outputs import write_numbers
from server.protocols.tfserving_strings import is_base64, text, to_bytes
from server.protocols.wire import message
from server.signature import Array, Signature, Tensors

EXAMPLES: Final = "examples"
CONTEXT: Final = "context"

_Example: Final = message("tensorflow.Example")

_KINDS: Final = {bool: "int64_list", int: "int64_list", float: "float_list", str: "bytes_list"}
"""Which field of a Feature takes a value of JSON; `{"b64": ...}` is a string."""

_TOLD: Final = {"int64_list": "integers", "float_list": "floats", "bytes_list": "strings"}

_BEYOND: Final = 2**63


def read_examples(body: Mapping[str, Any]) -> Array:
    """The serialized Examples in a body, each with the features of its context. DecodeError."""
    # One message after the other is both of them merged.
    context = _serialized(body[CONTEXT], f'"{CONTEXT}"') if CONTEXT in body else b""
    if EXAMPLES not in body:
        msg = f'the body must have "{EXAMPLES}"'
        raise DecodeError(msg)
    examples = body[EXAMPLES]
    if not isinstance(examples, list):
        msg = f'"{EXAMPLES}" must be a list, not {kind_of(examples)}'
        raise DecodeError(msg)
    return examples_tensor(
        [
            context + _serialized(example, f'"{EXAMPLES}"[{place}]')
            for place, example in enumerate(examples)
        ]
    )


def _serialized(features: Any, where: str) -> bytes:
    if not isinstance(features, dict):
        msg = f"{where} must be an object of features, not {kind_of(features)}"
        raise DecodeError(msg)
    example = _Example()
    for name, content in features.items():
        _fill(example.features.feature[name], content, f"{where} feature {name!r}")
    serialized: bytes = example.SerializeToString()
    return serialized


def _fill(feature: Any, content: Any, where: str) -> None:
    """Put a value, or a list of values of one kind, into a Feature. DecodeError."""
    values = content if isinstance(content, list) else [content]
    kind = ""
    for place, value in enumerate(values):
        came = _KINDS.get(type(value)) or ("bytes_list" if is_base64(value) else "")
        if not came or kind not in ("", came):
            told = f"{where}[{place}]" if values is content else where
            raise _unfit(value, came, kind, told)
        kind = came
    if kind == "int64_list":
        if max(values) >= _BEYOND:
            msg = f"{where}: an integer is larger than 64 bits can hold"
            raise DecodeError(msg)
        feature.int64_list.value.extend(map(int, values))
    elif kind == "float_list":
        feature.float_list.value.extend(values)
    elif kind == "bytes_list":
        feature.bytes_list.value.extend([to_bytes(value, where) for value in values])
    else:
        # An empty list is of no kind, and still the feature is there.
        feature.SetInParent()


def _unfit(value: Any, came: str, kind: str, where: str) -> DecodeError:
    if not came:
        told = f"must be a number, a boolean, a string or base64, not {kind_of(value)}"
    else:
        told = f"is of {_TOLD[came]} among {_TOLD[kind]}: a feature has one kind"
    return DecodeError(f"{where} {told}")


def write_classes(signature: Signature, outputs: Tensors, examples: int) -> bytes:
    """Write what `examples` were classified as. InvalidArgument for outputs that do not tell."""
    classes, scores = classes_and_scores(signature, outputs, examples)
    rows, columns = next(array.shape for array in (classes, scores) if array is not None)
    labels, numbers = [b'""'] * (rows * columns), [b"0.0"] * (rows * columns)
    if classes is not None:
        labels = [orjson.dumps(text(label, "a class")) for label in classes.ravel().tolist()]
    if scores is not None:
        numbers = write_numbers(scores.ravel())[1:-1].split(b",")
    pairs = [b"[%b,%b]" % pair for pair in zip(labels, numbers, strict=False)]
    told = [b"[%b]" % b",".join(pairs[row * columns : (row + 1) * columns]) for row in range(rows)]
    return b'{"results":[%b]}' % b",".join(told)


def write_values(signature: Signature, outputs: Tensors, examples: int) -> bytes:
    """Write the values of `examples`. InvalidArgument for outputs that do not tell them."""
    return b'{"results":%b}' % write_numbers(regressed(signature, outputs, examples))
