"""TensorFlow's TensorProto to arrays and back, without an object for each number. Pure.

Written after the behaviour of tensorflow/core/framework/tensor.cc. A tensor comes as it lies in
memory, in `tensor_content`, or in the typed list of its dtype; content goes first. In a list, the
last value stands for all that are missing, and an empty list for zeros. What TensorFlow takes and
this refuses, as it would answer wrongly: more values than the shape has, and integers that do not
fit a narrow dtype.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import ml_dtypes
import numpy as np

from server.errors import DecodeError, InvalidArgument
from server.protocols.wire import message
from server.signature import Array, Shape, shape_text

TensorProto: Final = message("tensorflow.TensorProto")
PackedTensor: Final = message("tensorflow.PackedTensor")

LARGEST_FILL: Final = 64 * 2**20
"""Bytes that a tensor may grow to when its message does not hold all of its values.

What is sent in full is bounded by the size of messages; a shape and one value are not.
"""

MOST_FILLED_ROWS: Final = 2**16
"""First dimension of such a tensor: more rows than a queue is for, which are all to be cut up."""

MOST_DIMENSIONS: Final = 32
"""NumPy 1.26 has no arrays of more."""

SPAN: Final = 2**16
"""Elements of a list that are read in one go: about 3 ms."""

LONGEST_SHIFT: Final = 28
"""Of the lengths of strings, which have 32 bits."""


class _Kind(NamedTuple):
    """A dtype of arrays, and the list that holds its values.

    `bits` is what an element of an integer list stands for, None where the list, packed, is the
    array as it lies in memory.
    """

    dtype: np.dtype[Any]
    values: str
    bits: np.dtype[Any] | None = None


_STRING: Final = np.dtype(object)


def _kinds() -> Mapping[int, _Kind]:
    """The dtypes by their numbers in DataType."""
    number = TensorProto.DESCRIPTOR.fields_by_name["dtype"].enum_type.values_by_name
    kinds = {
        "DT_FLOAT": _Kind(np.dtype(np.float32), "float_val"),
        "DT_DOUBLE": _Kind(np.dtype(np.float64), "double_val"),
        "DT_COMPLEX64": _Kind(np.dtype(np.complex64), "scomplex_val"),
        "DT_COMPLEX128": _Kind(np.dtype(np.complex128), "dcomplex_val"),
        "DT_BOOL": _Kind(np.dtype(np.bool_), "bool_val"),
        "DT_HALF": _Kind(np.dtype(np.float16), "half_val", np.dtype(np.uint16)),
        "DT_BFLOAT16": _Kind(np.dtype(ml_dtypes.bfloat16), "half_val", np.dtype(np.uint16)),
        "DT_STRING": _Kind(_STRING, "string_val"),
    }
    for name in ("int8", "int16", "int32", "uint8", "uint16"):
        kinds[f"DT_{name.upper()}"] = _Kind(np.dtype(name), "int_val", np.dtype(name))
    for name in ("int64", "uint32", "uint64"):
        kinds[f"DT_{name.upper()}"] = _Kind(np.dtype(name), f"{name}_val", np.dtype(name))
    return {number[name].number: kind for name, kind in kinds.items()}


_KINDS: Final = _kinds()
_NUMBERS: Final = {kind.dtype: number for number, kind in _KINDS.items()}
_NAMES: Final = {"DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16"}


DATA_TYPES: Final[Mapping[str, int]] = {
    _NAMES.get(value.name, value.name.removeprefix("DT_").lower()): value.number
    for value in TensorProto.DESCRIPTOR.fields_by_name["dtype"].enum_type.values
}
"""The numbers of DataType by TensorFlow's own names of the dtypes: "float32", "string", "qint8"."""


# ------------------------------------------------------------------------------------- reading


def to_array(tensor: Any, where: str) -> Array:
    """The array of a TensorProto; strings are an object array of bytes. DecodeError.

    `where` is what errors call it.
    """
    kind = _KINDS.get(tensor.dtype)
    if kind is None:
        msg = f"{where} has the dtype number {tensor.dtype}, which has no values to send"
        raise DecodeError(msg)
    shape = _shape(tensor.tensor_shape, where)
    count = math.prod(shape)
    if tensor.tensor_content:
        values = _from_content(tensor.tensor_content, kind, count, shape, where)
    else:
        values = _from_list(tensor, kind, where)
        if len(values) > count:
            msg = f"{where} has the shape {shape_text(shape)} and {len(values)} values"
            raise DecodeError(msg)
        if len(values) < count:
            values = _filled(values, kind, count, shape, where)
    return values.reshape(shape)


def _shape(proto: Any, where: str) -> tuple[int, ...]:
    if proto.unknown_rank:
        msg = f"{where} has a shape of unknown rank"
        raise DecodeError(msg)
    if len(proto.dim) > MOST_DIMENSIONS:
        msg = f"{where} has {len(proto.dim)} dimensions, expected at most {MOST_DIMENSIONS}"
        raise DecodeError(msg)
    shape = tuple(dim.size for dim in proto.dim)
    if any(size < 0 for size in shape):
        msg = f"{where} has the shape {shape_text(shape)}, expected no negative dimensions"
        raise DecodeError(msg)
    # NumPy has no such array even if another dimension is 0.
    if math.prod(size or 1 for size in shape) >= 2**58:
        raise _too_large(shape, where)
    return shape


