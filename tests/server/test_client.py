"""The client and this server over real HTTP: every protocol, every model, every mistake."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import ml_dtypes
import numpy as np
import pytest

from server.access import Access
from server.adapters.aiohttp_server import HttpServer
from server.client import (
    Client,
    DeadlineExceeded,
    Forbidden,
    InvalidRequest,
    ModelState,
    NotFound,
    Refused,
    Retries,
)
from server.protocols.json_tensors import READABLE
from server.tokens import make_token
from tests.server.by_hand import ByHand, served_by_hand, until
from tests.server.conftest import Served

PROTOCOLS: Final = ["auto", "oip", "oip-json", "tfserving", "npy"]
NEVER = Retries(attempts=1)


@pytest.fixture(scope="module")
def url(served: Served) -> Iterator[str]:
    """Where `served` is over HTTP, for clients that run on its loop."""
    http = HttpServer(served.application.front)
    yield served.run(http.open("127.0.0.1", 0))
    served.run(http.close(timeout=1.0))


class Asker:
    """Runs calls of a client, each of a new one."""

    def __init__(self, served: Served, url: str) -> None:
        self._served = served
        self._url = url

    def __call__(
        self, ask: Callable[[Client], Awaitable[Any]], model: str = "", **options: Any
    ) -> Any:
        async def main() -> Any:
            async with Client(self._url, model, **options) as client:
                return await ask(client)

        return self._served.run(main())


@pytest.fixture
def asked(served: Served, url: str) -> Asker:
    return Asker(served, url)


# ------------------------------------------------------------------------------------ inference


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_rows_are_predicted(asked: Asker, protocol: str) -> None:
    rows = np.array([[1.0], [2.0], [5.0]], "float32")
    options = {"protocol": protocol}
    answered = asked(lambda client: client.predict(rows), "half_plus_two", **options)
    assert (answered.dtype, answered.tolist()) == (np.float32, [[2.5], [3.0], [4.5]])
    mixed: Any = [[1], [2.5]]
    listed = asked(lambda client: client.predict(mixed), "half_plus_two", **options)
    assert (listed.dtype, listed.tolist()) == (np.float32, [[2.5], [3.25]])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_several_inputs_and_outputs_go_by_name(asked: Asker, protocol: str) -> None:
    inputs: Any = {"b": np.array([[1, 2]], "float32"), "a": [[10, 20]]}
    outputs = asked(lambda client: client.infer(inputs), "two_by_two", protocol=protocol)
    assert {name: array.tolist() for name, array in outputs.items()} == {
        "sum": [[11.0, 22.0]],
        "difference": [[9.0, 18.0]],
    }


@pytest.mark.parametrize(
    ("protocol", "dtype"),
    [
        *((protocol, dtype) for protocol in PROTOCOLS for dtype in sorted(READABLE)),
        *((protocol, "float16") for protocol in ("auto", "oip", "npy")),
    ],
)
def test_dtypes_come_back(asked: Asker, protocol: str, dtype: str) -> None:
    ends: tuple[Any, Any] = (False, True)
    if np.dtype(dtype).kind in "iu":
        ends = np.iinfo(dtype).min, np.iinfo(dtype).max
    elif np.dtype(dtype).kind == "f":
        ends = -1.5, float(np.finfo(dtype).max)
    sent = np.array([ends, ends[::-1]], dtype)
    (back,) = asked(
        lambda client: client.infer({"x": sent}, signature=dtype), "every_dtype", protocol=protocol
    ).values()
    assert back.dtype == sent.dtype
    np.testing.assert_array_equal(back, sent)


def test_brain_floats_and_halves_come_as_bytes(asked: Asker) -> None:
    sent = np.array([[1.5, -2.0]], ml_dtypes.bfloat16)
    for protocol in ("auto", "oip", "npy"):
        back = asked(
            lambda client: client.infer({"x": sent}, signature="bfloat16"),
            "words",
            protocol=protocol,
        )["y"]
        assert back.dtype == sent.dtype
        np.testing.assert_array_equal(back, sent)
        halves = asked(
            lambda client: client.infer({"x": [[0.5, 1]]}, signature="halves"),
            "words",
            protocol="auto" if protocol == "oip" else protocol,
        )
        assert {name: array.dtype.name for name, array in halves.items()} == {
            "full": "float32",
            "half": "float16",
            "brain": "bfloat16",
        }


@pytest.mark.parametrize("protocol", ["auto", "oip", "oip-json", "tfserving"])
def test_strings_are_bytes(asked: Asker, protocol: str) -> None:
    texts = ["", "é", "a\0b"]
    for sent in (texts, np.array(texts, object), np.array([t.encode() for t in texts], object)):
        told = asked(lambda client: client.infer({"text": sent}), "words", protocol=protocol)  # noqa: B023 - it is asked at once
        assert told["text"].tolist() == [b"", "é".encode(), b"a\0b"]
        assert told["length"].tolist() == [0, 2, 3]


def test_empty_outputs_keep_their_shape(asked: Asker) -> None:
    for protocol in PROTOCOLS:
        told = asked(
            lambda client: client.infer({"x": np.ones((2, 2), "float32")}, signature="nothing"),
            "words",
            protocol=protocol,
        )
        assert told["nothing"].shape == (2, 0)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_versions_are_asked_for_by_number(asked: Asker, protocol: str) -> None:
    rows = np.array([[1.0]], "float32")
    right = asked(lambda c: c.predict(rows, version=123), "half_plus_two", protocol=protocol)
    assert right.tolist() == [[2.5]]
    with pytest.raises(NotFound, match="124"):
        asked(lambda c: c.predict(rows, version=124), "half_plus_two", protocol=protocol)


def test_labels_are_asked_for_where_there_are_any(asked: Asker) -> None:
    rows = np.array([[1.0]], "float32")
    for protocol in ("auto", "tfserving", "npy"):
        right = asked(
            lambda client: client.predict(rows, label="stable"), "half_plus_two", protocol=protocol
        )
        assert right.tolist() == [[2.5]]
    with pytest.raises(InvalidRequest, match="no labels"):
        asked(lambda client: client.predict(rows, label="stable"), "half_plus_two", protocol="oip")


def test_a_name_may_hold_anything(asked: Asker) -> None:
    for protocol in PROTOCOLS:
        with pytest.raises(NotFound) as told:
            asked(
                lambda client: client.infer({"x": np.ones((1, 1), "float32")}),
                "no such/model:é?",
                protocol=protocol,
            )
        assert told.value.status == 404
        assert "no such/model:é?" in str(told.value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_wrong_is_told_in_the_words_of_the_server(asked: Asker, protocol: str) -> None:
    wrong = np.ones((1, 3), "float32")
    with pytest.raises(InvalidRequest, match="float32") as told:
        asked(lambda client: client.infer({"x": wrong}), "half_plus_two", protocol=protocol)
    assert (told.value.status, told.value.attempts) == (400, 1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_wrong_with_lists_is_told_before_they_are_sent(asked: Asker, protocol: str) -> None:
    cases: list[tuple[Any, str]] = [([[1.0], [1.0, 2.0]], "one length"), ([["x"]], "float32")]
    for rows, words in cases:
        with pytest.raises(InvalidRequest, match=words) as told:
            asked(lambda client: client.predict(rows), "half_plus_two", protocol=protocol)  # noqa: B023 - it is asked at once
        assert told.value.status == 0


def test_predict_is_for_one_input_and_one_output(asked: Asker) -> None:
    with pytest.raises(InvalidRequest, match="takes 'a', 'b' and gives 'difference', 'sum'"):
        asked(lambda client: client.predict([[1.0, 2.0]]), "two_by_two")


def test_large_requests_and_compressed_ones_are_answered(asked: Asker) -> None:
    rows = np.random.default_rng(0).normal(size=(5, 40_000))
    for protocol in PROTOCOLS:
        for compress in (False, True):
            (back,) = asked(
                lambda client: client.infer({"x": rows}, signature="float64"),
                "every_dtype",
                protocol=protocol,
                compress=compress,
            ).values()
            np.testing.assert_array_equal(back, rows)


def test_a_body_is_sent_as_it_is(asked: Asker) -> None:
    reply, receipt = asked(
        lambda client: client.post("/v1/models/half_plus_two:predict", b'{"instances": [[1]]}')
    )
    assert reply.json() == {"predictions": [[2.5]]}
    assert receipt.batch == 1


# -------------------------------------------------------------------------------------- about


def test_metadata_has_all_signatures_where_the_server_tells_them(asked: Asker) -> None:
    for protocol in ("auto", "tfserving", "npy"):
        about = asked(lambda client: client.metadata(), "words", protocol=protocol)
        assert "halves" in about.signatures
        assert str(about.signature().inputs["text"]) == "string[-1]"
    (only,) = asked(lambda c: c.metadata(), "words", protocol="oip").signatures
    assert only == "serving_default"


def test_models_and_their_states_are_listed(asked: Asker) -> None:
    half = ModelState("half_plus_two", "123", "READY")
    for protocol in ("auto", "oip", "npy"):
        everything = asked(lambda client: client.models(), protocol=protocol)
        assert half in everything
        assert len(everything) > 5
        assert asked(lambda c: c.models(), "half_plus_two", protocol=protocol) == [half]
    (state,) = asked(lambda c: c.models(model="half_plus_two"), protocol="tfserving")
    assert (state.state, state.ready) == ("AVAILABLE", True)
    with pytest.raises(InvalidRequest, match="does not list models"):
        asked(lambda client: client.models(), protocol="tfserving")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_who_is_ready_says_so(asked: Asker, protocol: str) -> None:
    assert asked(lambda client: client.ready(), "half_plus_two", protocol=protocol) is True
    assert asked(lambda client: client.ready(model="none"), protocol=protocol) is False
    if protocol != "tfserving":
        assert asked(lambda client: client.ready(), protocol=protocol) is True


# ------------------------------------------------------------- with a model that the test runs


@asynccontextmanager
async def by_hand(
    access: Access | None = None, **options: Any
) -> AsyncIterator[tuple[ByHand, Client]]:
    async with (
        served_by_hand(max_queue_size=2, max_batch_size=2, access=access) as server,
        Client(server.url, "doubler", **options) as client,
    ):
        yield server, client


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


def rows(*values: float) -> Any:
    return {"x": np.array(values, "float32")[:, None]}


async def handed_over(server: ByHand, waiting: int) -> None:
    """Until one batch is with the model and so many rows wait for the next."""
    await until(lambda: server.executor.handed_over == 1)
    await until(lambda: server.batcher.stats().queued_rows == waiting)


def test_a_receipt_tells_of_the_batch_that_requests_share() -> None:
    async def main() -> None:
        async with by_hand(protocol="oip") as (server, client):
            first = asyncio.create_task(client.infer(rows(0)))
            await handed_over(server, 0)
            both = [asyncio.create_task(client.infer_with_receipt(rows(n))) for n in (1, 2)]
            await handed_over(server, 2)
            server.run_next()
            await first
            server.run_next()
            for n, (outputs, receipt) in zip((1, 2), await asyncio.gather(*both), strict=True):
                assert outputs["y"].tolist() == [[2.0 * n]]
                assert (receipt.batch, receipt.attempts) == (2, 1)
                assert receipt.queued is not None
                assert receipt.run is not None
                assert 0 < receipt.queued + receipt.run < receipt.total

    run(main)


def test_what_is_late_leaves_the_queue_of_the_server() -> None:
    async def main() -> None:
        async with by_hand(protocol="oip") as (server, client):
            first = asyncio.create_task(client.infer(rows(0)))
            await handed_over(server, 0)
            with pytest.raises(DeadlineExceeded):
                await client.infer(rows(13), timeout=0.05)
            await handed_over(server, 0)
            server.run_next()
            await first
            assert server.model.seen == [[0.0]]

    run(main)


def test_a_cancelled_call_leaves_the_queue_and_no_connection_behind() -> None:
    async def main() -> None:
        async with by_hand(protocol="oip") as (server, client):
            first = asyncio.create_task(client.infer(rows(0)))
            await handed_over(server, 0)
            gone = asyncio.create_task(client.infer(rows(13)))
            await handed_over(server, 1)
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
            await handed_over(server, 0)
            assert len(client._http._connector._acquired) == 1
            server.run_next()
            await first
            assert server.model.seen == [[0.0]]
        assert client._http._connector.closed

    run(main)


def test_a_full_queue_refuses_and_says_when_to_come_again() -> None:
    async def main() -> None:
        async with by_hand(protocol="oip", retries=NEVER) as (server, client):
            sent = [asyncio.create_task(client.infer(rows(0)))]
            await handed_over(server, 0)
            sent.append(asyncio.create_task(client.infer(rows(1, 2))))
            await handed_over(server, 2)
            with pytest.raises(Refused, match="full") as told:
                await client.infer(rows(3))
            assert told.value.status == 503
            assert told.value.retry_after
            server.run_next()
            await sent[0]
            server.run_next()
            await sent[1]

    run(main)


def test_who_is_more_urgent_goes_first() -> None:
    async def main() -> None:
        async with by_hand(protocol="oip") as (server, client):
            sent = [asyncio.create_task(client.infer(rows(0, 0)))]
            await handed_over(server, 0)
            for number, priority in ((1, 5), (2, -5)):
                calling = client.infer(rows(number), priority=priority, request_id=f"n{number}")
                sent.append(asyncio.create_task(calling))
                await handed_over(server, number)
            server.run_next()
            await until(lambda: len(server.model.seen) == 1)
            server.run_next()
            await asyncio.gather(*sent)
            assert server.model.seen[1] == [2.0, 1.0]

    run(main)


def test_a_token_is_sent_with_everything() -> None:
    secret, token = make_token("ci")

    async def main() -> None:
        async with by_hand(Access([token]), token=secret, timeout=30.0) as (server, client):
            about = await client.metadata()
            assert list(about.signature().inputs) == ["x"]
            sent = asyncio.create_task(client.predict([[4]]))
            await until(lambda: server.executor.handed_over == 1)
            server.run_next()
            assert (await sent).tolist() == [[8.0]]
            async with Client(server.url, "doubler") as stranger:
                with pytest.raises(Forbidden) as told:
                    await stranger.predict([[4]])
                assert told.value.status == 401

    run(main)


def test_a_client_for_a_mounted_server_has_a_path() -> None:
    async def main() -> None:
        async with by_hand() as (server, _), Client(f"{server.url}/ml/", "doubler") as client:
            # Nothing is mounted there: the path is what shows it.
            with pytest.raises(NotFound, match="/ml/v1/models/doubler/metadata"):
                await client.predict([[1.0]])

    run(main)


# ------------------------------------------------------------------------------ without a server


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "127.0.0.1:8501"}, "http://HOST:PORT"),
        ({"url": "ftp://host"}, "http://HOST:PORT"),
        ({"url": "http://"}, "http://HOST:PORT"),
        ({"url": "http://host/?a"}, "http://HOST:PORT"),
        ({"url": "http://host/#a"}, "http://HOST:PORT"),
        ({"url": f"http://{'0' * 64}"}, "a name that is too long"),
        ({"url": "http://me:secret@host", "token": "a"}, "either a token or a user"),
        ({"token": "a\nb"}, "a header has what cannot be sent: 'Bearer a"),
        ({"headers": {"x\r": "y"}}, "a header has what cannot be sent: 'x"),
        ({"protocol": "grpc"}, "one of auto, oip, oip-json, tfserving, npy, not 'grpc'"),
        ({"timeout": 0}, "above 0"),
        ({"timeout": float("nan")}, "above 0"),
        ({"connections": 0}, "at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Client(**{"url": "http://host", **options})


def test_calls_that_make_no_sense_are_refused() -> None:
    async def main() -> None:
        async with Client("http://127.0.0.1:1", "m", protocol="oip") as client:
            with pytest.raises(ValueError, match="above 0"):
                await client.infer({"x": np.ones(1)}, timeout=-1)
            with pytest.raises(ValueError, match="either a version or a label"):
                await client.infer({"x": np.ones(1)}, version=1, label="stable")

    run(main)


def test_a_client_that_is_not_open_says_so() -> None:
    async def main() -> None:
        client = Client("http://127.0.0.1:1", "m", protocol="oip")
        with pytest.raises(RuntimeError, match="async with"):
            await client.infer({"x": np.ones(1)})
        async with client:
            pass
        with pytest.raises(RuntimeError, match="async with"):
            await client.infer({"x": np.ones(1)})

    run(main)


def test_it_is_light() -> None:
    program = "import sys, server.client; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    modules = set(ran.stdout.split())
    heavy = {"tensorflow", "keras", "batcher", "server.models", "server.app", "grpc"}
    assert "server.client.client" in modules
    assert not modules & heavy
