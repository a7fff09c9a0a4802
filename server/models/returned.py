"""What a Python function returned, as the arrays that its signature promises. On the model thread.

Nothing is converted that could change an answer: only what has no dtype of its own, as lists, takes
the declared one. Arrays are copied, for the function may keep them and write into them later.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from server.model import WrongOutput
from server.signature import Array, Signature, Tensors, TensorSpec, names_text, shape_text

_FITS: Final = {"b": "b", "i": "iu", "u": "iu", "f": "fiu", "V": "fiu", "c": "cfiu"}
"""For the kind of a declared dtype, the kinds of Python's numbers that it can hold. V: bfloat16."""


def named(returned: Any, signature: Signature) -> Mapping[str, Any]:
    """The outputs by name, from any of the forms that a function may give them. WrongOutput."""
    outputs = signature.outputs
    if isinstance(returned, Mapping):
        if returned.keys() != outputs.keys():
            came = names_text(map(str, returned))
            msg = f"returned a dict of {came}, expected {names_text(outputs)}"
            raise WrongOutput(msg)
        return returned
    several = isinstance(returned, tuple) or (isinstance(returned, list) and len(outputs) > 1)
    parts = returned if several else (returned,)
    if len(parts) != len(outputs):
        came = f"{len(parts)} outputs" if several else f"one {type(returned).__name__}"
        msg = f"returned {came}, expected {len(outputs)}: {names_text(outputs)}"
        raise WrongOutput(msg)
    return dict(zip(outputs, parts, strict=True))


def checked(returned: Any, signature: Signature, rows: int | None) -> Tensors:
    """The outputs as arrays of their own. WrongOutput where they are not as declared.

    `rows` is how many rows each must have; None if that is open.
    """
    arrays: Tensors = {}
    parts = named(returned, signature)
    for name, spec in signature.outputs.items():
        array = to_array(parts[name], spec)
        shape = array.shape
        if not shape or shape[1:] != spec.row_shape or (rows is not None and shape[0] != rows):
            check_shape(shape, spec, rows)
        arrays[name] = array
    return arrays


def to_array(value: Any, spec: TensorSpec) -> Array:
    """A new array of the declared dtype. WrongOutput."""
    if spec.dtype == "string":
        # Left to itself, NumPy would make texts of numbers beside them.
        return _strings(as_array(value, None if hasattr(value, "dtype") else np.object_), spec)
    array = as_array(value)
    if array.dtype == spec.numpy_dtype:
        return array.copy()
    if hasattr(value, "dtype") or not _holds(spec.numpy_dtype, array):
        raise _unlike(spec, f"{array.dtype}{shape_text(array.shape)}")
    return array.astype(spec.numpy_dtype)


def as_array(value: Any, dtype: type[np.object_] | None = None) -> Array:
    """What NumPy makes of an array of any framework, a number or nested lists. WrongOutput."""
    if isinstance(value, np.ndarray):
        return np.asarray(value)
    if hasattr(value, "detach"):
        # A tensor of PyTorch, which may be on another device or part of a gradient.
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value, dtype)
    except ValueError as error:
        msg = f"returned a {type(value).__name__} that is no array: its parts differ in shape"
        raise WrongOutput(msg) from error
    if dtype is None and array.dtype == object and not array.shape:
        msg = f"returned a {type(value).__name__}, expected an array"
        raise WrongOutput(msg)
    return array


def _holds(dtype: np.dtype[Any], array: Array) -> bool:
    """Whether numbers from lists have the same worth in a dtype; floats are rounded to it."""
    if not array.size:
        return True
    if array.dtype.kind not in _FITS[dtype.kind]:
        return False
    if dtype.kind not in "iu":
        return True
    limits = np.iinfo(dtype)
    return bool(limits.min <= array.min() and array.max() <= limits.max)


def _strings(array: Array, spec: TensorSpec) -> Array:
    """An array of `bytes`, text as UTF-8."""
    strings = [_bytes(value, spec) for value in array.ravel().tolist()]
    made = np.empty(len(strings), object)
    made[:] = strings
    return made.reshape(array.shape)


def _bytes(value: Any, spec: TensorSpec) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if not isinstance(value, bytes):
        raise _unlike(spec, f"an element of type {type(value).__name__}")
    return value


def check_shape(shape: tuple[int, ...], spec: TensorSpec, rows: int | None) -> None:
    """WrongOutput for a shape that is not the declared one, or has another number of rows."""
    declared = spec.shape
    if declared is not None and (
        len(declared) != len(shape)
        or any(size not in (None, got) for size, got in zip(declared, shape, strict=True))
    ):
        raise _unlike(spec, f"the shape {shape_text(shape)}")
    if rows is not None and shape[:1] != (rows,):
        msg = f"returned output {spec.name!r} of shape {shape_text(shape)} for {rows} rows"
        raise WrongOutput(msg)


def _unlike(spec: TensorSpec, came: str) -> WrongOutput:
    return WrongOutput(f"returned output {spec.name!r} with {came}, expected {spec}")
