"""Tensors of the Open Inference Protocol: datatypes, typed values and raw bytes. Pure; event loop.

Both transports carry tensors in two forms:

    values   elements by type, row by row: JSON's `data`, and the typed contents of gRPC. Lists may
             be nested in any way, as Triton has it: only the number of elements must fit the shape.
    raw      little endian, row by row, without gaps; BOOL is one byte, an element of BYTES is its
             length (unsigned, 4 bytes) and then its bytes.

Integers must fit their datatype, where Triton cuts them off. FP16 and BF16 have the raw form only.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final

import ml_dtypes
import numpy as np

from server.errors import DecodeError
from server.protocols.json_tensors import kind_of
from server.signature import Array, shape_text

DATATYPES: Final[Mapping[str, str]] = (
    {"bool": "BOOL", "float16": "FP16", "bfloat16": "BF16", "float32": "FP32", "float64": "FP64"}
    | {f"int{bits}": f"INT{bits}" for bits in (8, 16, 32, 64)}
    | {f"uint{bits}": f"UINT{bits}" for bits in (8, 16, 32, 64)}
    | {"string": "BYTES"}
)
"""TensorFlow's dtypes -> what the protocol calls them."""

INVALID: Final = "INVALID"
"""What stands for a dtype that the protocol has no word for, such as complex64."""

RAW_ONLY: Final = frozenset({"FP16", "BF16"})
"""The datatypes that have no form as typed values."""

MAX_ELEMENTS: Final = 2**40
"""A shape of as many elements is refused before anything is computed from it."""
MAX_RANK: Final = 32
"""NumPy's own limit, of its oldest version that is supported."""

_BOOL, _BYTES = "BOOL", "BYTES"
_NUMPY: Final[Mapping[str, np.dtype[Any]]] = {
    named: np.dtype(dtype)
    for dtype, named in DATATYPES.items()
    if dtype not in {"string", "bfloat16"}
} | {"BF16": np.dtype(ml_dtypes.bfloat16)}
_ELEMENTS: Final[Mapping[str, frozenset[type]]] = {
    "b": frozenset({bool}),
    "f": frozenset({int, float}),
    "i": frozenset({int}),
    "u": frozenset({int}),
}
"""For the kind of a dtype, what Python has for its elements once JSON or protobuf is read."""
_STRINGS: Final = frozenset({str, bytes})
_LENGTH: Final = struct.Struct("<I")


def datatype(dtype: str) -> str:
    """What the protocol calls a dtype of TensorFlow; INVALID if it has no word for it."""
    return DATATYPES.get(dtype, INVALID)


def check_shape(shape: Any, where: str = "shape") -> tuple[int, ...]:
    """A shape as a client wrote it: a list of integers from 0 on, of a bearable size. DecodeError.

    Dimensions of 0 count as 1 here: what they stand beside must be bearable too.
    """
    if not isinstance(shape, Sequence) or isinstance(shape, str):
        msg = f"{where} must be a list of integers, not {kind_of(shape)}"
        raise DecodeError(msg)
    if len(shape) > MAX_RANK:
        msg = f"{where} has {len(shape)} dimensions, more than {MAX_RANK}"
        raise DecodeError(msg)
    size = 1
    for place, dimension in enumerate(shape):
        if type(dimension) is not int or dimension < 0:
            came = dimension if type(dimension) is int else kind_of(dimension)
            msg = f"{where}[{place}] must be an integer from 0 on, not {came}"
            raise DecodeError(msg)
        size *= max(1, dimension)
        if size >= MAX_ELEMENTS:
            msg = f"{where} has {MAX_ELEMENTS} elements or more"
            raise DecodeError(msg)
    return tuple(shape)


def from_raw(raw: bytes | memoryview, datatype: str, shape: Sequence[int], where: str) -> Array:
    """The array of a checked shape in raw bytes. DecodeError, its message begins with `where`.

    Numbers are not copied: the array is read-only, keeps `raw` alive and may be unaligned. Any
    byte but 0 is true.
    """
    if datatype == _BYTES:
        return _as_objects(_split_strings(bytes(raw), math.prod(shape), where), shape)
    dtype = _numpy_dtype(datatype, where)
    expected = math.prod(shape) * dtype.itemsize
    if len(raw) != expected:
        msg = (
            f"{where} has {len(raw)} bytes, expected {expected}"
            f" for {datatype} of the shape {shape_text(tuple(shape))}"
        )
        raise DecodeError(msg)
    if datatype == _BOOL:
        flags: Array = np.frombuffer(raw, np.uint8) != 0
        return flags.reshape(shape)
    array: Array = np.frombuffer(raw, dtype)
    return array.reshape(shape)


def to_raw(array: Array) -> bytes:
    """The raw bytes of an array of numbers or booleans, or of an object array of `bytes`."""
    if array.dtype != np.object_:
        return array.tobytes()
    strings = array.ravel().tolist()
    lengths = map(_LENGTH.pack, map(len, strings))
    return b"".join(chain.from_iterable(zip(lengths, strings, strict=True)))


