"""One loaded version of a model: validate, choose the bucket, submit, give back. Event loop."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from batcher import (
    Batcher,
    BatcherClosed,
    BatcherError,
    BatcherStuck,
    QueueFull,
    Receipt,
    RequestTooLarge,
)
from batcher import DeadlineExceeded as Expired
from batcher.arrays import concatenate, layout
from batcher.lengths import VariableLength
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
        *,
        lengths: VariableLength | None = None,
        count_bytes: bool = False,
    ) -> None:
        self.served = served
        self.batcher = batcher
        self.statistics = statistics
        self._lengths = lengths
        self._count_bytes = count_bytes
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
        signature = request.signature
        tensors, rows, added = validate(signature, request.inputs)
        length = None
        if self._lengths is not None:
            tensors, length = self._padded(self._lengths, signature, tensors)
        bucket = self._only_buckets.get(signature.name) or _bucket(signature, tensors)
        nbytes = sum([array.nbytes for array in tensors.values()]) if self._count_bytes else 0
        try:
            if rows <= self.served.max_batch_size:
                outputs, receipt = await self.batcher.submit_with_receipt(
                    tensors,
                    size=rows,
                    nbytes=nbytes,
                    bucket=bucket,
                    priority=request.priority,
                    timeout=request.timeout,
                )
                queue_time, run_time = receipt.queue_time, receipt.run_time
                receipts: Sequence[Receipt] = (receipt,)
            else:
                outputs, receipts, queue_time, run_time = await self._submit_in_parts(
                    tensors, rows, nbytes, bucket, request
                )
        except BatcherError as error:
            raise _told(error) from error
        if added:
            outputs = remove_added(signature, outputs, added)
        if length is not None and self._lengths is not None:
            outputs = self._lengths.cut(outputs, length)
        return InferenceResponse(outputs, rows, queue_time, run_time, receipts)

    def _padded(
        self, lengths: VariableLength, signature: Signature, tensors: Tensors
    ) -> tuple[Tensors, int | None]:
        """Tensors padded to a boundary, and the length they had; None if they have none."""
        if signature.alone or not lengths.inputs.keys() <= tensors.keys():
            return tensors, None
        try:
            return lengths.pad(tensors)
        except ValueError as error:
            raise InvalidArgument(str(error)) from error

    async def _submit_in_parts(
        self, tensors: Tensors, rows: int, nbytes: int, bucket: Bucket, request: InferenceRequest
    ) -> tuple[Tensors, list[Receipt], float, float]:
        """Outputs and receipts; the wait of the first part, and the time from there to the end."""
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
            nbytes=nbytes,
            bucket=bucket,
            priority=request.priority,
            timeout=request.timeout,
        )
        whole: Any = concatenate([part for part, _ in answered])
        receipts = [receipt for _, receipt in answered]
        waited = min(receipt.queue_time for receipt in receipts)
        ended = max(receipt.queue_time + receipt.run_time for receipt in receipts)
        return dict(whole), receipts, waited, ended - waited


def _bucket(signature: Signature, tensors: Tensors) -> Bucket:
    return Bucket(signature.name, layout(tensors) if signature.batchable else Alone())


def _told(error: BatcherError) -> ServingError:
    """What a client is told when its request ends in this error."""
    cause = error.__cause__
    if isinstance(cause, InputRejected):
        return InvalidArgument(f"the model refused the input: {cause}")
    if isinstance(error, QueueFull):
        return Unavailable(f"the queue is full: {error}", retry_after=error.retry_after)
    for kind, told in _TOLD.items():
        if isinstance(error, kind):
            return told(error)
    return Internal(f"the model failed: {type(cause).__name__}")


_TOLD: Final[dict[type[BatcherError], Callable[[BatcherError], ServingError]]] = {
    Expired: lambda error: DeadlineExceeded(str(error)),
    BatcherStuck: lambda _: Unavailable("the model does not answer: a call of it hangs"),
    BatcherClosed: lambda _: Unavailable("the model is being shut down"),
    RequestTooLarge: lambda error: InvalidArgument(f"too many rows for one request: {error}"),
}
