"""One loaded version of a model: validate, choose the bucket, submit, give back. Event loop."""

import asyncio
from typing import Any

from batcher import Batcher, BatcherClosed, BatcherError, QueueFull, RequestTooLarge
from batcher.arrays import concatenate, layout
from server.errors import (
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    ServingError,
    Unavailable,
)
from server.inference import InferenceRequest, InferenceResponse, ServedModel
from server.model import InputRejected
from server.runner import Alone, Bucket
from server.signature import Signature, Tensors, remove_added, validate
from server.statistics import VersionStatistics


class Endpoint:
    """Takes decoded requests for one version; the only way to its Batcher."""

    def __init__(
        self,
        served: ServedModel,
        batcher: Batcher[Tensors, Tensors],
        statistics: VersionStatistics,
    ) -> None:
        self.served = served
        self.batcher = batcher
        self.statistics = statistics
        # Most signatures leave no choice of shapes: one bucket for all their requests.
        self._only_buckets = {
            name: Bucket(name, None)
            for name, signature in served.signatures.items()
            if signature.batchable and signature.has_one_layout
        }

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Run one request together with others. ServingError.

        A request of more rows than a batch may have is cut up, and put together again.
        """
        try:
            if request.timeout is None:
                return await self._submit(request)
            async with asyncio.timeout(request.timeout):
                return await self._submit(request)
        except InputRejected as error:
            msg = f"the model refused the input: {error}"
            raise InvalidArgument(msg) from error
        except BatcherError as error:
            raise _told(error) from error
        except TimeoutError:
            msg = f"the request was not answered within its {request.timeout:g} s"
            raise DeadlineExceeded(msg) from None

    async def _submit(self, request: InferenceRequest) -> InferenceResponse:
        signature = request.signature
        tensors, rows, added = validate(signature, request.inputs)
        bucket = self._only_buckets.get(signature.name) or _bucket(signature, tensors)
        if rows <= self.served.max_batch_size:
            outputs, receipt = await self.batcher.submit_with_receipt(
                tensors, size=rows, bucket=bucket
            )
            queue_time, run_time = receipt.queue_time, receipt.run_time
        else:
            outputs, queue_time, run_time = await self._submit_in_parts(tensors, rows, bucket)
        if added:
            outputs = remove_added(signature, outputs, added)
        return InferenceResponse(outputs, rows, queue_time, run_time)

    async def _submit_in_parts(
        self, tensors: Tensors, rows: int, bucket: Bucket
    ) -> tuple[Tensors, float, float]:
        """Outputs, the wait of the first part, and the time from there to the end of the last."""
        if rows > self.batcher.max_queue_size:
            # Told before the request is cut up, which takes its time.
            most = self.batcher.max_queue_size
            msg = f"too many rows for one request: {rows} rows exceed max_queue_size={most}"
            raise InvalidArgument(msg)
        most = self.served.max_batch_size
        spans = [slice(start, min(start + most, rows)) for start in range(0, rows, most)]
        answered = await self.batcher.submit_many_with_receipts(
            [{name: array[span] for name, array in tensors.items()} for span in spans],
            sizes=[span.stop - span.start for span in spans],
            bucket=bucket,
        )
        whole: Any = concatenate([part for part, _ in answered])
        waited = min(receipt.queue_time for _, receipt in answered)
        ended = max(receipt.queue_time + receipt.run_time for _, receipt in answered)
        return dict(whole), waited, ended - waited


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
