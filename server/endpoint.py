"""One loaded version of a model: validate, choose the bucket, submit, give back. Event loop."""

from collections.abc import Mapping
from typing import Any

from batcher import Batcher, BatcherClosed, BatcherError, QueueFull, RequestTooLarge
from batcher.arrays import concatenate, layout
from server.errors import Internal, InvalidArgument, ServingError, Unavailable
from server.inference import InferenceRequest, InferenceResponse, ServedModel
from server.model import InputRejected
from server.runner import Alone, Bucket
from server.signature import Signature, Tensors, remove_added, validate


class Endpoint:
    """Takes decoded requests for one version; the only way to its Batcher."""

    def __init__(
        self,
        name: str,
        version: int,
        signatures: Mapping[str, Signature],
        batcher: Batcher[Tensors, Tensors],
        max_batch_size: int,
    ) -> None:
        self.served = ServedModel(name, version, signatures)
        self.batcher = batcher
        self._max_batch_size = max_batch_size
        # Most signatures leave no choice of shapes: one bucket for all their requests.
        self._only_buckets = {
            name: Bucket(name, None)
            for name, signature in signatures.items()
            if signature.batchable and signature.has_one_layout
        }

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Run one request together with others. ServingError.

        A request of more rows than a batch may have is cut up, and put together again.
        """
        signature = request.signature
        tensors, rows, added = validate(signature, request.inputs)
        bucket = self._only_buckets.get(signature.name) or _bucket(signature, tensors)
        try:
            if rows <= self._max_batch_size:
                outputs = await self.batcher.submit(tensors, size=rows, bucket=bucket)
            else:
                outputs = await self._submit_in_parts(tensors, rows, bucket)
        except InputRejected as error:
            msg = f"the model refused the input: {error}"
            raise InvalidArgument(msg) from error
        except BatcherError as error:
            raise _told(error) from error
        if added:
            outputs = remove_added(signature, outputs, added)
        return InferenceResponse(outputs)

    async def _submit_in_parts(self, tensors: Tensors, rows: int, bucket: Bucket) -> Tensors:
        starts = range(0, rows, self._max_batch_size)
        spans = [slice(start, min(start + self._max_batch_size, rows)) for start in starts]
        parts = await self.batcher.submit_many(
            [{name: array[span] for name, array in tensors.items()} for span in spans],
            sizes=[span.stop - span.start for span in spans],
            bucket=bucket,
        )
        whole: Any = concatenate(parts)
        return dict(whole)


def _bucket(signature: Signature, tensors: Tensors) -> Bucket:
    return Bucket(signature.name, layout(tensors) if signature.batchable else Alone())


def _told(error: BatcherError) -> ServingError:
    """What a client is told when its request ends in this error."""
    if isinstance(error, QueueFull):
        return Unavailable(f"the queue is full: {error}", retry_after=error.retry_after)
    if isinstance(error, BatcherClosed):
        return Unavailable("the model is being shut down")
    if isinstance(error, RequestTooLarge):
        return InvalidArgument(f"too many rows for one request: {error}")
    return Internal(f"the model failed: {type(error.__cause__).__name__}")
