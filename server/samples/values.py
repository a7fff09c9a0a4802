"""What sample requests are made of: tensors of one value, and how JSON and Python write them. Pure.

All elements of such a tensor are the same small number (valid as an index as well), so that however
large it is, a short expression makes it.
"""

import base64
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import numpy as np

from server.signature import NUMPY_DTYPES, Array, Signature, Tensors, TensorSpec

PREDICT, CLASSIFY, REGRESS = "predict", "classify", "regress"

_MOST_WRITTEN: Final = 32
"""Elements that are written out; more of them are made where the sample is pasted."""

_LONG: Final = 60
"""Columns of a list, beyond which its elements get lines of their own."""

_VALUES: Final = {"b": True, "i": 1, "u": 1, "f": 0.5, "c": 0.5 + 0j}
"""The elements by kind of dtype. bfloat16 is of a kind of its own."""


class NoForm(Exception):
    """There is no such request in this protocol; the message says why."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A tensor whose elements are all `value`: bool, int, float, complex or bytes."""

    spec: TensorSpec
    shape: tuple[int, ...]
    value: Any

    @property
    def array(self) -> Array:
        """The tensor itself."""
        return np.full(self.shape, self.value, self.spec.numpy_dtype)

    @property
    def row(self) -> "Filled":
        """One of its rows."""
        return Filled(self.spec, self.shape[1:], self.value)

    def of_rows(self, rows: int) -> "Filled":
        """The same with so many rows."""
        return Filled(self.spec, (rows, *self.shape[1:]), self.value)


class Nested(NamedTuple):
    """Lists in lists of one JSON value, in a shape."""

    element: Any
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """A request of one row, or of what a signature takes that runs alone.

    `features` are those of the serialized Example that its only input is, if it is one. `outputs`
    is what the model answered, None if it refused.
    """

    signature: Signature
    inputs: Mapping[str, Filled]
    features: Mapping[str, Filled] = field(default_factory=dict)
    outputs: Tensors | None = None
    verb: str = PREDICT

    @property
    def rows(self) -> int:
        """How many rows it has; 1 if it runs alone."""
        if not self.signature.batchable:
            return 1
        return next(iter(self.inputs.values())).shape[0]

    def of_rows(self, rows: int) -> "SampleRequest":
        """The same with so many rows, of a signature that has rows."""
        inputs = {name: tensor.of_rows(rows) for name, tensor in self.inputs.items()}
        return replace(self, inputs=inputs, outputs=None)

    def tensors(self, rows: int) -> Tensors:
        """Its inputs; of so many rows, if it can have more than one."""
        if rows == 1:
            return {name: tensor.array for name, tensor in self.inputs.items()}
        return {name: tensor.of_rows(rows).array for name, tensor in self.inputs.items()}


@dataclass(frozen=True, slots=True)
class Target:
    """Whom the samples ask, and where."""

    name: str
    host: str = "127.0.0.1"
    port: int = 8501
    grpc_port: int = 8500


def filled(spec: TensorSpec, unknown: int, string: bytes) -> Filled:
    """A tensor for an input: one row, dimensions of any size `unknown`. NoForm for odd dtypes."""
    shape: list[int | None] = [1] if spec.shape is None else list(spec.shape)
    if spec.has_batch_dimension:
        shape[0] = 1
    sizes = tuple(unknown if size is None else size for size in shape)
    if spec.dtype == "string":
        return Filled(spec, sizes, string)
    if spec.dtype not in NUMPY_DTYPES:
        msg = f"input {spec.name!r} is {spec.dtype}, of which there are no values to send"
        raise NoForm(msg)
    return Filled(spec, sizes, _VALUES.get(spec.numpy_dtype.kind, 0.5))


def text_or_base64(value: Any) -> Any:
    """A value as TensorFlow Serving's JSON has it."""
    if not isinstance(value, bytes):
        return value
    if value.isascii() and value.decode().isprintable():
        return value.decode()
    return {"b64": base64.b64encode(value).decode()}


def is_text(values: Iterable[bytes]) -> bool:
    """Whether all of these are UTF-8."""
    try:
        b"\n".join(values).decode()
    except UnicodeDecodeError:
        return False
    return True


def is_short(*tensors: Filled) -> bool:
    """Whether these are few enough numbers to be written out."""
    return sum(math.prod(tensor.shape) for tensor in tensors) <= _MOST_WRITTEN


def written(value: Any, *, python: bool = False) -> str:
    """A value of dicts, lists, `Nested` and scalars as JSON; or as a Python expression of it."""
    if isinstance(value, Nested):
        told = written(value.element, python=python)
        for size in reversed(value.shape):
            told = f"[{told}]*{size}" if python and size > 1 else f"[{', '.join([told] * size)}]"
        return told
    if isinstance(value, dict):
        members = [
            f"{written(k, python=python)}: {written(v, python=python)}" for k, v in value.items()
        ]
        between = ",\n  " if any("\n" in member for member in members) else ", "
        return f"{{{between.join(members)}}}"
    if isinstance(value, list):
        parts = [written(part, python=python) for part in value]
        if sum(map(len, parts)) > _LONG:
            return "[\n  " + ",\n  ".join(parts) + "]"
        return f"[{', '.join(parts)}]"
    if isinstance(value, bool):
        return str(value) if python else str(value).lower()
    # Python reads the escapes of JSON, but for characters that take two of them.
    return json.dumps(value, ensure_ascii=not python)
