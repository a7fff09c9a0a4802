"""Arrays as NumPy writes them to files: .npy, and .npz, which is a zip of them. Pure.

The formats are described with `numpy.lib.format`. NumPy's own reader trusts a file more than a body
deserves: it evaluates the header as Python, and makes room for whatever shape that names before it
looks for the elements. Here a header has three fields, its dtype is compared and never made, and
what it promises must be there. Objects, which NumPy pickles, are refused with every other dtype
that is not the declared one.
"""

import functools
import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import Final

import numpy as np

from server.errors import DecodeError, TooLarge
from server.signature import Array, Tensors, TensorSpec, names_text, shape_text

_VERSIONS: Final = {
    b"\x93NUMPY\x01\x00": struct.Struct("<H"),
    b"\x93NUMPY\x02\x00": struct.Struct("<I"),
    b"\x93NUMPY\x03\x00": struct.Struct("<I"),
}
"""How a file begins, and how the length of its header is written then."""

MAX_HEADER: Final = 10_000
"""Bytes of a header, most of them padding; NumPy's own limit."""

_SIZE: Final = r"[0-9]{1,18}L?\s*"
# Any order, either quote, with or without the last comma: as a Python literal may be written.
_HEADER: Final = re.compile(
    r"\s*\{\s*(?:(?:"
    r"['\"]descr['\"]\s*:\s*['\"](?P<order>[<>|=]?)(?P<code>[a-zA-Z][0-9]*)['\"]"
    r"|['\"]fortran_order['\"]\s*:\s*(?P<fortran>True|False)"
    rf"|['\"]shape['\"]\s*:\s*\(\s*(?P<shape>(?:{_SIZE},\s*)*(?:{_SIZE})?)\)"
    r")\s*(?:,\s*|(?=\}))){3}\}\s*"
)
_NUMBER: Final = re.compile("[0-9]+")

_MEMBER: Final = b"PK\x01\x02"
"""What every entry in the directory of a zip begins with."""

_MOST_MEMBERS: Final = 1024
"""Members of a zip, beyond which its directory is not even read. Far more than a model's inputs."""

_ENCRYPTED: Final = 1
_COMPRESSIONS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""The compressions that NumPy uses. Others may ask for gigabytes of memory to begin with."""

_BROKEN: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    NotImplementedError,
)
"""What `zipfile` raises on bytes that are no zip, or one of a kind it does not know."""


def read_npy(body: bytes | memoryview, spec: TensorSpec) -> Array:
    """One array of the declared dtype, in C order and this machine's byte order. DecodeError.

    It shares the memory of `body` where nothing has to be converted, and is read-only then.
    """
    order, fortran, shape, elements = _parse(body, spec)
    array = from_elements(elements, spec, shape[::-1] if fortran else shape)
    if fortran:
        array = array.transpose()
    if order == ">":
        # TensorFlow runs on little-endian machines, so this is the other order.
        array = array.byteswap()
    return array if array.flags.c_contiguous else array.copy(order="C")


def from_elements(elements: bytes | memoryview, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    """Elements side by side, in C order, as an array that shares their memory. DecodeError."""
    dtype = spec.numpy_dtype
    expected = math.prod(shape) * dtype.itemsize
    if len(elements) != expected:
        msg = (
            f"input {spec.name!r}: the shape {shape_text(shape)} of {spec.dtype} takes"
            f" {expected} bytes, got {len(elements)}"
        )
        raise DecodeError(msg)
    if dtype.kind == "b":
        # Any byte but 0 is true for NumPy, and only 1 for the rest of the world.
        array: Array = np.frombuffer(elements, np.uint8) != 0
    else:
        array = np.frombuffer(elements, dtype)
    try:
        return array.reshape(shape)
    except ValueError:
        # More dimensions than NumPy has, or no elements in huge ones.
        msg = f"input {spec.name!r}: there are no arrays of the shape {shape_text(shape)}"
        raise DecodeError(msg) from None


def write_npy(array: Array) -> bytes:
    """An array in version 1.0 of the format, in C order.

    bfloat16 has no name in it: NumPy reads such files as `V2`, to be viewed as bfloat16.
    """
    return _header(array.dtype.str, array.shape) + array.tobytes()


def read_npz(body: bytes, specs: Mapping[str, TensorSpec], limit: int) -> Tensors:
    """The arrays of a zip whose members are exactly the inputs. DecodeError.

    TooLarge if they say that they are larger than `limit` bytes together; they are never unpacked
    to more than they say.
    """
    if body.count(_MEMBER) > _MOST_MEMBERS:
        msg = f"the zip has more than {_MOST_MEMBERS} members"
        raise DecodeError(msg)
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            return _read_members(archive, specs, limit)
    except _BROKEN as error:
        msg = f"the body is not a zip that can be read: {error}"
        raise DecodeError(msg) from None


def write_npz(tensors: Tensors) -> bytes:
    """Arrays as a zip of .npy files, not compressed, as `numpy.savez` makes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in tensors.items():
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), write_npy(array))
    return buffer.getvalue()


