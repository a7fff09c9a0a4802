"""The function that a Batcher runs: concatenate, call the model, split. On the model thread."""

from typing import Any, NamedTuple

from batcher import Batch
from batcher.arrays import concatenate, split
from server.model import InputRejected, Model
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

        When the model refuses the input of several requests, each runs again by itself: only those
        that are to blame get the InputRejected in place of outputs.
        """
        bucket = batch.bucket
        assert isinstance(bucket, Bucket)
        try:
            outputs = self._model.run(bucket.signature, concatenate(batch))  # type: ignore[arg-type]
        except InputRejected as error:
            return [error] if len(batch) == 1 else [self._alone(bucket, item) for item in batch]
        if isinstance(bucket.layout, Alone):
            return [outputs]
        return split(outputs, [len(next(iter(item.values()))) for item in batch])

    def _alone(self, bucket: Bucket, item: Tensors) -> Any:
        return self(Batch([item], bucket, len(next(iter(item.values())))))[0]
