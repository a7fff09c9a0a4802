"""What a model takes and gives: tensor specifications, and the check that stops bad input. Pure.

Every tensor is checked against its signature before it reaches the queue, because TensorFlow does
not always raise on a wrong shape: some models abort the process on a wrong rank or on zero rows.

One leniency, which the quick start of TensorFlow Serving needs: trailing dimensions that a
signature declares as 1 and a request leaves out are added on the way in, removed on the way out.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

import ml_dtypes  # noqa: F401 - registers bfloat16
import numpy as np
from numpy.typing import NDArray

from server.errors import InvalidArgument

Array: TypeAlias = NDArray[Any]
Tensors: TypeAlias = dict[str, Array]
Shape: TypeAlias = tuple[int | None, ...]

DEFAULT_SIGNATURE: Final = "serving_default"

NUMPY_DTYPES: Final = frozenset(
    {"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}
    | {"float16", "bfloat16", "float32", "float64", "complex64", "complex128"}
)
"""The dtypes that TensorFlow and NumPy call by the same name; bfloat16 is known to NumPy once
`ml_dtypes` is imported, which is where TensorFlow has it from as well."""

_FLOATS: Final = ("float32", "float64")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, dtype and shape of one input or output.

    `dtype` is TensorFlow's name for it ("float32", "bool", "string"); None in `shape` is a
    dimension of any size, and a `shape` of None has any rank. `numpy_dtype` is what its arrays
    have; object for strings (bytes) and for what NumPy has no name for. `row_shape` is the shape
    of every row, None if rows differ in shape or there is no batch dimension; `row_nbytes` is what
    a row takes, 0 where that is not known either, as of strings. `tensor_name` is
    what the model itself calls it ("serving_default_x:0"), "" where models have no such names.
    """

    name: str
    dtype: str
    shape: Shape | None
    tensor_name: str = ""
    numpy_dtype: np.dtype[Any] = field(init=False)
    row_shape: tuple[int, ...] | None = field(init=False)
    row_nbytes: int = field(init=False)

    def __post_init__(self) -> None:
        numpy_name = self.dtype if self.dtype in NUMPY_DTYPES else "object"
        object.__setattr__(self, "numpy_dtype", np.dtype(numpy_name))
        sizes = self.shape[1:] if self.shape and self.has_batch_dimension else (None,)
        object.__setattr__(self, "row_shape", None if None in sizes else sizes)
        elements = 0 if self.row_shape is None else math.prod(self.row_shape)
        fixed = 0 if self.numpy_dtype.hasobject else self.numpy_dtype.itemsize
        object.__setattr__(self, "row_nbytes", elements * fixed)

    @property
    def has_batch_dimension(self) -> bool:
        """Whether the first dimension may have any size."""
        return bool(self.shape) and self.shape is not None and self.shape[0] is None

    def __str__(self) -> str:
        return f"{self.dtype}{shape_text(self.shape)}"


@dataclass(frozen=True, slots=True)
class Signature:
    """One function of a model, by name.

    `alone` says why its requests cannot share a batch; it is empty when they can. `method_name`
    is what TensorFlow Serving tells of it. `defaults` are values for inputs that a request may
    leave out; a protocol that lets it puts them in before the signature is validated.
    `only_floats` is the only input, if its rows are floats and of one shape, else None.
    """

    name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    method_name: str = "tensorflow/serving/predict"
    alone: str = ""
    defaults: Mapping[str, Array] = field(default_factory=dict)
    only_floats: TensorSpec | None = field(init=False, compare=False)

    def __post_init__(self) -> None:
        plain = [
            spec
            for spec in self.inputs.values()
            if spec.row_shape is not None and spec.dtype in _FLOATS and len(self.inputs) == 1
        ]
        object.__setattr__(self, "only_floats", plain[0] if plain else None)

    @property
    def batchable(self) -> bool:
        """Whether rows of several requests may run together."""
        return not self.alone

    @property
    def has_one_layout(self) -> bool:
        """Whether all rows have the same shapes."""
        return all(spec.row_shape is not None for spec in self.inputs.values())

    def running_alone(self, why: str) -> "Signature":
        """The same signature, not to be batched."""
        return replace(self, alone=why)


