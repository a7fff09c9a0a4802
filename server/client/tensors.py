"""What callers give as inputs, as arrays that can be sent. Pure.

Arrays are sent in their own dtype: to change it might change answers. Lists have none, and get that
of the input they are for, if all their elements fit. Strings become objects of `bytes`, in UTF-8,
which is what answers have as well.
"""

from collections.abc import Mapping
from typing import Any, Final

import ml_dtypes
import numpy as np
from numpy.typing import ArrayLike

from server.client.errors import InvalidRequest
from server.protocols.json_tensors import uneven
from server.signature import NUMPY_DTYPES, Array, Signature, Tensors, TensorSpec, names_text

_FITS: Final = {"b": "b", "i": "iu", "u": "iu", "f": "iuf", "V": "iuf", "c": "iufc"}
"""For the kind of dtype that is wanted, the kinds of lists that may become one; bfloat16 is a V."""


def all_arrays(inputs: Mapping[str, ArrayLike]) -> bool:
    """Whether no signature is needed to send these."""
    return all(isinstance(value, (np.ndarray, np.generic)) for value in inputs.values())


def from_file(array: Array) -> Array:
    """An array as it was written: NumPy's files have no name for bfloat16, and call it V2."""
    return array.view(ml_dtypes.bfloat16) if array.dtype == np.dtype("V2") else array


def as_arrays(inputs: Mapping[str, ArrayLike], signature: Signature | None) -> Tensors:
    """Inputs as arrays; lists need the signature. InvalidRequest."""
    arrays: Tensors = {}
    for name, value in inputs.items():
        if isinstance(value, (np.ndarray, np.generic)):
            arrays[name] = _plain(np.asarray(value), name)
            continue
        spec = signature.inputs.get(name) if signature else None
        if spec is None:
            known = names_text(signature.inputs) if signature else "unknown"
            msg = f"the model has no input {name!r}; its inputs are {known}"
            raise InvalidRequest(msg)
        arrays[name] = from_lists(value, spec)
    return arrays


def from_lists(values: Any, spec: TensorSpec) -> Array:
    """Nested lists, or a scalar, as an array of the declared dtype. InvalidRequest."""
    wanted = spec.numpy_dtype
    try:
        # As objects where it matters: NumPy's own strings lose zeros at their ends.
        array: Array = np.array(values, object) if wanted.hasobject else np.array(values)
    except ValueError:
        raise _uneven(spec) from None
    if wanted.hasobject:
        return _strings(array, spec.name)
    if array.dtype.hasobject or (array.size and array.dtype.kind not in _FITS[wanted.kind]):
        msg = f"input {spec.name!r} is {spec}, got {array.dtype.name}"
        raise InvalidRequest(msg)
    if wanted.kind in "iu" and array.size:
        limits = np.iinfo(wanted)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            msg = f"input {spec.name!r}: a number is outside of {spec.dtype}"
            raise InvalidRequest(msg)
    with np.errstate(over="ignore"):
        return array.astype(wanted)


def _plain(array: Array, name: str) -> Array:
    """An array of a dtype that models have, in this machine's byte order. InvalidRequest."""
    if array.dtype.kind in "OSUT":
        return _strings(array.astype(object), name)
    if array.dtype.name not in NUMPY_DTYPES:
        msg = f"input {name!r} is {array.dtype}, which no model takes"
        raise InvalidRequest(msg)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _strings(array: Array, name: str) -> Array:
    """An array of `str` and `bytes` as one of `bytes`. InvalidRequest."""
    flat = np.empty(array.size, object)
    for place, element in enumerate(array.ravel().tolist()):
        if not isinstance(element, (str, bytes)):
            kind = type(element).__name__
            msg = f"input {name!r}: strings of one shape were expected, element {place} is {kind}"
            raise InvalidRequest(msg)
        flat[place] = element.encode() if isinstance(element, str) else element
    return flat.reshape(array.shape)


def _uneven(spec: TensorSpec) -> InvalidRequest:
    return InvalidRequest(str(uneven(spec, "the input")))
