"""Rows of different lengths made to fit together: padded to a boundary, cut back. Event loop.

    lengths = VariableLength({"ids": (1, 0)}, boundaries=(16, 32, 64, 128), outputs={"tags": 1})
    padded, length = lengths.pad(item)
    result = await batcher.submit(padded, size=count_rows(padded), bucket=layout(padded))
    result = lengths.cut(result, length)

The padded shape is the bucket, so a batch holds items of one boundary. The value to pad with is
declared: a function that sees padding has to know it, by that value or by a mask.
"""

import bisect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from batcher.arrays import Array


@dataclass(frozen=True, slots=True)
class VariableLength:
    """One length that inputs and outputs of an item have in common.

    inputs
        Name of an input -> the axis that has this length (1 or more: 0 is that of the rows), and
        the value to pad it with.
    boundaries
        Lengths to pad to, ascending. A longer item is a ValueError. Few boundaries mean full
        batches, many mean little padding: doubling wastes a quarter on average.
    outputs
        Name of an output -> the axis to cut back.
    mask
        Name of an input to add: [rows, boundary], 1 where an item has values, 0 where it is
        padded. "" adds none.
    mask_dtype
        What the mask is made of.
    """

    inputs: Mapping[str, tuple[int, Any]]
    boundaries: tuple[int, ...]
    outputs: Mapping[str, int] = field(default_factory=dict)
    mask: str = ""
    mask_dtype: str = "float32"

    def __post_init__(self) -> None:
        if not self.inputs:
            msg = "a variable length needs at least one input that has it"
            raise ValueError(msg)
        for name, axis in [*((n, a) for n, (a, _) in self.inputs.items()), *self.outputs.items()]:
            if axis < 1:
                msg = f"the axis of {name!r} must be 1 or more, 0 counts rows; got {axis}"
                raise ValueError(msg)
        ascending = sorted(set(self.boundaries))
        if not ascending or list(self.boundaries) != ascending or ascending[0] < 1:
            msg = f"boundaries must be positive and ascend, got {list(self.boundaries)}"
            raise ValueError(msg)

    def pad(self, item: Mapping[str, Array]) -> tuple[dict[str, Array], int]:
        """The item padded to the next boundary, and the length it had.

        ValueError, naming the input, if lengths differ, are too long or an axis is missing.
        """
        length = self._length(item)
        place = bisect.bisect_left(self.boundaries, length)
        if place == len(self.boundaries):
            msg = f"a length of {length} is above the largest boundary, {self.boundaries[-1]}"
            raise ValueError(msg)
        boundary = self.boundaries[place]
        padded = dict(item)
        for name, (axis, value) in self.inputs.items():
            padded[name] = _padded(item[name], axis, boundary, value)
        if self.mask:
            rows = len(next(iter(item.values())))
            mask = np.zeros((rows, boundary), self.mask_dtype)
            mask[:, :length] = 1
            padded[self.mask] = mask
        return padded, length

    def cut(self, result: Mapping[str, Array], length: int) -> dict[str, Array]:
        """The result without what padding made of it, as views."""
        cut = dict(result)
        for name, axis in self.outputs.items():
            if name in cut:
                cut[name] = cut[name][(slice(None),) * axis + (slice(length),)]
        return cut

    def _length(self, item: Mapping[str, Array]) -> int:
        lengths: dict[str, int] = {}
        for name, (axis, _) in self.inputs.items():
            shape = item[name].shape
            if len(shape) <= axis:
                msg = f"input {name!r} has no axis {axis}: its shape is {list(shape)}"
                raise ValueError(msg)
            lengths[name] = shape[axis]
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{name!r}: {length}" for name, length in lengths.items())
            msg = f"inputs must agree on their length; got {told}"
            raise ValueError(msg)
        return next(iter(lengths.values()))


def _padded(array: Array, axis: int, boundary: int, value: Any) -> Array:
    """A copy that is `boundary` long; the array itself if it is that already."""
    if array.shape[axis] == boundary:
        return array
    shape = (*array.shape[:axis], boundary, *array.shape[axis + 1 :])
    padded: Array = np.full(shape, value, array.dtype)
    padded[(slice(None),) * axis + (slice(array.shape[axis]),)] = array
    return padded
