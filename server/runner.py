"""The function that a Batcher runs: concatenate, pad, call the model, split. On the model thread.

Running a row twice does no harm: so a batch that fails runs again in parts, and only those whose
rows the model refuses are told so.
"""

from typing import Any, NamedTuple

from batcher import Batch
from batcher.arrays import concatenate, split
from server.model import Model
from server.signature import Tensors


class Alone:
    """The layout of a request that shares a batch with nobody: equal to itself only."""

    __slots__ = ()


class Bucket(NamedTuple):
    """What requests must share to run together: the signature, and the shapes of a row.

    `layout` is None where the signature leaves no choice of shapes, and an `Alone` of its own for
    each request of a signature that cannot be batched.
    """

    signature: str
    layout: object


class Runner:
    """Runs batches of one resident model."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def __call__(self, batch: Batch[Tensors]) -> list[Any]:
        """Run a batch whose bucket is a `Bucket`; one dict of outputs for each request.

        What the model raises: InputRejected, MemoryError, or whatever it has not foreseen.
        """
        bucket = batch.bucket
        assert isinstance(bucket, Bucket)
        if isinstance(bucket.layout, Alone):
            return [self._model.run(bucket.signature, batch[0])]
        padding = batch.padded_size - batch.size
        inputs: Any = concatenate(batch, padding)
        outputs = self._model.run(bucket.signature, inputs)
        return split(outputs, batch.sizes, padding)