def from_values(values: Any, datatype: str, shape: Sequence[int], where: str) -> Array:
    """The array of a checked shape in a flat or nested list of values. DecodeError.

    Messages begin with `where`. `values` may be an array, see `json_arrays`. BYTES are strings
    (UTF-8), or `bytes` as protobuf has them. A number too large for its float type becomes an
    infinity.
    """
    if type(values) not in (list, np.ndarray):
        msg = f"{where} must be a list, not {kind_of(values)}"
        raise DecodeError(msg)
    if datatype in RAW_ONLY:
        msg = f"{where}: {datatype} has no form as values, send its bytes"
        raise DecodeError(msg)
    if isinstance(values, np.ndarray):
        return _from_numbers(values, datatype, shape, where)
    flat, kinds = _flatten(values)
    dtype = None if datatype == _BYTES else _numpy_dtype(datatype, where)
    allowed = _STRINGS if dtype is None else _ELEMENTS[dtype.kind]
    if not kinds <= allowed:
        raise _wrong_type(flat, allowed, datatype, where)
    _check_count(len(flat), shape, where)
    if dtype is None:
        return _as_objects([s.encode() if isinstance(s, str) else s for s in flat], shape)
    if dtype.kind in "iu" and flat:
        _check_range(min(flat), max(flat), dtype, datatype, where)
    return np.array(flat, dtype).reshape(shape)


def _from_numbers(numbers: Array, datatype: str, shape: Sequence[int], where: str) -> Array:
    """The same of an array of int64 or float64 that came in the place of lists."""
    allowed = _STRINGS if datatype == _BYTES else _ELEMENTS[_numpy_dtype(datatype, where).kind]
    kind = int if numbers.dtype.kind == "i" else float
    if kind not in allowed:
        msg = f"{where}: among the elements is {kind_of(kind())}, expected {datatype}"
        raise DecodeError(msg)
    _check_count(numbers.size, shape, where)
    dtype = _numpy_dtype(datatype, where)
    if dtype.kind in "iu":
        _check_range(int(numbers.min()), int(numbers.max()), dtype, datatype, where)
    return numbers.astype(dtype, copy=False).reshape(shape)


def _numpy_dtype(datatype: str, where: str) -> np.dtype[Any]:
    dtype = _NUMPY.get(datatype)
    if dtype is None:
        msg = f"{where}: there is no datatype {datatype[:64]!r}"
        raise DecodeError(msg)
    return dtype


def _split_strings(raw: bytes, count: int, where: str) -> list[bytes]:
    """The `count` elements of raw BYTES. DecodeError."""
    strings: list[bytes] = []
    place, end = 0, len(raw)
    while place < end and len(strings) < count:
        start = place + _LENGTH.size
        if start > end:
            msg = f"{where}: the length of element {len(strings)} is cut off"
            raise DecodeError(msg)
        place = start + _LENGTH.unpack_from(raw, place)[0]
        if place > end:
            msg = (
                f"{where}: element {len(strings)} has {place - start} bytes,"
                f" only {end - start} are left"
            )
            raise DecodeError(msg)
        strings.append(raw[start:place])
    if place < end or len(strings) < count:
        came = f"{len(strings)}" if place == end else f"more than {count}"
        msg = f"{where} has {came} elements, expected {count} for its shape"
        raise DecodeError(msg)
    return strings


def _as_objects(strings: list[bytes], shape: Sequence[int]) -> Array:
    # Without a look at the elements, of which NumPy would make arrays and widths.
    array = np.empty(len(strings), object)
    array[:] = strings
    return array.reshape(shape)


def _flatten(values: list[Any]) -> tuple[list[Any], set[type]]:
    """The elements of nested lists, in their order, and their types."""
    kinds = set(map(type, values))
    while kinds == {list}:
        values = list(chain.from_iterable(values))
        kinds = set(map(type, values))
    if list not in kinds:
        return values, kinds
    # Lists beside elements: each is looked at once, however deep they nest.
    flat: list[Any] = []
    levels = [iter(values)]
    while levels:
        for value in levels[-1]:
            if type(value) is list:
                levels.append(iter(value))
                break
            flat.append(value)
        else:
            levels.pop()
    return flat, set(map(type, flat))


def _wrong_type(
    flat: list[Any], allowed: frozenset[type], datatype: str, where: str
) -> DecodeError:
    place, value = next((p, v) for p, v in enumerate(flat) if type(v) not in allowed)
    return DecodeError(f"{where}: element {place} is {kind_of(value)}, expected {datatype}")


def _check_count(count: int, shape: Sequence[int], where: str) -> None:
    if count != math.prod(shape):
        msg = (
            f"{where} has {count} elements, expected {math.prod(shape)}"
            f" for the shape {shape_text(tuple(shape))}"
        )
        raise DecodeError(msg)


def _check_range(least: int, most: int, dtype: np.dtype[Any], datatype: str, where: str) -> None:
    limits = np.iinfo(dtype)
    if least < limits.min or most > limits.max:
        msg = f"{where}: a number is outside of {datatype}, {limits.min} to {limits.max}"
        raise DecodeError(msg)