def _parse(
    body: bytes | memoryview, spec: TensorSpec
) -> tuple[str, bool, tuple[int, ...], memoryview]:
    """Byte order, whether it is in Fortran's order, shape, and what comes behind the header."""
    view = memoryview(body)
    begins = bytes(view[:8])
    if begins not in _VERSIONS:
        msg = f"input {spec.name!r}: this is not a .npy file of version 1.0, 2.0 or 3.0"
        raise DecodeError(msg)
    length = _VERSIONS[begins]
    begin = len(begins) + length.size
    end = begin + (length.unpack(view[len(begins) : begin])[0] if len(view) >= begin else 0)
    if end - begin > MAX_HEADER:
        msg = f"input {spec.name!r}: the header of the .npy file is longer than {MAX_HEADER} bytes"
        raise DecodeError(msg)
    found = _HEADER.fullmatch(str(view[begin:end], "latin-1"))
    if found is None or None in found.groups():
        msg = (
            f"input {spec.name!r}: the header of the .npy file must be"
            " {'descr': DTYPE, 'fortran_order': BOOL, 'shape': TUPLE}"
        )
        raise DecodeError(msg)
    declared = spec.numpy_dtype.str[1:]
    if found["code"] != declared:
        came = found["order"] + found["code"]
        msg = f"input {spec.name!r} is {spec.dtype} ({declared!r}), the .npy file has {came!r}"
        raise DecodeError(msg)
    shape = tuple(int(size) for size in _NUMBER.findall(found["shape"]))
    return found["order"], found["fortran"] == "True", shape, view[end:]


@functools.lru_cache(maxsize=256)
def _header(descr: str, shape: tuple[int, ...]) -> bytes:
    """Everything before the elements; models answer in few shapes."""
    buffer = io.BytesIO()
    fields = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, fields)
    return buffer.getvalue()


def _read_members(archive: zipfile.ZipFile, specs: Mapping[str, TensorSpec], limit: int) -> Tensors:
    members = archive.infolist()
    names = sorted(member.filename.removesuffix(".npy") for member in members)
    if names != sorted(specs):
        came = names_text(name[:64] for name in names[:16])
        msg = f"the zip has the members {came}, expected the inputs {names_text(specs)}"
        raise DecodeError(msg)
    total = sum(member.file_size for member in members)
    if total > limit:
        msg = f"the members of the zip are {total} bytes, more than the {limit} that are unpacked"
        raise TooLarge(msg)
    tensors: Tensors = {}
    for member in members:
        name = member.filename.removesuffix(".npy")
        if member.flag_bits & _ENCRYPTED or member.compress_type not in _COMPRESSIONS:
            msg = f"input {name!r}: its member of the zip must be stored or deflated, and readable"
            raise DecodeError(msg)
        with archive.open(member) as file:
            # Without a number it would unpack everything, and look at the size afterwards.
            unpacked = file.read(member.file_size)
        tensors[name] = read_npy(unpacked, specs[name])
    return tensors
