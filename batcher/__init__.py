"""Dynamic batching for asyncio: many concurrent calls become few well-filled batches."""

from batcher.batcher import Batcher
from batcher.errors import BatcherClosed, BatcherError, BatchFailed, QueueFull, RequestTooLarge
from batcher.executor import Executor, LoopExecutor, Outcome, ThreadExecutor
from batcher.request import Batch
from batcher.stats import BatcherStats, BatchRecord, Reason, Receipt

__all__ = [
    "Batch",
    "BatchFailed",
    "BatchRecord",
    "Batcher",
    "BatcherClosed",
    "BatcherError",
    "BatcherStats",
    "Executor",
    "LoopExecutor",
    "Outcome",
    "QueueFull",
    "Reason",
    "Receipt",
    "RequestTooLarge",
    "ThreadExecutor",
]
