"""Input made up for a signature that no record warms up: try after try, rows that differ. Pure.

Nobody knows what a model takes beyond shapes and dtypes: numbers of some range, strings that are
words, digits, serialized examples, pictures. So there are several tries, the likeliest first; the
model tells which one it takes. Rows that are all the same, in the last tries, still warm it up, but
do not show whether rows influence each other.
"""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from server.signature import Array, Shape, Signature, Tensors, TensorSpec
from server.warmup.pictures import jpeg, png
from server.warmup.rows import ROWS

SIZES_FOR_UNKNOWN: Final = (1, 32, 224)
"""What to try for a dimension that may have any size; the sides of pictures as well."""

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
Pair: TypeAlias = tuple[bytes, bytes]
Numbers: TypeAlias = Callable[[int, tuple[int, ...], np.dtype[Any]], Array]
"""Makes an array for the input at a place, of a shape and dtype."""

WORDS: Final[Pair] = (b"one", b"two three")
"""Of different lengths: an output that is as wide as the longest row shows it."""


def tries(
    signature: Signature, lengths: Mapping[str, tuple[int, int]], examples: Sequence[Pair] = ()
) -> Iterator[Tensors]:
    """Input of two rows for a signature, try after try.

    `lengths` are the axes of inputs, by their names, whose size is known, and that size. `examples`
    are pairs of serialized ones that the model is likely to take.
    """
    is_known = all(_is_known(spec, lengths) for spec in signature.inputs.values())
    sizes = SIZES_FOR_UNKNOWN[:1] if is_known else SIZES_FOR_UNKNOWN
    shapes = [
        {name: _shape(spec, size, lengths) for name, spec in signature.inputs.items()}
        for size in sizes
    ]
    return _filled(signature, shapes, examples)


def tries_of_shapes(
    signature: Signature, shapes: Shapes, examples: Sequence[Pair] = ()
) -> Iterator[Tensors]:
    """Input of these shapes, try after try."""
    return _filled(signature, [shapes], examples)


def _is_known(spec: TensorSpec, lengths: Mapping[str, tuple[int, int]]) -> bool:
    return None not in _shape(spec, None, lengths)


def _shape(spec: TensorSpec, unknown: Any, lengths: Mapping[str, tuple[int, int]]) -> Any:
    """The shape to make up, `unknown` for a dimension of any size; of any rank, a scalar."""
    shape: Shape = spec.shape or ()
    sizes = [unknown if size is None else size for size in shape]
    if spec.has_batch_dimension:
        sizes[0] = ROWS
    if spec.name in lengths:
        axis, length = lengths[spec.name]
        if axis < len(shape) and shape[axis] is None:
            sizes[axis] = length
    return tuple(sizes)


def _filled(
    signature: Signature, shapes: Sequence[Shapes], examples: Sequence[Pair]
) -> Iterator[Tensors]:
    kinds = {spec.numpy_dtype.kind == "O" for spec in signature.inputs.values()}
    for numbers, pair in _contents(examples, strings=True in kinds, numbers=False in kinds):
        for wanted in shapes:
            yield {
                name: _strings(wanted[name], pair)
                if spec.numpy_dtype.kind == "O"
                else numbers(place, wanted[name], spec.numpy_dtype)
                for place, (name, spec) in enumerate(signature.inputs.items())
            }


def _contents(
    examples: Sequence[Pair], *, strings: bool, numbers: bool
) -> Iterator[tuple[Numbers, Pair]]:
    """What to fill arrays with: not each kind of numbers with each of strings, they are many."""
    yield from ((_small, pair) for pair in (_pairs(examples) if strings else [WORDS]))
    if numbers:
        yield from ((kind, WORDS) for kind in (_one_and_two, _ones, _zeros))


def _pairs(examples: Sequence[Pair]) -> Iterator[Pair]:
    # What parses examples refuses words and digits, while anything is a text.
    yield WORDS
    yield b"0", b"1"
    yield from examples
    # Both are an example of no features, and the empty text.
    yield b"", b"\x0a\x00"
    for side in SIZES_FOR_UNKNOWN:
        pictures = png(side, 72), png(side, 184)
        yield pictures
        yield jpeg(side, bright=False), jpeg(side, bright=True)
        yield base64.urlsafe_b64encode(pictures[0]), base64.urlsafe_b64encode(pictures[1])


def _strings(shape: tuple[int, ...], pair: Pair) -> Array:
    array: Array = np.full(shape, pair[0], object)
    if shape:
        array[1::2] = pair[1]
    return array


def _small(place: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Small numbers, which are also valid as indices; others for each input."""
    random = np.random.default_rng(place)
    if dtype.kind not in "iub":
        return random.random(shape).astype(dtype)
    numbers = random.integers(0, 2, shape)
    if shape:
        # Two rows of few numbers could be the same by chance.
        numbers[1::2] = 1 - numbers[:1]
    return numbers.astype(dtype)


def _one_and_two(_: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """For sizes and counts, of which there is no 0."""
    numbers = np.ones(shape, np.int64)
    if shape:
        numbers[1::2] = 2
    return numbers.astype(dtype)


def _ones(_: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    return np.ones(shape, dtype)


def _zeros(_: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    return np.zeros(shape, dtype)
