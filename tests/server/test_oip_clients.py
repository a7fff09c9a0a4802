"""Triton's own HTTP clients, blocking and not, work unchanged: section 9 of the note."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tritonclient.http
import tritonclient.http.aio
from tritonclient.http import InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from server.adapters.aiohttp_server import HttpServer
from server.config import Config, ModelConfig
from tests.server.administrator import BEARER, TOKEN
from tests.server.grpc_served import GrpcServed

HALF, TWO, WORDS, DTYPES = "half_plus_two", "two_by_two", "words", "every_dtype"

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def address(models: dict[str, Path]) -> Iterator[str]:
    """Host and port of a server on a thread of its own, as these clients block."""
    names = (HALF, TWO, WORDS, DTYPES)
    config = Config(
        tuple(ModelConfig(name, models[name], max_batch_size=8) for name in names),
        admin=True,
        admin_tokens=(TOKEN,),
    )
    with GrpcServed(config) as served:
        http = HttpServer(served.application.front)
        url = served.run(http.open("127.0.0.1", 0))
        yield url.removeprefix("http://")
        served.run(http.close(timeout=1.0))


@pytest.fixture(scope="module", params=["sync", "aio"])
def ask(address: str, request: pytest.FixtureRequest) -> Iterator[Ask]:
    """A client of one kind: call a method by name, get what it returns."""
    if request.param == "sync":
        with tritonclient.http.InferenceServerClient(address) as client:
            yield lambda method, *args, **named: getattr(client, method)(*args, **named)
        return

    async def open_client() -> Any:
        return tritonclient.http.aio.InferenceServerClient(address)

    with asyncio.Runner() as runner:
        aio = runner.run(open_client())
        yield lambda method, *args, **named: runner.run(getattr(aio, method)(*args, **named))
        runner.run(aio.close())


def tensor(name: str, values: Any, datatype: str = "FP32", *, raw: bool = True) -> InferInput:
    dtypes: dict[str, Any] = {"BYTES": object, "FP16": np.float16, "BF16": ml_dtypes.bfloat16}
    array = np.array(values, dtypes.get(datatype, np.float32))
    given = InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array, binary_data=raw)
    return given


def refused(ask: Ask, *args: Any, **named: Any) -> tuple[str, str]:
    """Status and text of a call that must fail."""
    with pytest.raises(InferenceServerException) as caught:
        ask(*args, **named)
    return caught.value.status(), caught.value.message()


def test_health(ask: Ask) -> None:
    assert ask("is_server_live") is True
    assert ask("is_server_ready") is True
    assert ask("is_model_ready", HALF) is True
    assert ask("is_model_ready", HALF, "123") is True
    assert ask("is_model_ready", HALF, "9") is False
    assert ask("is_model_ready", "nobody") is False


def test_metadata_configuration_and_index(ask: Ask) -> None:
    assert "statistics" in ask("get_server_metadata")["extensions"]
    assert ask("get_model_metadata", HALF)["inputs"] == [
        {"name": "x", "datatype": "FP32", "shape": [-1, 1]}
    ]
    assert ask("get_model_metadata", HALF, "123")["versions"] == ["123"]
    assert ask("get_model_config", HALF)["max_batch_size"] == 8
    index = {entry["name"]: entry["state"] for entry in ask("get_model_repository_index")}
    assert index == dict.fromkeys((HALF, TWO, WORDS, DTYPES), "READY")


@pytest.mark.parametrize("sent", [True, False], ids=["sends-raw", "sends-json"])
@pytest.mark.parametrize("back", [None, True, False], ids=["gets-all", "gets-raw", "gets-json"])
def test_inference(ask: Ask, *, sent: bool, back: bool | None) -> None:
    inputs = [tensor("a", [[1, 2], [3, 4]], raw=sent), tensor("b", [[9, 9], [9, 9]], raw=not sent)]
    wanted = {} if back is None else {"outputs": [InferRequestedOutput("sum", binary_data=back)]}
    result = ask("infer", TWO, inputs, request_id="7", **wanted)
    assert result.as_numpy("sum").tolist() == [[10, 11], [12, 13]]
    assert result.as_numpy("sum").dtype == np.float32
    assert (result.as_numpy("difference") is None) is (back is not None)
    response = result.get_response()
    assert (response["model_name"], response["model_version"], response["id"]) == (TWO, "1", "7")


@pytest.mark.parametrize("back", ["gzip", "deflate", None])
@pytest.mark.parametrize("sent", ["gzip", "deflate", None])
@pytest.mark.parametrize("raw", [True, False], ids=["raw", "json"])
def test_compression(ask: Ask, sent: str | None, back: str | None, *, raw: bool) -> None:
    result = ask(
        "infer",
        HALF,
        [tensor("x", [[1.0], [2.0]], raw=raw)],
        outputs=[InferRequestedOutput("y", binary_data=raw)],
        request_compression_algorithm=sent,
        response_compression_algorithm=back,
    )
    assert result.as_numpy("y").tolist() == [[2.5], [3.0]]


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "json"])
def test_strings(ask: Ask, *, raw: bool) -> None:
    texts = ["Grüße".encode(), b"", b"a b"]
    outputs = [InferRequestedOutput(name, binary_data=raw) for name in ("text", "length")]
    result = ask("infer", WORDS, [tensor("text", texts, "BYTES", raw=raw)], outputs=outputs)
    got = [t if raw else t.encode() for t in result.as_numpy("text").tolist()]
    assert got == texts
    assert result.as_numpy("length").tolist() == [7, 0, 3]


@pytest.mark.parametrize(
    ("model", "signature", "datatype"), [(DTYPES, "float16", "FP16"), (WORDS, "bfloat16", "BF16")]
)
def test_halves(ask: Ask, model: str, signature: str, datatype: str) -> None:
    given = tensor("x", [[0.5, -2.0]], datatype)
    result = ask("infer", model, [given], parameters={"signature_name": signature})
    assert result.as_numpy("y").tolist() == [[0.5, -2.0]]
    assert result.as_numpy("y").dtype == signature


def test_empty_tensors(ask: Ask) -> None:
    for outputs in (None, [InferRequestedOutput("nothing", binary_data=True)]):
        result = ask(
            "infer",
            WORDS,
            [tensor("x", [[1, 2], [3, 4]])],
            outputs=outputs,
            parameters={"signature_name": "nothing"},
        )
        assert result.as_numpy("nothing").shape == (2, 0)


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "json"])
def test_classification(ask: Ask, *, raw: bool) -> None:
    result = ask(
        "infer",
        WORDS,
        [tensor("x", [[0.25, 0.5, 0.125]])],
        outputs=[InferRequestedOutput("scores", binary_data=raw, class_count=2)],
        parameters={"signature_name": "scores"},
    )
    best = [
        text if isinstance(text, str) else text.decode() for text in result.as_numpy("scores")[0]
    ]
    assert best == ["0.500000:1", "0.250000:0"]


def test_priority_timeout_and_other_parameters(ask: Ask) -> None:
    result = ask(
        "infer",
        HALF,
        [tensor("x", [[1.0]])],
        model_version="123",
        priority=1,
        timeout=60_000_000,
        parameters={"user": "a"},
        headers={"X-Request-Id": "7"},
        query_params={"a": 1},
    )
    assert result.as_numpy("y").tolist() == [[2.5]]


@pytest.mark.parametrize(
    ("model", "given", "named", "status", "words"),
    [
        ("nobody", tensor("x", [[1.0]]), {}, "404", "nobody"),
        (HALF, tensor("x", [[1.0]]), {"model_version": "9"}, "404", "version 9"),
        (HALF, tensor("z", [[1.0]]), {}, "400", "'z'"),
        (HALF, tensor("x", [[1.0, 2.0]]), {}, "400", "[1,2]"),
        (HALF, tensor("x", [[1.0]], "FP16"), {}, "400", "FP16"),
        (HALF, tensor("x", [[1.0]]), {"sequence_id": 7}, "501", "sequence"),
        (HALF, tensor("x", [[1.0]]), {"outputs": [InferRequestedOutput("z")]}, "400", "'z'"),
    ],
    ids=["model", "version", "name", "shape", "datatype", "sequence", "output"],
)
def test_errors_are_told(  # noqa: PLR0917 - a table
    ask: Ask, model: str, given: InferInput, named: dict[str, Any], status: str, words: str
) -> None:
    told, text = refused(ask, "infer", model, [given], **named)
    assert told == status
    assert words in text
    assert "an exception occurred in the client" not in text


def test_statistics(ask: Ask) -> None:
    ask("infer", HALF, [tensor("x", [[1.0]])])
    (statistics,) = ask("get_inference_statistics", HALF, "123")["model_stats"]
    assert statistics["inference_stats"]["success"]["count"] > 0
    names = {one["name"] for one in ask("get_inference_statistics")["model_stats"]}
    assert names == {HALF, TWO, WORDS, DTYPES}


def test_a_model_is_unloaded_and_loaded(ask: Ask) -> None:
    ask("unload_model", TWO, headers=BEARER)
    assert ask("is_model_ready", TWO) is False
    ask("load_model", TWO, headers=BEARER)
    assert ask("is_model_ready", TWO) is True
    given: list[dict[str, Any]] = [{"config": "{}"}, {"config": "{}", "files": {"file:a": b"b"}}]
    for named in given:
        assert refused(ask, "load_model", TWO, headers=BEARER, **named)[0] == "403"
    assert refused(ask, "unload_model", TWO)[0] == "401"


def test_settings(ask: Ask) -> None:
    assert ask("get_trace_settings")["trace_level"] == ["OFF"]
    given = {"trace_level": ["TIMESTAMPS"], "trace_rate": "9", "trace_count": None}
    told = ask("update_trace_settings", model_name=HALF, settings=given, headers=BEARER)
    assert told == ask("get_trace_settings", HALF)
    assert (told["trace_level"], told["trace_rate"]) == (["TIMESTAMPS"], "9")
    cleared = {"trace_level": None, "trace_rate": None}
    ask("update_trace_settings", model_name=HALF, settings=cleared, headers=BEARER)
    assert ask("get_trace_settings", HALF) == ask("get_trace_settings")
    settings = ask("get_log_settings")
    assert ask("update_log_settings", settings=settings, headers=BEARER) == settings


def test_a_blocking_client_may_wait_later(address: str) -> None:
    with tritonclient.http.InferenceServerClient(address, concurrency=4) as client:
        asked = [client.async_infer(HALF, [tensor("x", [[float(n)]])]) for n in range(8)]
        got = [one.get_result().as_numpy("y").item() for one in asked]
    assert got == [n / 2 + 2 for n in range(8)]
