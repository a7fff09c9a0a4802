"""The scans that the live page sends, the models it offers them to, and the burst of many."""

import asyncio
import json
from collections.abc import Iterator

import numpy as np
import pytest

from server import static_files
from server.config import Config, ModelConfig
from server.demo import DIGITS
from server.demo.scans import held_out
from server.errors import Internal, Unavailable
from server.inference import InferenceRequest, InferenceResponse, ModelAddress, ServedModel
from server.live.digits import REQUESTS, Bursts, read_scans, reads_digits
from server.signature import Signature, TensorSpec
from tests.server.conftest import Served

SCANS = static_files.read("live/scans.json")
BURST = "/live/burst?model=digits&version=1"


@pytest.fixture(scope="module")
def digits() -> Iterator[Served]:
    served = Served(Config((ModelConfig("digits", DIGITS, max_batch_size=16),)))
    yield served
    served.close()


def model(
    taken: TensorSpec, given: TensorSpec | None = None, *, name: str = "serving_default"
) -> ServedModel:
    outputs = {"p": given or TensorSpec("p", "float32", (None, 10))}
    signature = Signature(name, {taken.name: taken}, outputs)
    return ServedModel("any", 1, {name: signature}, "any", 64)


DRAWING = TensorSpec("x", "float32", (None, 8, 8))


def test_the_scans_are_the_first_of_those_that_the_model_never_saw() -> None:
    scans, labels = read_scans(SCANS)
    expected, expected_labels = held_out()
    assert len(scans) == len(labels) == 200
    np.testing.assert_array_equal(scans, expected[:200])
    np.testing.assert_array_equal(labels, expected_labels[:200])


def test_whoever_takes_drawings_and_gives_ten_numbers_reads_digits() -> None:
    assert reads_digits(model(DRAWING)) is not None
    assert reads_digits(model(TensorSpec("x", "float64", (None, 8, 8)))) is not None


@pytest.mark.parametrize(
    "other",
    [
        model(TensorSpec("x", "float32", (None, 28, 28))),
        model(TensorSpec("x", "float32", (8, 8))),
        model(TensorSpec("x", "string", (None, 8, 8))),
        model(DRAWING, TensorSpec("p", "float32", (None, 2))),
        model(DRAWING, name="other"),
    ],
)
def test_others_do_not(other: ServedModel) -> None:
    assert reads_digits(other) is None


def test_a_model_of_two_inputs_does_not() -> None:
    mask = TensorSpec("mask", "float32", (None, 8, 8))
    outputs = {"p": TensorSpec("p", "float32", (None, 10))}
    signature = Signature("serving_default", {"x": DRAWING, "mask": mask}, outputs)
    assert reads_digits(ServedModel("two", 1, {"serving_default": signature}, "any", 8)) is None


# -------------------------------------------------------------------------------------- the burst


def test_a_burst_runs_in_full_batches_and_is_read_right(digits: Served) -> None:
    answer = digits.ask("POST", BURST)
    assert answer.status == 200, answer.body
    told = json.loads(answer.body)
    assert told["requests"] == told["answered"] == REQUESTS
    assert told["errors"] == {}
    assert told["right"] >= 0.98 * REQUESTS
    sizes = [size for _, _, size, *_ in told["batches"]]
    assert sum(sizes) == REQUESTS
    assert max(sizes) == 16
    taken = [batch[0] for batch in told["batches"]]
    assert taken == sorted(taken)
    assert taken[0] >= told["began"]


@pytest.mark.parametrize(
    ("target", "status", "says"),
    [
        ("/live/burst?model=digits&version=2", 404, "no such model here"),
        ("/live/burst?model=nobody&version=1", 404, "no such model here"),
        ("/live/burst?model=digits&version=one", 400, "not for version 'one'"),
        (f"/live/burst?model=digits&version={'9' * 5000}", 400, "not for version '99"),
        ("/live/burst?model=digits&version=\u0661", 400, "not for version '\u0661'"),
        ("/live/burst?model=digits", 400, "not for version ''"),
        ("/live/burst", 400, "model=NAME&version=NUMBER"),
    ],
)
def test_a_burst_names_a_model_that_is_here(
    digits: Served, target: str, status: int, says: str
) -> None:
    answer = digits.ask("POST", target)
    assert answer.status == status
    assert says in json.loads(answer.body)["error"]


def test_a_burst_is_not_for_other_models(served: Served) -> None:
    answer = served.ask("POST", "/live/burst?model=half_plus_two&version=123")
    assert answer.status == 404
    assert "does not read digits" in json.loads(answer.body)["error"]


@pytest.mark.parametrize(
    ("site", "status"), [("same-origin", 200), ("same-site", 403), ("cross-site", 403)]
)
def test_a_burst_is_for_no_page_of_another_site(digits: Served, site: str, status: int) -> None:
    answer = digits.ask("POST", BURST, headers={"Sec-Fetch-Site": site})
    assert answer.status == status


def test_a_burst_is_sent_by_post_alone(digits: Served) -> None:
    answer = digits.ask("GET", BURST)
    assert (answer.status, (answer.headers or {})["Allow"]) == (405, "POST")


class Refusing:
    """Serves a model whose queue is full."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.waiting = asyncio.Event()

    def find(self, address: ModelAddress) -> ServedModel:
        return model(DRAWING)

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        await self.waiting.wait()
        raise self.error


def test_what_is_refused_of_a_burst_is_told_by_code() -> None:
    async def main() -> None:
        inference = Refusing(Unavailable("the queue is full"))
        inference.waiting.set()
        told = await Bursts(inference, SCANS).burst("any", 1)
        assert told["errors"] == {"UNAVAILABLE": REQUESTS}
        assert (told["answered"], told["right"], told["batches"]) == (0, 0, [])

    asyncio.run(main())


def test_a_defect_is_not_hidden_in_a_burst() -> None:
    async def main() -> None:
        inference = Refusing(ZeroDivisionError("a defect"))
        inference.waiting.set()
        with pytest.raises(ZeroDivisionError):
            await Bursts(inference, SCANS).burst("any", 1)

    asyncio.run(main())


def test_one_burst_at_a_time() -> None:
    async def main() -> None:
        inference = Refusing(Internal("the model failed"))
        bursts = Bursts(inference, SCANS)
        first = asyncio.create_task(bursts.burst("any", 1))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="another burst"):
            await bursts.burst("any", 1)
        inference.waiting.set()
        assert (await first)["errors"] == {"INTERNAL": REQUESTS}
        assert (await bursts.burst("any", 1))["answered"] == 0

    asyncio.run(main())
