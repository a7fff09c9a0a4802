"""Tensors of strings as TensorFlow Serving's JSON has them: text, or bytes in base64. Pure.

    in    a JSON string, or an object whose only key is "b64" and whose value is a string; whatever
          the input is called
    out   a JSON string; `{"b64": ...}` for outputs whose name ends in "_bytes"

Base64 is the standard alphabet; on the way in its padding may be left out, but not be wrong, and
nothing else may stand in it. TensorFlow Serving writes bytes that are no UTF-8 into a JSON string
as they are, which no client can read: here they are an error that says what to do.
"""

import binascii
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
import orjson

from server.errors import DecodeError, InvalidArgument
from server.protocols.json_tensors import no_element, place_text, uneven
from server.signature import Array, TensorSpec

BASE64: Final = "b64"
BYTES: Final = "_bytes"
"""How the name of an output ends whose strings are written in base64."""


def is_base64(value: Any) -> bool:
    """Whether a JSON value is an object that stands for a string."""
    return type(value) is dict and len(value) == 1 and type(value.get(BASE64)) is str


def to_bytes(value: Any, where: str) -> bytes:
    """The string that a JSON string or an `is_base64` object stands for. DecodeError."""
    if type(value) is str:
        return value.encode()
    encoded = value[BASE64]
    if "=" not in encoded:
        encoded += "=" * (-len(encoded) % 4)
    try:
        return binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError as error:
        reason = error if isinstance(error, binascii.Error) else "it is not ASCII"
        msg = f"{where}: {BASE64!r} is not base64: {reason}"
        raise DecodeError(msg) from None


def to_strings(values: Any, spec: TensorSpec, where: str) -> Array:
    """Nested lists to an array of bytes (dtype object). DecodeError, saying where it goes wrong."""
    shape: list[int] = []
    level: Sequence[Any] = [values]
    while level and type(level[0]) is list:
        size = len(level[0])
        for place, part in enumerate(level):
            if type(part) is not list or len(part) != size:
                raise _unfit(part, spec, f"{where}{_place(place, shape)}", where)
        shape.append(size)
        level = list(chain.from_iterable(level))
    array = np.empty(len(level), object)
    for place, value in enumerate(level):
        if type(value) is str:
            array[place] = value.encode()
        elif is_base64(value):
            array[place] = to_bytes(value, f"{where}{_place(place, shape)}")
        else:
            raise _unfit(value, spec, f"{where}{_place(place, shape)}", where)
    return array.reshape(shape)


def _unfit(part: Any, spec: TensorSpec, place: str, where: str) -> DecodeError:
    """A list or an element where the other was expected, or something that is neither."""
    is_fit = type(part) in (list, str) or is_base64(part)
    return uneven(spec, where) if is_fit else no_element(part, spec, place)


def _place(place: int, shape: Sequence[int]) -> str:
    return place_text(int(index) for index in np.unravel_index(place, shape)) if shape else ""


def dumps_strings(name: str, array: Array) -> bytes:
    """Write an output of strings as nested lists. InvalidArgument if they are not text."""
    written = np.empty(array.size, object)
    for place, value in enumerate(array.ravel().tolist()):
        if name.endswith(BYTES):
            written[place] = {BASE64: binascii.b2a_base64(value, newline=False).decode()}
        else:
            where = f"output {name!r}{_place(place, array.shape)}"
            written[place] = text(value, where, f"; if its name ended in {BYTES!r}, it could be")
    return orjson.dumps(written.reshape(array.shape).tolist())


def text(value: bytes, where: str, advice: str = "") -> str:
    """A string as text. InvalidArgument if it is not."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        msg = f"{where} is not UTF-8 and cannot be written in JSON{advice}"
        raise InvalidArgument(msg) from None
