"""A run knows who was in it to the end; a batch is a sequence of items."""

from asyncio import AbstractEventLoop, Future, new_event_loop
from collections.abc import Iterator, Sequence

import pytest

from batcher import Batch, BatchRecord, Reason, Receipt
from batcher.request import Request, Run


@pytest.fixture
def loop() -> Iterator[AbstractEventLoop]:
    loop = new_event_loop()
    yield loop
    loop.close()


def a_run(loop: AbstractEventLoop) -> Run[str, int]:
    run: Run[str, int] = Run("bucket", Reason.FULL)
    run.taken = 10.0
    for number, (item, size, arrival) in enumerate([("a", 2, 7.0), ("b", 1, 9.5)]):
        future: Future[int] = loop.create_future()
        run.requests.append(Request(item, size, number, arrival, future))
        run.size = run.padded_size = run.size + size
    run.run_time = 0.5
    return run


def test_a_batch_is_a_sequence_of_the_items_in_order(loop: AbstractEventLoop) -> None:
    batch = a_run(loop).batch()
    assert isinstance(batch, Sequence)
    assert (len(batch), list(batch), batch[0], batch[-1]) == (2, ["a", "b"], "a", "b")
    assert list(batch[1:]) == ["b"]
    assert "b" in batch
    assert batch.index("b") == 1
    assert (batch.size, batch.bucket) == (3, "bucket")


def test_a_batch_shows_its_measures_and_not_its_items() -> None:
    assert repr(Batch(["secret"], "b", [4])) == "<Batch of 1 requests, 4 rows, bucket 'b'>"


def test_a_run_tells_each_request_what_it_went_through(loop: AbstractEventLoop) -> None:
    run = a_run(loop)
    run.batch()
    requests = list(run.requests)
    run.requests.clear()  # As at the end of a batch: receipts are asked for afterwards.
    assert run.receipt(requests[0]) == Receipt(3.0, 0.5, 3, 2, 3, Reason.FULL, 10.0)
    assert run.receipt(requests[1]) == Receipt(0.5, 0.5, 3, 2, 3, Reason.FULL, 10.0)


def test_a_run_tells_the_observer_about_all(loop: AbstractEventLoop) -> None:
    run = a_run(loop)
    run.batch()
    record = run.record(failed=1, abandoned=0)
    assert record == BatchRecord(
        size=3,
        padded_size=3,
        requests=2,
        bucket="bucket",
        reason=Reason.FULL,
        queue_times=(3.0, 0.5),
        run_time=0.5,
        failed=1,
        abandoned=0,
        again=0,
        taken=10.0,
    )
    assert record.queue_time_oldest == 3.0
    assert record.queue_time_mean == 1.75


def test_a_reason_is_a_word() -> None:
    assert [str(reason) for reason in Reason] == [
        *("full", "idle", "timeout", "drain", "deadline", "again")
    ]
