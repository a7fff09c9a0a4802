"""Runs a fresh model first: compiles, and checks that it may be batched. Any thread.

Shapes alone do not tell whether rows of several requests may run together: a row must give the same
alone and in company. So each signature runs two rows together and each of them alone; if one
differs, its requests run alone from then on. Batch size changes the last bits of a float, which is
not a difference: see `TOLERANCE`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from server.model import Model
from server.signature import Array, Signature, Tensors, TensorSpec

TOLERANCE: Final = 1e-4
"""Largest difference between a row alone and the same row in a batch, beside its largest number.

float32 sums in another order differ by about 1e-6 here; 1e-4 leaves room for deep models and is far
below what rows that influence each other show.
"""

SIZES_FOR_UNKNOWN: Final = (1, 32, 224)
"""What to try for a dimension that may have any size, until the model accepts it."""


@dataclass(frozen=True, slots=True)
class WarmUp:
    """What came of it: the signatures, now known to be batchable or not, and notes for the log."""

    signatures: Mapping[str, Signature]
    notes: tuple[str, ...]


def warm_up(model: Model, sizes: Sequence[int]) -> WarmUp:
    """Run every signature at the batch sizes in use, which ascend."""
    signatures: dict[str, Signature] = {}
    notes: list[str] = []
    for name, signature in model.signatures.items():
        try:
            why = _run_sizes(model, signature, sizes)
        except Exception as error:  # noqa: BLE001 - made-up input may be refused in any way
            told = str(error).partition("\n")[0]
            notes.append(f"signature {name!r} refused the input made up to warm it up: {told}")
            why = signature.alone or "the warm-up could not see whether its rows are independent"
        signatures[name] = signature.running_alone(why)
        if why:
            notes.append(f"requests for signature {name!r} run alone: {why}")
    return WarmUp(signatures, tuple(notes))


def batch_sizes(max_batch_size: int) -> Iterator[int]:
    """The powers of two below the cap, and the cap."""
    size = 1
    while size < max_batch_size:
        yield size
        size *= 2
    yield max_batch_size


def _run_sizes(model: Model, signature: Signature, sizes: Sequence[int]) -> str:
    """Run one signature; returns why it must run alone, or ""."""
    size, rows = _accepted_input(model, signature)
    if not signature.batchable:
        return signature.alone
    if sizes[-1] > 1:
        why = _why_rows_influence(model, signature, rows)
        if why:
            return why
    for batch_size in sizes:
        model.run(signature.name, _make_up(signature, batch_size, size))
    return ""


def _accepted_input(model: Model, signature: Signature) -> tuple[int, Tensors]:
    """Input of two rows that the model runs, and what its unknown dimensions were."""
    unknown = any(_free_dimensions(spec) for spec in signature.inputs.values())
    sizes = SIZES_FOR_UNKNOWN if unknown else SIZES_FOR_UNKNOWN[:1]
    for size in sizes[:-1]:
        try:
            rows = _make_up(signature, 2, size)
            model.run(signature.name, rows)
        except Exception:  # noqa: BLE001, S112 - the last size says what is wrong
            continue
        return size, rows
    rows = _make_up(signature, 2, sizes[-1])
    model.run(signature.name, rows)
    return sizes[-1], rows


def _why_rows_influence(model: Model, signature: Signature, rows: Tensors) -> str:
    together = model.run(signature.name, rows)
    for row in range(2):
        alone = model.run(signature.name, {name: a[row : row + 1] for name, a in rows.items()})
        for name, array in together.items():
            if np.shape(array)[:1] != (2,) or np.shape(alone[name])[:1] != (1,):
                return f"output {name!r} has the shape {np.shape(array)} for 2 rows"
            if not _same(alone[name], array[row : row + 1]):
                return (
                    f"output {name!r} of a row alone differs from that of the same row in a batch"
                )
    return ""


def _same(alone: Array, together: Array) -> bool:
    if alone.shape != together.shape:
        return False
    if alone.dtype.kind not in "fc":
        return bool(np.array_equal(alone, together))
    finite = np.abs(together[np.isfinite(together)])
    small = TOLERANCE * float(finite.max()) if finite.size else 0.0
    return bool(np.allclose(alone, together, rtol=TOLERANCE, atol=small, equal_nan=True))


def _free_dimensions(spec: TensorSpec) -> int:
    """Dimensions of any size, besides that of the batch."""
    return 0 if spec.shape is None else spec.shape[1:].count(None)


def _make_up(signature: Signature, rows: int, unknown: int) -> Tensors:
    """Input of a signature: different rows, small numbers that are also valid as indices."""
    random = np.random.default_rng(0)
    tensors: Tensors = {}
    for name, spec in signature.inputs.items():
        shape = () if spec.shape is None else spec.shape
        sizes = [unknown if size is None else size for size in shape]
        if spec.has_batch_dimension:
            sizes[0] = rows
        dtype = spec.numpy_dtype
        if dtype.kind == "O":
            tensors[name] = np.full(sizes, b"", dtype)
        elif dtype.kind in "iub":
            numbers = random.integers(0, 2, sizes)
            if spec.has_batch_dimension:
                # Two rows of few numbers could be the same by chance.
                numbers[1::2] = 1 - numbers[:1]
            tensors[name] = numbers.astype(dtype)
        else:
            tensors[name] = random.random(sizes).astype(dtype)
    return tensors
