"""Rows to warm up with: cut, repeated, padded as the endpoint pads them. Pure.

Tensors are a dict of arrays whose first dimension counts the rows that they have in common.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from batcher.arrays import concatenate, count_rows, layout, take_rows
from batcher.lengths import VariableLength
from server.signature import Signature, Tensors, validate

ROWS: Final = 2
"""Rows that are made up, and compared: a batch of more has them again and again."""


def lengths_of(signature: Signature, lengths: VariableLength | None) -> VariableLength | None:
    """How the endpoint pads requests for a signature: not at all, if it has not all the inputs."""
    if lengths is None or signature.alone or not lengths.inputs.keys() <= signature.inputs.keys():
        return None
    mask = signature.inputs.get(lengths.mask)
    return lengths if mask is None else replace(lengths, mask_dtype=mask.dtype)


def without(signature: Signature, name: str) -> Signature:
    """A signature that lacks an input."""
    return replace(signature, inputs={k: v for k, v in signature.inputs.items() if k != name})


def fitted(signature: Signature, lengths: VariableLength | None, inputs: Tensors) -> Tensors:
    """The tensors of a request as the endpoint takes them, without a mask. InvalidArgument."""
    mask = lengths.mask if lengths else ""
    return validate(
        without(signature, mask), {name: array for name, array in inputs.items() if name != mask}
    )[0]


def batches(rows: Tensors, sizes: Sequence[int]) -> Iterator[Tensors]:
    """Rows as they are batched without company: cut to the largest size, and padded."""
    count, most = count_rows(rows), sizes[-1]
    for start in range(0, count, most):
        part: Any = take_rows(rows, slice(start, start + most))
        there = count_rows(part)
        padded: Any = concatenate([part], next(size for size in sizes if size >= there) - there)
        yield padded


def grouped(requests: Iterable[Tensors], enough: int) -> list[Tensors]:
    """The rows of requests by their layout; not all of them where there are enough."""
    groups: dict[Hashable, list[Tensors]] = {}
    for rows in requests:
        group = groups.setdefault(layout(rows), [])
        if sum(map(count_rows, group)) < enough:
            group.append(rows)
    joined: Any = [concatenate(group) for group in groups.values()]
    return list(joined)


def of_lengths(rows: Tensors, lengths: VariableLength, boundary: int) -> Tensors:
    """Rows padded to this boundary: the first, third ... were as long as it, the others shorter."""
    place = lengths.boundaries.index(boundary)
    shortest = lengths.boundaries[place - 1] + 1 if place else 1
    padded = []
    for row in range(count_rows(rows)):
        length = shortest if row % 2 else boundary
        padded.append(lengths.pad(_resized(rows_at(rows, [row]), lengths, length))[0])
    joined: Any = concatenate(padded)
    return dict(joined)


def _resized(row: Tensors, lengths: VariableLength, length: int) -> Tensors:
    """A row of another length: cut, or its values again and again."""
    resized = dict(row)
    for name, (axis, _) in lengths.inputs.items():
        places = np.arange(length) % row[name].shape[axis]
        resized[name] = np.take(row[name], places, axis)
    return resized


def repeated(rows: Tensors, size: int) -> Tensors:
    """So many rows: the first ones, or all of them again and again."""
    return rows_at(rows, np.arange(size) % count_rows(rows))


def rows_at(rows: Tensors, places: Any) -> Tensors:
    """Copies of the rows at these places."""
    return {name: array[places] for name, array in rows.items()}


def planned(buckets: int, sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Which bucket is to run at which size, the most urgent first.

    The largest batch takes most memory, and is what runs under load; one row is what runs at rest.
    """
    largest_first = sorted(sizes, reverse=True)
    order = dict.fromkeys([largest_first[0], largest_first[-1], *largest_first])
    return [(bucket, size) for size in order for bucket in range(buckets)]