def why_alone(inputs: Mapping[str, TensorSpec], outputs: Mapping[str, TensorSpec]) -> str:
    """Why requests of such a signature cannot share a batch, as far as shapes tell; "" if they can.

    An output of unknown rank is believed until the warm-up has seen it.
    """
    if not inputs:
        return "it has no inputs"
    for kind, specs in (("input", inputs), ("output", outputs)):
        for spec in specs.values():
            if spec.shape is None and kind == "output":
                continue
            if not spec.has_batch_dimension:
                return f"{kind} {spec.name!r} has no batch dimension: {spec}"
    return ""


def validate(signature: Signature, tensors: Tensors) -> tuple[Tensors, int, int]:
    """Check tensors against a signature, whatever protocol they came by.

    Returns the tensors to run, their number of rows (1 for a signature that runs alone) and how
    many trailing dimensions were added (see `remove_added`). Raises InvalidArgument.
    """
    if tensors.keys() != signature.inputs.keys():
        msg = (
            f"signature {signature.name!r} takes the inputs {names_text(signature.inputs)},"
            f" the request has {names_text(tensors)}"
        )
        raise InvalidArgument(msg)
    rows = added = 0
    fitted: Tensors = {}
    for name, spec in signature.inputs.items():
        array = tensors[name]
        shape = array.shape
        # Most requests are plain, which takes one comparison for all of the row to see.
        plain = shape[1:] == spec.row_shape and array.dtype == spec.numpy_dtype
        if not (plain and shape and shape[0]):
            array, more = _fit(array, spec)
            added = max(added, more)
        fitted[name] = array
        if signature.alone:
            rows = 1
        elif not rows:
            rows = array.shape[0]
        elif rows != array.shape[0]:
            told = ", ".join(f"{name!r}: {tensors[name].shape[0]}" for name in signature.inputs)
            msg = f"inputs must agree on the number of rows, their first dimension; got {told}"
            raise InvalidArgument(msg)
    return fitted, rows or 1, added


def remove_added(signature: Signature, outputs: Tensors, added: int) -> Tensors:
    """Take away from outputs what `validate` added: trailing dimensions declared as 1."""
    lean: Tensors = {}
    for name, array in outputs.items():
        spec = signature.outputs.get(name)
        declared: Shape = () if spec is None or spec.shape is None else spec.shape
        surplus = 0
        while surplus < added and len(declared) - surplus > 1 and declared[-1 - surplus] == 1:
            surplus += 1
        lean[name] = array.reshape(array.shape[: array.ndim - surplus]) if surplus else array
    return lean


def _fit(array: Array, spec: TensorSpec) -> tuple[Array, int]:
    """The array in the rank of its spec, and how many dimensions that took. InvalidArgument."""
    if array.dtype != spec.numpy_dtype:
        msg = f"input {spec.name!r} is {spec}, got {array.dtype}"
        raise InvalidArgument(msg)
    shape, declared = array.shape, spec.shape
    added = 0
    if declared is not None:
        missing = len(declared) - len(shape)
        if 0 < missing < len(declared) and all(size == 1 for size in declared[-missing:]):
            added = missing
            shape = shape + (1,) * missing
        if len(shape) != len(declared) or any(
            size not in (None, got) for size, got in zip(declared, shape, strict=True)
        ):
            msg = f"input {spec.name!r} is {spec}, got the shape {shape_text(array.shape)}"
            raise InvalidArgument(msg)
    if shape and shape[0] == 0:
        msg = f"input {spec.name!r} has no rows: its shape is {shape_text(array.shape)}"
        raise InvalidArgument(msg)
    return (array.reshape(shape) if added else array), added


def shape_text(shape: Shape | None) -> str:
    """A shape as TensorFlow Serving writes it, -1 for any size."""
    if shape is None:
        return " of any rank"
    return f"[{','.join('-1' if size is None else str(size) for size in shape)}]"


def names_text(names: Iterable[str]) -> str:
    """Names as messages tell them."""
    return ", ".join(repr(name) for name in sorted(names)) or "none"
