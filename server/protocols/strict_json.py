"""JSON as the inference protocols read and write it: strict, but for NaN and the infinities. Pure.

    reading   RFC 8259, and the bare tokens NaN, Inf, Infinity and their negatives; at most 1,024
              levels of nesting, somewhat fewer beside such a token; integers beyond 64 bits become
              floats; numbers beyond a double, lone surrogates and bytes after the value are errors.
    writing   floats by the fewest digits that read back as the same float of their own width
              (0.2, not 0.20000000298023224), NaN and the infinities as bare tokens.

orjson does both but for the tokens, which it neither reads nor writes: for those alone the standard
library parses again, after orjson has found everything else to be in order.
"""

import json
import math
import re
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from server.errors import DecodeError
from server.protocols import json_arrays

MAX_NESTING: Final = 1024
"""orjson's own limit."""

MANY: Final = 16 * 1024
"""Elements that are written at once: about a millisecond's work."""

# Nothing is ever given back, and a string without an end reaches to the end of the body: otherwise
# a body of many quotes would take time that grows with the square of its length.
_STRING: Final = rb'"(?:[^"\\]++|\\.)*+"?+'
_TOKEN: Final = re.compile(_STRING + rb"|-?(?:NaN|Inf(?:inity)?)\b", re.DOTALL)
_BRACKET: Final = re.compile(_STRING + rb"|[\[\]{}]", re.DOTALL)
_SPACED: Final = re.compile(rb"(\s*+)([\[{])(\s+)")
_IN_PYTHON: Final = {b"Inf": b"Infinity", b"-Inf": b"-Infinity", b"-NaN": b"NaN"}
_BOM: Final = b"\xef\xbb\xbf"


def loads(body: bytes, *, arrays: bool = False) -> Any:
    """Parse one JSON value. DecodeError.

    With `arrays`, large lists of numbers may be NumPy's arrays, of int64 or float64 and the shape
    of the lists, in the place of lists (see `json_arrays`).
    """
    body = body.removeprefix(_BOM)
    if arrays and len(body) >= json_arrays.LARGE:
        value = _with_arrays(body)
        if value is not None:
            return value
    return _loads(body)


def _loads(body: bytes) -> Any:
    try:
        return _parse(body)
    except orjson.JSONDecodeError as error:
        if b"NaN" in body or b"Inf" in body:
            return _loads_with_tokens(body)
        if _nests_too_deep(body[: error.pos + 1]):
            msg = f"the JSON body nests deeper than {MAX_NESTING} levels"
            raise DecodeError(msg) from None
        raise _not_json(body, error) from None


def _with_arrays(body: bytes) -> Any:
    """The value, if it has large arrays, and nothing is wrong with it; else None."""
    lifted = json_arrays.lift(body, _loads)
    if lifted is None:
        return None
    try:
        return lifted.put_back(_loads(lifted.rest))
    except DecodeError:
        return None  # Who reads the whole tells the place.


def _parse(body: bytes) -> Any:
    """What orjson makes of it. JSONDecodeError.

    A body whose first bracket has two spaces behind it is taken for one that is mostly spaces; when
    it is not, orjson runs out of the memory that it thought would do. So they go elsewhere.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if "memory" not in error.msg or not _SPACED.match(body):
            raise
        return orjson.loads(_SPACED.sub(rb"\1\3\2", body, count=1))


def dumps(array: NDArray[Any]) -> bytes:
    """Write an array of numbers or booleans as nested lists.

    Large ones are written in parts, between which other threads come to their turn.
    """
    if array.size <= MANY:
        return _dumps(array)
    each = array[0].size
    if each > MANY:
        parts = [dumps(row) for row in array]
    else:
        rows = MANY // each
        spans = range(0, len(array), rows)
        parts = [_dumps(array[at : at + rows])[1:-1] for at in spans]
    return b"[%b]" % b",".join(parts)


def _dumps(array: NDArray[Any]) -> bytes:
    # orjson knows NumPy's scalars and arrays, but not arrays without dimensions.
    value = np.ascontiguousarray(array) if array.ndim else array[()]
    written = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    # It writes null for what JSON has no number for, and for nothing else here: to look for that is
    # much cheaper than to ask every element whether it is finite. (`in` would first try to take the
    # word for a number, which costs more than to look for it.)
    if written.find(b"null") >= 0:
        return json.dumps(_shortest(array), separators=(",", ":")).encode()
    return written


def _loads_with_tokens(body: bytes) -> Any:
    # Outside of strings, where the alternative that matches strings keeps it from looking.
    def as_list(match: re.Match[bytes]) -> bytes:
        # Of the same length, so that errors tell the right place. Unlike a number it cannot become
        # one with what stands beside it (1NaN), and unlike a string it cannot be a key.
        token = match[0]
        return token if token.startswith(b'"') else b"[%b]" % (b" " * (len(token) - 2))

    def as_python(match: re.Match[bytes]) -> bytes:
        return _IN_PYTHON.get(match[0], match[0])

    try:
        _parse(_TOKEN.sub(as_list, body))
    except orjson.JSONDecodeError as error:
        raise _not_json(body, error) from None
    try:
        return json.loads(_TOKEN.sub(as_python, body).decode(), parse_int=_int_or_float)
    except RecursionError:
        msg = "the JSON body nests too deep"
        raise DecodeError(msg) from None


def _int_or_float(digits: str) -> int | float:
    number = int(digits) if len(digits) <= len(str(2**64)) else math.inf
    return number if -(2**63) <= number < 2**64 else float(digits)


def _nests_too_deep(body: bytes) -> bool:
    """Whether it does so before anything else is wrong; looks no further than it has to."""
    depth = 0
    for match in _BRACKET.finditer(body):
        if match[0] in (b"[", b"{"):
            depth += 1
            if depth > MAX_NESTING:
                return True
        elif match[0] in (b"]", b"}"):
            depth -= 1
    return False


def _not_json(body: bytes, error: orjson.JSONDecodeError) -> DecodeError:
    if not body.strip():
        return DecodeError("the body is empty, expected a JSON object")
    return DecodeError(f"the body is not JSON: {error.msg} at byte {error.pos}")


def _shortest(array: NDArray[Any]) -> Any:
    """Nested lists of floats that print as short as their own width allows."""
    if array.ndim == 0:
        return float(str(array[()]))
    return [_shortest(part) for part in array]
