"""Dynamic batching for asyncio: many concurrent calls become few well-filled batches."""

from batcher.batcher import Batcher
from batcher.errors import (
    BatcherClosed,
    BatcherError,
    BatcherStuck,
    BatchFailed,
    DeadlineExceeded,
    QueueFull,
    RequestTooLarge,
)
from batcher.executor import Executor, Outcome
from batcher.loop_executor import LoopExecutor
from batcher.options import Admission, Fairness, Isolation
from batcher.request import Batch
from batcher.stats import BatcherStats, BatchRecord, Reason, Receipt
from batcher.thread_executor import ThreadExecutor

__all__ = [
    "Admission",
    "Batch",
    "BatchFailed",
    "BatchRecord",
    "Batcher",
    "BatcherClosed",
    "BatcherError",
    "BatcherStats",
    "BatcherStuck",
    "DeadlineExceeded",
    "Executor",
    "Fairness",
    "Isolation",
    "LoopExecutor",
    "Outcome",
    "QueueFull",
    "Reason",
    "Receipt",
    "RequestTooLarge",
    "ThreadExecutor",
]
