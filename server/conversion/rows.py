"""Rows from .npy and .npz files for the signatures of a model, or made up. Any thread.

A file of one array is for the only input of a signature, arrays with a name are for inputs of that
name. The first dimension of an array counts its rows. Where an input has no batch dimension, a row
is a whole input; a first dimension of 1 may be left out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from server.config import ConfigError
from server.model import Model
from server.signature import Array, Signature, Tensors, TensorSpec, names_text, shape_text
from server.warmup.inputs import tries
from server.warmup.rows import repeated

ONLY: Final = ""
"""Stands for the name of an input that needs none: the only one."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Requests for one signature: arrays whose first dimension counts them."""

    signature: Signature
    arrays: Tensors
    made_up: bool

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def one(self, place: int) -> Tensors:
        """The request of one row at a place."""
        return {
            name: array[place : place + 1]
            if self.signature.inputs[name].has_batch_dimension
            else array[place]
            for name, array in self.arrays.items()
        }

    def batch(self, size: int) -> Tensors:
        """A batch of so many rows: the first ones, all of them again and again if need be."""
        return repeated(self.arrays, size)

    def batches(self, size: int) -> Iterator[Tensors]:
        """All rows, in batches of at most so many; one by one if they cannot be batched."""
        if not self.signature.batchable:
            yield from (self.one(place) for place in range(len(self)))
            return
        for start in range(0, len(self), size):
            yield {name: array[start : start + size] for name, array in self.arrays.items()}


def read_rows(texts: tuple[str, ...], option: str) -> Tensors:
    """Arrays by the name of their input, from FILE or NAME=FILE. ConfigError."""
    arrays: Tensors = {}
    for text in texts:
        name, equals, path = text.rpartition("=")
        if equals and not name:
            msg = f"{option} takes FILE or NAME=FILE, not {text!r}"
            raise ConfigError(msg)
        for key, array in _read(Path(path)).items():
            if array.ndim == 0 or len(array) == 0:
                msg = f"{path}: expected an array of rows, got the shape {shape_text(array.shape)}"
                raise ConfigError(msg)
            arrays[name or key] = array
    return arrays


def _read(path: Path) -> Tensors:
    try:
        # Objects in such a file are pickled, which may run any code.
        read = np.load(path, allow_pickle=False)
        if isinstance(read, np.ndarray):
            return {ONLY: read}
        with read:
            return dict(read)
    except (OSError, ValueError, EOFError) as error:
        told = (error.strerror if isinstance(error, OSError) else "") or error
        msg = f"{path} is no .npy or .npz file that can be read: {told}"
        raise ConfigError(msg) from error


def check_names(option: str, arrays: Tensors, signatures: Mapping[str, Signature]) -> None:
    """ConfigError for an array that is for none of the inputs."""
    inputs = {name for signature in signatures.values() for name in signature.inputs}
    alone = any(len(signature.inputs) == 1 for signature in signatures.values())
    for name in arrays.keys() - inputs:
        if name == ONLY and alone:
            continue
        which = f"rows for input {name!r}" if name else "rows without the name of their input"
        msg = f"{option} has {which}, expected INPUT=FILE with one of {names_text(inputs)}"
        raise ConfigError(msg)


def rows_of(signature: Signature, arrays: Tensors) -> Rows | None:
    """What was given for a signature, None if not all of its inputs were. ConfigError.

    Rows must all be of one number, and fit the inputs.
    """
    if len(signature.inputs) == 1 and ONLY in arrays:
        arrays = {next(iter(signature.inputs)): arrays[ONLY]} | arrays
    if not signature.inputs or not signature.inputs.keys() <= arrays.keys():
        return None
    given = {name: _fitted(spec, arrays[name]) for name, spec in signature.inputs.items()}
    counts = {name: len(array) for name, array in given.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name!r}: {count}" for name, count in counts.items())
        msg = f"rows must be as many for each input of signature {signature.name!r}; got {told}"
        raise ConfigError(msg)
    return Rows(signature, given, made_up=False)


def _fitted(spec: TensorSpec, array: Array) -> Array:
    """The array in the dtype of its input, rows in their shape. ConfigError."""
    wanted = spec.shape[1:] if spec.shape and spec.has_batch_dimension else spec.shape or ()
    if array.shape[1:] != wanted and wanted[:1] == (1,) and array.shape[1:] == wanted[1:]:
        array = array[:, None]
    fits = len(wanted) == array.ndim - 1 and all(
        size in {None, got} for size, got in zip(wanted, array.shape[1:], strict=True)
    )
    if not fits or not np.can_cast(array.dtype, spec.numpy_dtype, "same_kind"):
        got = f"{array.dtype}{shape_text(array.shape)}"
        msg = f"input {spec.name!r} is {spec}, its rows in the file are {got}"
        raise ConfigError(msg)
    return array.astype(spec.numpy_dtype)


def made_up_rows(model: Model, signature: Signature) -> Rows | None:
    """The first made-up rows that a model takes, None if it takes none of them."""
    for inputs in tries(signature, {}):
        try:
            model.run(signature.name, inputs)
        except Exception:  # noqa: BLE001, S112 - made-up input may be refused in any way
            continue
        if signature.batchable:
            return Rows(signature, inputs, made_up=True)
        return Rows(signature, {n: a[None] for n, a in inputs.items()}, made_up=True)
    return None


def require_all(signatures: Mapping[str, Signature], arrays: Tensors) -> Mapping[str, Rows]:
    """What was given for each signature. ConfigError where nothing was."""
    found: dict[str, Rows] = {}
    for name, signature in signatures.items():
        rows = rows_of(signature, arrays)
        if rows is None:
            got = names_text(key for key in arrays if key != ONLY)
            msg = (
                f"--representative must have rows for all inputs of signature {name!r}:"
                f" {names_text(signature.inputs)}; it has {got}"
            )
            raise ConfigError(msg)
        found[name] = rows
    return found
