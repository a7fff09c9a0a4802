"""An endpoint cuts up, keeps buckets apart, and says every failure in the protocols' words."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from batcher import Batch, Batcher
from batcher.testing import FakeExecutor, run
from server.endpoint import Endpoint
from server.errors import Code, Internal, InvalidArgument, ServingError, Unavailable
from server.inference import InferenceRequest, ServedModel
from server.model import InputRejected
from server.runner import Alone, Bucket, Runner
from server.signature import Signature, Tensors, TensorSpec, why_alone
from server.statistics import VersionStatistics

UNTIL_IT_RUNS = 1.0
"""Virtual seconds, well within the run that they are to fall into."""


def signature(name: str, x: tuple[int | None, ...], y: tuple[int | None, ...]) -> Signature:
    inputs = {"x": TensorSpec("x", "float32", x)}
    outputs = {"y": TensorSpec("y", "float32", y)}
    return Signature(name, inputs, outputs, alone=why_alone(inputs, outputs))


class Doubler:
    """Doubles; fails as planned; remembers what it ran."""

    platform = "test"

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault
        self.ran: list[tuple[str, list[Any]]] = []

    @property
    def signatures(self) -> Mapping[str, Signature]:
        made = [
            signature("row", (None, 1), (None, 1)),
            signature("same", (None, 1), (None, 1)),
            signature("wide", (None, None), (None, None)),
            signature("total", (None, 1), ()),
        ]
        return {each.name: each for each in made}

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        self.ran.append((signature, inputs["x"].tolist()))
        if self.fault is not None:
            raise self.fault
        doubled = inputs["x"] * np.float32(2)
        return {"y": doubled.sum() if signature == "total" else doubled}


class Scene:
    """An endpoint of a Doubler, and requests to it."""

    def __init__(self, model: Doubler, **options: Any) -> None:
        self.model = model
        self.executor = FakeExecutor(**options.pop("executor", {"run_time": 1.0}))
        self.batcher: Batcher[Tensors, Tensors] = Batcher(
            Runner(model), executor=self.executor, max_batch_size=4, repeatable=True, **options
        )
        self.endpoint = Endpoint(
            ServedModel("m", 1, model.signatures, "test", 4),
            self.batcher,
            VersionStatistics("m", 1),
        )

    async def infer(self, signature: str, values: Any) -> NDArray[Any]:
        known = self.model.signatures[signature]
        inputs = {"x": np.array(values, "float32")}
        response = await self.endpoint.infer(InferenceRequest(self.endpoint.served, known, inputs))
        return response.outputs["y"]

    async def answers(self, *requests: tuple[str, Any]) -> list[Any]:
        """Of requests that come together, after one that keeps the model busy."""
        busy = asyncio.create_task(self.infer("row", [[0]]))
        await asyncio.sleep(0)
        asked = asyncio.gather(*[self.infer(*request) for request in requests])
        answers = await asked
        await busy
        assert self.model.ran.pop(0) == ("row", [[0.0]])
        return [np.asarray(answer).tolist() for answer in answers]


@asynccontextmanager
async def scene(fault: Exception | None = None, **options: Any) -> AsyncIterator[Scene]:
    made = Scene(Doubler(fault), **options)
    async with made.batcher:
        yield made


def test_requests_share_a_batch_and_get_their_own_rows() -> None:
    async def main() -> None:
        async with scene() as s:
            answers = await s.answers(("row", [[1], [2]]), ("row", [[3]]))
            assert answers == [[[2], [4]], [[6]]]
            assert s.model.ran == [("row", [[1], [2], [3]])]

    run(main())


def test_a_request_of_many_rows_is_cut_up_and_put_together() -> None:
    async def main() -> None:
        async with scene() as s:
            values = [[float(n)] for n in range(10)]
            assert await s.answers(("row", values)) == [[[2 * n] for (n,) in values]]
            assert [len(rows) for _, rows in s.model.ran] == [4, 4, 2]
            assert [row for _, rows in s.model.ran for row in rows] == values

    run(main())


def test_exactly_a_batch_is_not_cut_up() -> None:
    async def main() -> None:
        async with scene() as s:
            assert await s.answers(("row", [[1], [2], [3], [4]])) == [[[2], [4], [6], [8]]]
            assert s.batcher.stats().accepted == 2

    run(main())


def test_trailing_ones_are_left_out_of_a_cut_up_answer_too() -> None:
    async def main() -> None:
        async with scene() as s:
            assert await s.answers(("row", [1, 2, 3, 4, 5])) == [[2, 4, 6, 8, 10]]

    run(main())


def test_shapes_and_signatures_are_kept_apart() -> None:
    async def main() -> None:
        async with scene() as s:
            requests: list[tuple[str, Any]] = [
                ("row", [[1]]),
                ("same", [[2]]),
                ("wide", [[3]]),
                ("wide", [[4, 5]]),
                ("wide", [[6]]),
                ("row", [[7]]),
            ]
            answers = await s.answers(*requests)
            assert answers == [[[2]], [[4]], [[6]], [[8, 10]], [[12]], [[14]]]
            assert sorted(s.model.ran) == [
                ("row", [[1], [7]]),
                ("same", [[2]]),
                ("wide", [[3], [6]]),
                ("wide", [[4, 5]]),
            ]

    run(main())


def test_a_signature_that_cannot_be_batched_runs_each_request_alone_and_whole() -> None:
    async def main() -> None:
        async with scene() as s:
            many = [[1.0]] * 9
            assert await s.answers(("total", [[1]]), ("total", [[1]]), ("total", many)) == [
                2,
                2,
                18,
            ]
            assert s.model.ran == [("total", [[1]]), ("total", [[1]]), ("total", many)]

    run(main())


def test_what_warm_up_found_to_influence_each_other_runs_alone() -> None:
    async def main() -> None:
        async with scene() as s:
            alone = s.model.signatures["wide"].running_alone("rows influence each other")
            request = InferenceRequest(s.endpoint.served, alone, {"x": np.ones((6, 1), "float32")})
            response = await s.endpoint.infer(request)
            assert len(response.outputs["y"]) == 6
            assert [len(rows) for _, rows in s.model.ran] == [6]

    run(main())


def test_input_that_does_not_fit_never_reaches_the_queue() -> None:
    async def main() -> None:
        async with scene() as s:
            with pytest.raises(InvalidArgument, match=r"\[-1,1\]"):
                await s.infer("row", [[1, 2]])
            assert s.batcher.stats().accepted == 0

    run(main())


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        (ValueError("secret 31337"), Code.INTERNAL, "the model failed: ValueError"),
        (MemoryError(), Code.INTERNAL, "the model failed: MemoryError"),
        (StopIteration(), Code.INTERNAL, "the model failed: StopIteration"),
    ],
)
@pytest.mark.parametrize("rows", [1, 9])
def test_what_the_model_raises_is_told_without_its_details(
    fault: Exception, code: Code, words: str, rows: int
) -> None:
    async def main() -> None:
        async with scene(fault) as s:
            with pytest.raises(ServingError) as told:
                await s.infer("row", [[1.0]] * rows)
            assert told.value.code is code
            assert str(told.value) == words
            assert told.value.__cause__ is not None
            assert told.value.__cause__.__cause__ is fault

    run(main())


@pytest.mark.parametrize("rows", [1, 9])
def test_input_that_the_model_refuses_is_the_clients_mistake(rows: int) -> None:
    async def main() -> None:
        async with scene(InputRejected("negative")) as s:
            with pytest.raises(InvalidArgument, match="the model refused the input: negative"):
                await s.infer("row", [[1.0]] * rows)

    run(main())


class NoNegatives(Doubler):
    """Refuses every batch that has a negative number in it."""

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        outputs = super().run(signature, inputs)
        if (inputs["x"] < 0).any():
            msg = "negative"
            raise InputRejected(msg)
        return outputs


def test_a_row_that_the_model_refuses_harms_nobody_else_in_its_batch() -> None:
    async def main() -> None:
        model = Scene(NoNegatives())
        async with model.batcher:
            busy = asyncio.create_task(model.infer("row", [[0]]))
            await asyncio.sleep(0)
            asked = [model.infer("row", [[value]]) for value in (1, -2, 3)]
            good, bad, also_good = await asyncio.gather(*asked, return_exceptions=True)
            await busy
            assert np.asarray(good).tolist() == [[2]]
            assert isinstance(bad, InvalidArgument)
            assert np.asarray(also_good).tolist() == [[6]]
            ran = [rows for _, rows in model.model.ran]
            assert ran == [[[0]], [[1], [-2], [3]], [[1]], [[-2]], [[3]]]

    run(main())


def test_an_output_without_the_batchs_rows_is_a_failure_of_the_model() -> None:
    class Forgetful(Doubler):
        def run(self, signature: str, inputs: Tensors) -> Tensors:
            return {"y": inputs["x"][:1]}

    async def main() -> None:
        s = Scene(Forgetful())
        async with s.batcher:
            with pytest.raises(Internal, match="the model failed: ValueError"):
                await s.infer("row", [[1], [2]])

    run(main())


def test_a_full_queue_is_unavailable_for_as_long_as_the_batcher_says() -> None:
    async def main() -> None:
        async with scene(max_queue_size=4, executor={"run_time": 3.0}) as s:
            await s.infer("row", [[0]])
            busy = asyncio.create_task(s.infer("row", [[0]]))
            await asyncio.sleep(UNTIL_IT_RUNS)
            waiting = [asyncio.create_task(s.infer("row", [[n]])) for n in range(4)]
            await asyncio.sleep(0)
            with pytest.raises(Unavailable) as told:
                await s.infer("row", [[9]])
            # What is left of the batch that runs, and two full ones.
            assert told.value.retry_after == pytest.approx(5.0, rel=1e-3)
            assert str(told.value).startswith("the queue is full: no room for 1 more rows")
            await asyncio.gather(busy, *waiting)

    run(main())


def test_more_rows_than_the_queue_holds_are_the_clients_mistake() -> None:
    async def main() -> None:
        async with scene(max_queue_size=6) as s:
            with pytest.raises(InvalidArgument, match="too many rows for one request: 7 rows"):
                await s.infer("row", [[1]] * 7)
            assert s.batcher.stats().accepted == 0

    run(main())


@pytest.mark.parametrize("rows", [1, 9])
def test_a_closed_batcher_is_unavailable(rows: int) -> None:
    async def main() -> None:
        async with scene() as s:
            await s.batcher.close()
            with pytest.raises(Unavailable, match="the model is being shut down"):
                await s.infer("row", [[1]] * rows)

    run(main())


def test_who_waits_when_it_closes_is_told_the_same() -> None:
    async def main() -> None:
        async with scene() as s:
            waiting = asyncio.create_task(s.infer("row", [[1]]))
            await asyncio.sleep(0)
            await s.batcher.close()
            with pytest.raises(Unavailable, match="the model is being shut down"):
                await waiting

    run(main())


def test_an_error_that_is_nobodys_stays_itself() -> None:
    async def main() -> None:
        s = Scene(Doubler())
        with pytest.raises(RuntimeError, match="has not been entered") as raised:
            await s.infer("row", [[1]])
        assert raised.value.__cause__ is None

    run(main())


def test_a_client_who_goes_away_takes_all_parts_out_of_the_queue() -> None:
    async def main() -> None:
        async with scene() as s:
            busy = asyncio.create_task(s.infer("row", [[0]]))
            await asyncio.sleep(0)
            leaving = asyncio.create_task(s.infer("row", [[1]] * 9))
            await asyncio.sleep(0)
            assert s.batcher.stats().queued_rows >= 9
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
            await busy
            assert s.model.ran == [("row", [[0]])]

    run(main())


def test_one_alone_is_equal_to_itself_only() -> None:
    assert Bucket("s", None) == Bucket("s", None)
    assert Bucket("s", Alone()) != Bucket("s", Alone())


def test_a_runner_gives_each_request_of_a_batch_its_rows() -> None:
    items: list[Tensors] = [{"x": np.full((n, 1), n, "float32")} for n in (1, 3, 2)]
    results = Runner(Doubler())(
        Batch(items, Bucket("row", None), [len(item["x"]) for item in items])
    )
    assert [result["y"].ravel().tolist() for result in results] == [[2], [6, 6, 6], [4, 4]]