def _from_content(content: bytes, kind: _Kind, count: int, shape: Shape, where: str) -> Array:
    if kind.dtype == _STRING:
        return _strings(content, count, where)
    expected = count * kind.dtype.itemsize
    if len(content) != expected:
        msg = (
            f"{where} has {len(content)} bytes of content, expected {expected} for"
            f" {kind.dtype}{shape_text(shape)}"
        )
        raise DecodeError(msg)
    if kind.dtype == np.bool_ and np.frombuffer(content, np.uint8).max() > 1:
        msg = f"{where} has content that is neither true nor false, bytes other than 0 and 1"
        raise DecodeError(msg)
    return np.frombuffer(content, kind.dtype)


def _strings(content: bytes, count: int, where: str) -> Array:
    """Strings as they lie in memory: the length of each as a varint, then the bytes of all."""
    lengths = list(itertools.islice(_varints(content), count))
    start = lengths[-1][1] if lengths else 0
    if len(lengths) != count or start + sum(n for n, _ in lengths) != len(content):
        msg = f"{where} has {len(content)} bytes of content, which are not {count} strings"
        raise DecodeError(msg)
    strings = np.empty(count, _STRING)
    for place, (length, _) in enumerate(lengths):
        strings[place] = content[start : start + length]
        start += length
    return strings


def _varints(content: bytes) -> Iterator[tuple[int, int]]:
    """Numbers in groups of 7 bits, and the place after each; ends where one is too long."""
    number = shift = 0
    for place, octet in enumerate(content):
        number |= (octet & 0x7F) << shift
        if octet < 1 << 7:
            yield number, place + 1
            number = shift = 0
        elif (shift := shift + 7) > LONGEST_SHIFT:
            return


def _from_list(tensor: Any, kind: _Kind, where: str) -> Array:
    if kind.dtype == _STRING:
        return _one_by_one(tensor.string_val, _STRING)
    if kind.bits is not None:
        is_wide = kind.bits == np.uint64
        integers = _one_by_one(getattr(tensor, kind.values), np.dtype("u8" if is_wide else "i8"))
        limits = np.iinfo(kind.bits)
        if len(integers) and (integers.min() < limits.min or integers.max() > limits.max):
            msg = f"{where} has a value that does not fit {kind.bits}"
            raise DecodeError(msg)
        reinterpreted: Array = integers.astype(kind.bits).view(kind.dtype)
        return reinterpreted
    # Read again as a string of bytes, the packed list becomes an array at once: 0.07 ms for 150,000
    # floats, which one by one take 6.
    packed = getattr(PackedTensor.FromString(tensor.SerializeToString()), kind.values)
    if len(packed) % kind.dtype.itemsize:
        msg = f"{where} has half of a complex number at the end of its values"
        raise DecodeError(msg)
    return np.frombuffer(packed, kind.dtype)


def _one_by_one(values: Any, dtype: np.dtype[Any]) -> Array:
    """The array of a list whose elements become Python objects on the way, 50 ns each.

    Between its spans, other threads may have the interpreter.
    """
    array = np.empty(len(values), dtype)
    for start in range(0, len(values), SPAN):
        array[start : start + SPAN] = values[start : start + SPAN]
    return array


def _filled(values: Array, kind: _Kind, count: int, shape: tuple[int, ...], where: str) -> Array:
    """Repeat the last value for those that are missing; zeros if there is none."""
    if count * kind.dtype.itemsize > LARGEST_FILL or max(shape[:1], default=0) > MOST_FILLED_ROWS:
        raise _too_large(shape, where)
    zero: Any = b"" if kind.dtype == _STRING else 0
    filled = np.full(count, values[-1] if len(values) else zero, kind.dtype)
    filled[: len(values)] = values
    return filled


def _too_large(shape: Shape, where: str) -> DecodeError:
    return DecodeError(f"{where} has the shape {shape_text(shape)}, larger than its values explain")


# ------------------------------------------------------------------------------------- writing


def write(array: Array, tensor: Any, where: str) -> None:
    """Write an array into a PackedTensor, in the typed list of its dtype. InvalidArgument."""
    number = _NUMBERS.get(array.dtype)
    if number is None:
        msg = f"{where} is {array.dtype}, which has no form as a TensorProto"
        raise InvalidArgument(msg)
    kind = _KINDS[number]
    if kind.dtype == _STRING:
        tensor.string_val.extend(array.ravel().tolist())
    elif kind.bits is None:
        setattr(tensor, kind.values, array.tobytes())
    else:
        # protobuf writes the integers, and what it wrote is read as a string of bytes.
        integers = array.ravel().view(kind.bits).tolist()
        tensor.ParseFromString(TensorProto(**{kind.values: integers}).SerializeToString())
    tensor.dtype = number
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
