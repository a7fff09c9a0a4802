"""Large lists of numbers in JSON, read straight into arrays, a slice at a time. Pure.

A parser holds Python's lock from the first byte to the last, and so does NumPy while it looks
through lists: a body of ten megabytes would hold up the event loop for 40 ms, or for 900 when its
rows are short, whichever thread reads it. So a list of nothing but numbers, all of whose parts have
one length and one depth, is not made of Python's lists at all:

    its brackets and commas alone      tell its shape, and that it has one
    its numbers alone, all in a row    are parsed and put into an array, some thousand at a time

between which other threads come to their turn. It takes less time, too. What is left of the body is
JSON with a mark in the place of each such list, and whatever is not as simple as that is left in
it: words, strings, ragged lists, and all mistakes, which are told by who reads it then.
"""

import math
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np

from server.errors import DecodeError
from server.signature import Array

LARGE: Final = 256 * 1024
"""Bytes of a list from which on it is read so. Less takes a millisecond or two as it is."""

SLICE: Final = 64 * 1024
"""Bytes that are read at once: half a millisecond's work."""

_MOST_QUOTES: Final = 4096
"""With more strings in a body than this, looking between them would take longer than it saves."""

_MOST_DIMENSIONS: Final = 32
"""NumPy's own limit, of its oldest version that is supported."""

_LEAST: Final = np.iinfo(np.int64).min

OF_NUMBERS: Final = b"0123456789+-.eE \t\r\nNaInfity"
"""What numbers and the space between them are made of: NaN and Infinity too, but no other word."""

_FLOATS: Final = re.compile(b"[.eENI]")

_MARK: Final = "\0"
"""What the marks begin with. No other string can: it would take a backslash, see `lift`."""


class Lifted(NamedTuple):
    """What is left of a body, and the arrays that were in it; a mark is the number of one."""

    rest: bytes
    arrays: list[Array]

    def put_back(self, value: Any) -> Any:
        """The parsed rest with arrays in the place of their marks; None if one is not found."""
        found: list[Array] = []
        root = [value]
        holders: list[Any] = [root]
        while holders:
            holder = holders.pop()
            for key, member in holder.items() if type(holder) is dict else enumerate(holder):
                if type(member) is str and member.startswith(_MARK):
                    holder[key] = self.arrays[int(member[1:])]
                    found.append(holder[key])
                elif type(member) in (dict, list) and len(member) <= _MOST_QUOTES:
                    holders.append(member)
        return root[0] if len(found) == len(self.arrays) else None


def lift(body: bytes, parse: Callable[[bytes], Any]) -> Lifted | None:
    """Take the large arrays of numbers out of a body of JSON; None if there are none to be seen.

    `parse` reads a small list of numbers. It raises DecodeError.
    """
    if body.count(b'"') > _MOST_QUOTES or body.find(b"\\") >= 0:
        return None
    kept: list[bytes] = []
    arrays: list[Array] = []
    done = 0
    for begin, end in _between_strings(body):
        first, last = _find_list(body, begin, end)
        array = _read(body, first, last, parse)
        if array is not None:
            kept += [body[done:first], b'"\\u0000%d"' % len(arrays)]
            arrays.append(array)
            done = last
    return Lifted(b"".join([*kept, body[done:]]), arrays) if arrays else None


def _between_strings(body: bytes) -> Iterator[tuple[int, int]]:
    """The long spans between strings, of which none has an escaped quote."""
    begin, end = 0, len(body)
    while begin < end:
        quote = body.find(b'"', begin)
        until = end if quote < 0 else quote
        if until - begin >= LARGE:
            yield begin, until
        if quote < 0:
            return
        closing = body.find(b'"', quote + 1)
        begin = end if closing < 0 else closing + 1


def _find_list(body: bytes, begin: int, end: int) -> tuple[int, int]:
    """From the first bracket to the last, or to the last before the end of an object."""
    first = body.find(b"[", begin, end)
    if first < 0:
        return begin, begin
    brace = body.find(b"}", first, end)
    return first, body.rfind(b"]", first, end if brace < 0 else brace) + 1


def _read(body: bytes, begin: int, end: int, parse: Callable[[bytes], Any]) -> Array | None:
    """An array of int64 or float64; None for what is not as simple, and for small ones."""
    shape = _shape(_structure(body, begin, end)) if end - begin >= LARGE else None
    if shape is None:
        return None
    parts: list[Array] = []
    try:
        for part in _slices(body, begin, end):
            # Without spaces at its beginning, for a reason that `strict_json` tells.
            flat = b"[%b]" % part.replace(b"[", b" ").replace(b"]", b" ").lstrip()
            numbers = np.array(parse(flat), np.float64 if _FLOATS.search(part) else np.int64)
            # It may stand for a smaller integer, which the parser made a float and NumPy this.
            if numbers.dtype == np.int64 and (numbers == _LEAST).any():
                return None
            parts.append(numbers)
    except (DecodeError, OverflowError):
        return None
    array = np.concatenate(parts)
    return array.reshape(shape) if array.size == math.prod(shape) else None


def _structure(body: bytes, begin: int, end: int) -> bytes:
    """The text without what numbers are made of."""
    starts = range(begin, end, SLICE)
    return b"".join([body[at : min(at + SLICE, end)].translate(None, OF_NUMBERS) for at in starts])


def _slices(body: bytes, begin: int, end: int) -> Iterator[bytes]:
    """The text, cut at commas."""
    while begin < end:
        comma = body.find(b",", begin + SLICE, end)
        until = end if comma < 0 else comma
        yield body[begin:until]
        begin = until + 1


def _shape(structure: bytes) -> tuple[int, ...] | None:
    """The shape of the only array with these brackets and commas; None if there is none.

    From the inside out: with the list of one level known, those of the next are as many of it as
    fit in between. An empty list looks like one of one element here.
    """
    depth = len(structure) - len(structure.lstrip(b"["))
    if not 0 < depth <= _MOST_DIMENSIONS:
        return None
    element, sizes = b"", []
    for level in reversed(range(depth)):
        closing = depth - level
        end = structure.find(b"]" * closing, level) + closing
        size, over = divmod(end - level - 1, len(element) + 1)
        if over or size < 1:
            return None
        element = b"[%b%b]" % ((element + b",") * (size - 1), element)
        sizes.append(size)
    return tuple(reversed(sizes)) if element == structure else None
