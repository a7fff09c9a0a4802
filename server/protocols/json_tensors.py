"""Nested JSON lists to arrays, as strictly as the inference protocols want it. Pure; event loop.

NumPy converts more than they allow (true to 1, 1.0 to an int, 256 to a byte), and lets one long
string make every element as wide. So the dtype that it finds in the lists decides first, and where
something may hide even from that, each element is looked at.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from server.errors import DecodeError
from server.signature import NUMPY_DTYPES, Array, TensorSpec

READABLE: Final = NUMPY_DTYPES - {"float16", "bfloat16", "complex64", "complex128"}
"""The dtypes of numbers that have a form in JSON."""

_FITS: Final = {"b": "b", "i": "iu", "u": "iu"}
"""For the kind of dtype that is wanted, the kinds that NumPy may find in the lists."""


def hides_nothing(raw: bytes, body: Mapping[str, Any], strings: int) -> bool:
    """Whether lists in `body` can hold nothing but numbers, seen from its bytes.

    They hold no booleans, nulls and strings if no such word is there, and no more quotes than the
    keys of `body` and `strings` more need. False says nothing: a look at each element will tell.
    """
    if raw.count(b'"') != 2 * (len(body) + strings):
        return False
    # Each of the words has one of these letters, which numbers and "instances" have not. To look
    # for a letter is thirty times faster: 784 floats in 41 µs, not 69 (`python -m bench codec`).
    if raw.find(b"u") < 0 and raw.find(b"l") < 0:
        return True
    # `in` would first try to take the word for a number, which costs more than to look for it.
    return raw.find(b"true") < 0 and raw.find(b"false") < 0 and raw.find(b"null") < 0


def to_array(values: Any, spec: TensorSpec, *, only_numbers: bool, where: str) -> Array:
    """Nested lists to an array of the declared dtype. DecodeError, saying where it goes wrong.

    `values` may be or hold arrays, see `json_arrays`. `only_numbers` is what `hides_nothing` found;
    `where` names the place for messages. The dtype must be READABLE. A number too large for its
    float type becomes an infinity, as TensorFlow Serving has it; adapters turn NumPy's warning of
    that off, once for all requests where they can.
    """
    wanted = spec.numpy_dtype
    if isinstance(values, np.ndarray):
        return from_numbers(values, spec, where)
    if not only_numbers:
        _check_elements(values, spec, where)
    try:
        if wanted.kind == "f":
            # Every number will do, and there is nothing else: no look at what NumPy would find.
            return np.array(values, wanted)
        array: Array = np.array(values)
    except (ValueError, TypeError, OverflowError):
        raise _unequal(values, spec, where) from None
    kind = array.dtype.kind
    if kind not in _FITS[wanted.kind]:
        _check_elements(values, spec, where)
        if kind not in "fiub":
            # Nothing is wrong with the elements, and still this is no tensor: there are none.
            raise _unequal(values, spec, where)
    if wanted.kind in "iu" and array.size:
        if kind == "f":
            # Integers on both sides of 2**63, which NumPy knows no other common dtype for.
            array = np.array(values, object)
        _check_range(array, spec, where)
    return array.astype(wanted)


def from_numbers(array: Array, spec: TensorSpec, where: str) -> Array:
    """An array that came in the place of lists (see `json_arrays`). DecodeError."""
    wanted = spec.numpy_dtype
    if wanted.kind == "f":
        # By way of a double, as from lists.
        return array.astype(np.float64, copy=False).astype(wanted, copy=False)
    if array.dtype.kind not in _FITS[wanted.kind]:
        came = "numbers" if wanted.kind == "b" else "floating-point numbers"
        msg = f"{where}: input {spec.name!r} is {spec.dtype}, got {came}"
        raise DecodeError(msg)
    _check_range(array, spec, where)
    return array.astype(wanted, copy=False)


def _check_range(array: Array, spec: TensorSpec, where: str) -> None:
    limits = np.iinfo(spec.numpy_dtype)
    if int(array.min()) < limits.min or int(array.max()) > limits.max:
        msg = f"{where}: a number is outside of {spec.dtype}, {limits.min} to {limits.max}"
        raise DecodeError(msg)


def _check_elements(values: Any, spec: TensorSpec, where: str) -> None:
    """Find the first element that is not what the dtype needs. DecodeError."""
    allowed = {"b": (bool,), "f": (int, float)}.get(spec.numpy_dtype.kind, (int,))
    # The lists that the walk is in, each with how far it has come, under a list of them all.
    levels = [enumerate([values])]
    places = [0]
    while levels:
        for place, value in levels[-1]:
            if type(value) in allowed or _is_allowed(value, spec):
                continue
            places[-1] = place
            if type(value) is not list:
                raise no_element(value, spec, f"{where}{place_text(places[1:])}")
            levels.append(enumerate(value))
            places.append(0)
            break
        else:
            levels.pop()
            places.pop()


def _is_allowed(value: Any, spec: TensorSpec) -> bool:
    """Whether it is an array in the place of lists of allowed elements."""
    kind = spec.numpy_dtype.kind
    return type(value) is np.ndarray and (kind == "f" or value.dtype.kind in _FITS[kind])


def _unequal(values: Any, spec: TensorSpec, where: str) -> DecodeError:
    """Lists of unequal length or depth, if it is not an element that is wrong."""
    _check_elements(values, spec, where)
    return uneven(spec, where)


def uneven(spec: TensorSpec, where: str) -> DecodeError:
    """What to raise for lists that are no tensor."""
    return DecodeError(
        f"{where}: lists of one level must have one length and one depth,"
        f" input {spec.name!r} is {spec}"
    )


def no_element(value: Any, spec: TensorSpec, where: str) -> DecodeError:
    """What to raise for an element of another type than the dtype needs."""
    return DecodeError(f"{where}: input {spec.name!r} is {spec.dtype}, got {kind_of(value)}")


def place_text(places: Iterable[int]) -> str:
    """Where an element is in nested lists, for messages: [0][2]."""
    return "".join(f"[{place}]" for place in places)


def kind_of(value: Any) -> str:
    """What a JSON value is, for messages."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    names |= {int: "an integer", float: "a floating-point number", type(None): "null"}
    names |= {np.ndarray: "a list of numbers"}
    return names[type(value)]
