"""Outputs as TensorFlow Serving's JSON has them: rows or columns, its floats, its strings. Pure.

Floats always have a point or an exponent, so that they do not look like integers, and the fewest
digits that read back as the same float of their own width (0.2, not 0.20000000298023224). As long
as six digits are enough, TensorFlow Serving writes the same ones; beyond that it writes nine (17 of
a float64), which read back as the same float too, but cost four times as much to write. Its
notation (9e+06, 3e-05, as C's %g) is used for tensors of at most FEW numbers: to change what orjson
writes (9000000.0, 0.00003) takes a microsecond a number, 30 times as long as to write it.
"""

import re
from collections.abc import Mapping
from typing import Final

import numpy as np
import orjson

from server.errors import InvalidArgument
from server.protocols import strict_json
from server.protocols.json_tensors import READABLE
from server.protocols.tfserving_inputs import COLUMNS, ROWS
from server.protocols.tfserving_strings import dumps_strings
from server.signature import Array, Tensors, shape_text

FEW: Final = 64
"""The largest tensor whose floats are all in TensorFlow Serving's own notation."""

ANSWERS: Final = {ROWS: b"predictions", COLUMNS: b"outputs"}
"""The form of a request -> what its answer calls the outputs."""

_WRITABLE: Final = frozenset(np.dtype(name) for name in READABLE) | {np.dtype(object)}

_BYTES_A_NUMBER: Final = 64
"""How many bytes of strings are written in the time of a number."""

# Where orjson writes a float as %g would not. To look for a literal is fast: so conditions on what
# comes before one stand behind it.
_LETTER_E: Final = ord("e")
_SHORT_EXPONENT: Final = re.compile(rb"e-(?=[0-9](?![0-9]))")
_SMALL: Final = re.compile(rb"0\.0000(?<![0-9]0\.0000)(0*)([1-9])([0-9]*)")
_WHOLE: Final = re.compile(rb"0\.0(?![0-9])(?<=[0-9]{7}\.0)")
_LARGE: Final = re.compile(rb"(?<![0-9])[1-9][0-9]{0,5}0+\.0(?![0-9])(?<=[0-9]{7}\.0)")


def write_outputs(outputs: Tensors, form: str) -> bytes:
    """Write `{"predictions": rows}` or `{"outputs": columns}`. InvalidArgument if there is no such.

    A single output stands without its name.
    """
    for name, array in outputs.items():
        if array.dtype not in _WRITABLE:
            msg = f"output {name!r} is {array.dtype}, which has no JSON form"
            raise InvalidArgument(msg)
        if form == ROWS and not array.ndim:
            msg = f'output {name!r} is a scalar and has no rows: ask by "{COLUMNS}" instead'
            raise InvalidArgument(msg)
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        written = _values(name, array)
    elif form == COLUMNS:
        written = _object({name: _values(name, array) for name, array in outputs.items()})
    else:
        written = _rows(outputs)
    return b'{"%b":%b}' % (ANSWERS[form], written)


def printed_size(outputs: Tensors) -> int:
    """How many numbers take as long to write as these outputs."""
    size = 0
    for array in outputs.values():
        size += array.size
        if array.dtype.hasobject:
            size += sum(map(len, array.flat)) // _BYTES_A_NUMBER
    return size


def write_numbers(array: Array) -> bytes:
    """Write numbers or booleans as nested lists."""
    written = strict_json.dumps(array)
    return written if array.size > FEW else _as_g(written)


def _as_g(written: bytes) -> bytes:
    """Floats in the notation of %g; only what differs from it is looked at."""
    # An integer is looked for as a byte, at once; bytes would first be tried as an integer.
    if _LETTER_E in written:
        written = _SHORT_EXPONENT.sub(b"e-0", written)
    if written.find(b"0.0000") >= 0:
        written = _SMALL.sub(_small_as_g, written)
    if written.find(b"0.0") >= 0 and _WHOLE.search(written):
        written = _LARGE.sub(_large_as_g, written)
    return written


def _small_as_g(match: re.Match[bytes]) -> bytes:
    """0.0000123 -> 1.23e-05."""
    zeros, first, more = match.groups()
    return b"%b%b%be-%02d" % (first, b"." if more else b"", more, 5 + len(zeros))


def _large_as_g(match: re.Match[bytes]) -> bytes:
    """9000000.0 -> 9e+06, of at most six digits before the zeros."""
    return b"%g" % float(match[0])


def _values(name: str, array: Array) -> bytes:
    return dumps_strings(name, array) if array.dtype.hasobject else write_numbers(array)


def _object(members: Mapping[str, bytes]) -> bytes:
    return b"{%b}" % b",".join(b"%b:%b" % (orjson.dumps(k), v) for k, v in members.items())


def _rows(outputs: Tensors) -> bytes:
    """A list of objects, each with its row of every output."""
    rows = {len(array) for array in outputs.values()}
    if len(rows) != 1:
        told = ", ".join(f"{name!r}: {shape_text(a.shape)}" for name, a in outputs.items())
        msg = f"outputs disagree on the number of rows: {told}"
        raise InvalidArgument(msg)
    objects = [
        # The dots keep it an array where a row is a scalar.
        _object({name: _values(name, array[row, ...]) for name, array in outputs.items()})
        for row in range(rows.pop())
    ]
    return b"[%b]" % b",".join(objects)
