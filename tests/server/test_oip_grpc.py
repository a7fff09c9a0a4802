"""The Open Inference Protocol over gRPC, asked by Triton's own clients: every method of both."""

import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
from tritonclient.utils import InferenceServerException

from server.config import Config, ModelConfig
from server.tokens import make_token
from tests.server.administrator import BEARER, TOKEN
from tests.server.grpc_served import GrpcServed

HALF, TWO, WORDS = "half_plus_two", "two_by_two", "words"

SECRET, USER = make_token("user")

Ask = Callable[..., Any]


def bearing(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


ADMIN = {name.lower(): value for name, value in BEARER.items()}
"""gRPC has names of metadata in lower case only."""


@pytest.fixture(scope="module")
def served(models: dict[str, Path]) -> Iterator[GrpcServed]:
    """Everybody may use it; administration needs a token."""
    config = Config(
        tuple(ModelConfig(name, models[name], max_batch_size=8) for name in (HALF, TWO, WORDS)),
        admin=True,
        admin_tokens=(TOKEN,),
    )
    with GrpcServed(config) as served:
        yield served


@pytest.fixture(scope="module", params=["sync", "aio"])
def ask(served: GrpcServed, request: pytest.FixtureRequest) -> Iterator[Ask]:
    """A client of one kind: call a method by name, get what it returns."""
    if request.param == "sync":
        with tritonclient.grpc.InferenceServerClient(served.address) as client:
            yield lambda method, *args, **named: getattr(client, method)(*args, **named)
        return

    async def open_client() -> Any:
        return tritonclient.grpc.aio.InferenceServerClient(served.address)

    aio = served.run(open_client())
    yield lambda method, *args, **named: served.run(getattr(aio, method)(*args, **named))
    served.run(aio.close())


def tensor(name: str, values: Any, datatype: str = "FP32") -> Any:
    """An input of either client, its bytes taken from a NumPy array."""
    array = np.array(values, np.object_ if datatype == "BYTES" else np.float32)
    given = tritonclient.grpc.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array)
    return given


def output(name: str, classes: int = 0) -> Any:
    return tritonclient.grpc.InferRequestedOutput(name, class_count=classes)


def refused(ask: Ask, *args: Any, **named: Any) -> tuple[str, str]:
    """Status and text of a call that must fail."""
    with pytest.raises(InferenceServerException) as caught:
        ask(*args, **named)
    return caught.value.status().removeprefix("StatusCode."), caught.value.message()


def settings(told: Any) -> dict[str, Any]:
    """What the JSON form of settings says, without the names of types."""
    return {key: next(iter(value.values())) for key, value in told["settings"].items()}


# --------------------------------------------------------------------------------------- health


def test_the_server_lives_and_is_ready(ask: Ask) -> None:
    assert ask("is_server_live") is True
    assert ask("is_server_ready") is True


@pytest.mark.parametrize(
    ("model", "version", "ready"),
    [(HALF, "", True), (HALF, "123", True), (HALF, "124", False), ("nobody", "", False)],
)
def test_a_model_is_ready_or_not_and_an_unknown_one_is_not(
    ask: Ask, model: str, version: str, *, ready: bool
) -> None:
    assert ask("is_model_ready", model, version) is ready


def test_a_server_that_drains_lives_but_is_not_ready(models: dict[str, Path]) -> None:
    config = Config((ModelConfig(HALF, models[HALF]),))
    with GrpcServed(config) as served:
        served.run(served.application.drain())
        with tritonclient.grpc.InferenceServerClient(served.address) as client:
            assert client.is_server_live() is True
            assert client.is_server_ready() is False
            assert client.is_model_ready(HALF) is False
            with pytest.raises(InferenceServerException, match="UNAVAILABLE"):
                client.infer(HALF, [tensor("x", [[1.0]])])


# ------------------------------------------------------------------------------------- metadata


def test_the_server_tells_its_name_version_and_extensions(ask: Ask) -> None:
    told = ask("get_server_metadata", as_json=True)
    assert told["name"] == "batcher-server"
    assert told["version"]
    assert {"model_repository", "model_configuration", "statistics"} <= set(told["extensions"])


def test_a_model_tells_its_tensors(ask: Ask) -> None:
    assert ask("get_model_metadata", TWO, as_json=True) == {
        "name": TWO,
        "versions": ["1"],
        "platform": "tensorflow_savedmodel",
        "inputs": [{"name": name, "datatype": "FP32", "shape": ["-1", "2"]} for name in "ab"],
        "outputs": [
            {"name": name, "datatype": "FP32", "shape": ["-1", "2"]}
            for name in ("difference", "sum")
        ],
    }


def test_a_model_tells_its_configuration(ask: Ask) -> None:
    config = ask("get_model_config", HALF, "123").config
    assert (config.name, config.platform, config.backend) == (
        HALF,
        "tensorflow_savedmodel",
        "tensorflow",
    )
    assert config.max_batch_size == 8
    assert [(i.name, i.data_type, list(i.dims)) for i in config.input] == [("x", 11, [1])]
    assert [(o.name, o.data_type, list(o.dims)) for o in config.output] == [("y", 11, [1])]
    assert config.HasField("dynamic_batching")
    assert list(config.version_policy.specific.versions) == [123]


def test_strings_are_bytes_in_metadata_and_strings_in_the_configuration(ask: Ask) -> None:
    (text,) = ask("get_model_metadata", WORDS).inputs
    assert (text.datatype, list(text.shape)) == ("BYTES", [-1])
    assert ask("get_model_config", WORDS, as_json=True)["config"]["input"][0] == {
        "name": "text",
        "data_type": "TYPE_STRING",
    }


@pytest.mark.parametrize(
    "method", ["get_model_metadata", "get_model_config", "get_inference_statistics"]
)
@pytest.mark.parametrize(
    ("model", "version", "code"),
    [
        ("nobody", "", "NOT_FOUND"),
        (HALF, "124", "NOT_FOUND"),
        (HALF, "abc", "INVALID_ARGUMENT"),
        (HALF, "-1", "INVALID_ARGUMENT"),
    ],
)
def test_who_is_not_here_has_nothing_to_tell(
    ask: Ask, method: str, model: str, version: str, code: str
) -> None:
    told, text = refused(ask, method, model, version)
    assert told == code
    assert (version or model) in text


def test_a_version_that_is_no_number_cannot_be_ready(ask: Ask) -> None:
    assert refused(ask, "is_model_ready", HALF, "abc")[0] == "INVALID_ARGUMENT"


# ------------------------------------------------------------------------------------ inference


def test_a_model_answers(ask: Ask) -> None:
    answer = ask("infer", HALF, [tensor("x", [[1], [2], [5]])])
    assert answer.as_numpy("y").tolist() == [[2.5], [3.0], [4.5]]
    told = answer.get_response()
    assert (told.model_name, told.model_version, told.id) == (HALF, "123", "")
    assert not told.outputs[0].HasField("contents")


def test_the_id_comes_back(ask: Ask) -> None:
    answer = ask("infer", HALF, [tensor("x", [[1]])], "123", request_id="of mine")
    assert answer.get_response().id == "of mine"


def test_outputs_come_in_the_order_they_are_asked_for(ask: Ask) -> None:
    inputs = [tensor("b", [[3, 5]]), tensor("a", [[1, 2]])]
    answer = ask("infer", TWO, inputs, outputs=[output("sum"), output("difference")])
    assert [each.name for each in answer.get_response().outputs] == ["sum", "difference"]
    assert answer.as_numpy("sum").tolist() == [[4, 7]]
    assert answer.as_numpy("difference").tolist() == [[-2, -3]]
    only = ask("infer", TWO, inputs, outputs=[output("difference")])
    assert only.as_numpy("sum") is None


def test_strings_are_sent_and_come_back(ask: Ask) -> None:
    texts = [b"", b"a b", "Grüße".encode(), b"\xff\x00"]
    answer = ask("infer", WORDS, [tensor("text", texts, "BYTES")])
    assert answer.as_numpy("text").tolist() == texts
    assert answer.as_numpy("length").tolist() == [0, 3, 7, 2]


def test_a_request_larger_than_grpc_is_used_to_is_answered(ask: Ask) -> None:
    rows = np.full((1, 2**21 + 1), 1.0, np.float32)
    given = tritonclient.grpc.InferInput("x", list(rows.shape), "FP32")
    given.set_data_from_numpy(rows)
    told, text = refused(ask, "infer", HALF, [given])
    assert (told, "[1,2097153]" in text) == ("INVALID_ARGUMENT", True)


def test_classification_tells_the_best(ask: Ask) -> None:
    answer = ask(
        "infer",
        WORDS,
        [tensor("x", [[1, 3, 2], [9, 7, 8]])],
        outputs=[output("scores", 2)],
        parameters={"signature_name": "scores"},
    )
    assert answer.as_numpy("scores").tolist() == [
        [b"3.000000:1", b"2.000000:2"],
        [b"9.000000:0", b"8.000000:2"],
    ]


def test_priority_timeout_and_unknown_parameters_are_accepted(ask: Ask) -> None:
    answer = ask(
        "infer",
        HALF,
        [tensor("x", [[1]])],
        priority=1,
        timeout=60_000_000,
        parameters={"text": "a", "flag": True, "count": 3, "ratio": 0.5},
    )
    assert answer.as_numpy("y").tolist() == [[2.5]]


def test_a_timeout_that_nothing_can_meet_is_told(ask: Ask) -> None:
    told = refused(ask, "infer", HALF, [tensor("x", [[1]])], timeout=1)
    assert told[0] == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("sequence", [7, "a conversation"])
def test_sequences_are_refused(ask: Ask, sequence: int | str) -> None:
    told, text = refused(
        ask, "infer", HALF, [tensor("x", [[1]])], sequence_id=sequence, sequence_start=True
    )
    assert (told, "sequence" in text) == ("UNIMPLEMENTED", True)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_messages_are_read(ask: Ask, algorithm: str) -> None:
    answer = ask("infer", HALF, [tensor("x", [[1]])], compression_algorithm=algorithm)
    assert answer.as_numpy("y").tolist() == [[2.5]]


def told_later(answers: "queue.Queue[tuple[Any, Any]]") -> Callable[..., None]:
    """A callback as the client wants it: who calls back tells either a result or an error."""
    return lambda result, error: answers.put((result, error))


def test_a_client_that_does_not_wait_is_called_back(served: GrpcServed) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with tritonclient.grpc.InferenceServerClient(served.address) as client:
        client.async_infer(HALF, [tensor("x", [[1]])], told_later(answers))
        assert answers.get(timeout=60)[0].as_numpy("y").tolist() == [[2.5]]
        client.async_infer("nobody", [tensor("x", [[1]])], told_later(answers))
        result, error = answers.get(timeout=60)
    assert (result, error.status()) == (None, "StatusCode.NOT_FOUND")


def test_a_stream_is_told_what_to_do_instead(served: GrpcServed) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with tritonclient.grpc.InferenceServerClient(served.address) as client:
        client.start_stream(told_later(answers))
        client.async_stream_infer(HALF, [tensor("x", [[1]])])
        result, error = answers.get(timeout=60)
        client.stop_stream()
    assert (result, error.status()) == (None, "StatusCode.UNIMPLEMENTED")
    assert "ModelInfer" in error.message()


@pytest.mark.parametrize("method", ["system", "cuda"])
def test_there_is_no_shared_memory(ask: Ask, method: str) -> None:
    named = f"{method}_shared_memory"
    key: tuple[Any, ...] = ("a", "/a", 8) if method == "system" else ("a", b"", 0, 8)
    assert ask(f"get_{named}_status", as_json=True) == {}
    assert refused(ask, f"get_{named}_status", "a")[0] == "NOT_FOUND"
    assert refused(ask, f"register_{named}", *key)[0] == "UNIMPLEMENTED"
    assert refused(ask, f"unregister_{named}")[0] == "UNIMPLEMENTED"


def test_tensors_in_shared_memory_are_refused(ask: Ask) -> None:
    given = tritonclient.grpc.InferInput("x", [1, 1], "FP32")
    given.set_shared_memory("a", 4)
    told, text = refused(ask, "infer", HALF, [given])
    assert (told, "shared memory" in text) == ("UNIMPLEMENTED", True)
    wanted = output("y")
    wanted.set_shared_memory("a", 4)
    assert refused(ask, "infer", HALF, [tensor("x", [[1]])], outputs=[wanted])[0] == "UNIMPLEMENTED"


# ----------------------------------------------------------------------------------- statistics


def test_statistics_count_what_was_answered(ask: Ask) -> None:
    (before,) = ask("get_inference_statistics", TWO, "1").model_stats
    ask("infer", TWO, [tensor("a", [[1, 2]] * 3), tensor("b", [[1, 2]] * 3)])
    (after,) = ask("get_inference_statistics", TWO).model_stats
    assert (after.name, after.version) == (TWO, "1")
    assert after.inference_count - before.inference_count == 3
    assert after.execution_count - before.execution_count == 1
    assert after.last_inference >= before.last_inference
    for stage in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        grown = getattr(after.inference_stats, stage), getattr(before.inference_stats, stage)
        assert grown[0].count - grown[1].count == 1
        assert grown[0].ns >= grown[1].ns
    assert any(batch.batch_size == 3 and batch.compute_infer.ns for batch in after.batch_stats)


def test_a_failure_is_counted(ask: Ask) -> None:
    (before,) = ask("get_inference_statistics", HALF).model_stats
    refused(ask, "infer", HALF, [tensor("x", [[1, 2]])])
    (after,) = ask("get_inference_statistics", HALF).model_stats
    assert after.inference_stats.fail.count - before.inference_stats.fail.count == 1


def test_statistics_of_nobody_in_particular_are_of_all(ask: Ask) -> None:
    assert {each.name for each in ask("get_inference_statistics").model_stats} == {HALF, TWO, WORDS}


# ------------------------------------------------------------------------------- administration


def test_the_index_tells_all_models(ask: Ask) -> None:
    told = ask("get_model_repository_index", as_json=True)["models"]
    assert {"name": HALF, "version": "123", "state": "READY"} in told
    assert {each["name"] for each in told} == {HALF, TWO, WORDS}


def test_a_model_is_unloaded_and_loaded(ask: Ask) -> None:
    ask("unload_model", TWO, headers=ADMIN)
    assert ask("is_model_ready", TWO) is False
    (told,) = [each for each in ask("get_model_repository_index").models if each.name == TWO]
    assert (told.version, told.state, bool(told.reason)) == ("1", "UNAVAILABLE", True)
    inputs = [tensor("a", [[1, 2]]), tensor("b", [[1, 2]])]
    assert refused(ask, "infer", TWO, inputs)[0] == "NOT_FOUND"
    ask("load_model", TWO, headers=ADMIN)
    assert ask("infer", TWO, inputs).as_numpy("sum").tolist() == [[2, 4]]


@pytest.mark.parametrize(
    ("method", "named", "code"),
    [
        pytest.param("load_model", {"model_name": "nobody"}, "NOT_FOUND", id="unknown"),
        pytest.param("unload_model", {"model_name": "nobody"}, "NOT_FOUND", id="unknown-to-unload"),
        pytest.param(
            "load_model", {"model_name": HALF, "config": "{}"}, "PERMISSION_DENIED", id="config"
        ),
        pytest.param(
            "load_model",
            {"model_name": HALF, "files": {"file:1/model.pb": b"\x00"}},
            "PERMISSION_DENIED",
            id="file",
        ),
    ],
)
def test_models_are_loaded_only_as_they_are_configured(
    ask: Ask, method: str, named: dict[str, Any], code: str
) -> None:
    assert refused(ask, method, headers=ADMIN, **named)[0] == code


def test_traces_are_set_for_all_models_and_for_one(ask: Ask) -> None:
    old = settings(ask("get_trace_settings", as_json=True))
    assert (old["trace_level"], old["trace_rate"]) == (["OFF"], ["1000"])
    told = ask(
        "update_trace_settings",
        HALF,
        {"trace_level": ["TIMESTAMPS"], "trace_rate": "5"},
        headers=ADMIN,
        as_json=True,
    )
    assert (settings(told)["trace_level"], settings(told)["trace_rate"]) == (["TIMESTAMPS"], ["5"])
    assert settings(ask("get_trace_settings", HALF, as_json=True)) == settings(told)
    assert settings(ask("get_trace_settings", as_json=True)) == old
    cleared = {"trace_level": None, "trace_rate": None}
    told = ask("update_trace_settings", HALF, cleared, headers=ADMIN, as_json=True)
    assert settings(told) == old


def test_the_log_is_set(ask: Ask) -> None:
    old = settings(ask("get_log_settings", as_json=True))
    assert (old["log_info"], old["log_verbose_level"], old["log_format"]) == (True, 0, "default")
    changed = {"log_info": False, "log_verbose_level": 1}
    told = settings(ask("update_log_settings", changed, headers=ADMIN, as_json=True))
    assert told == old | changed
    assert settings(ask("get_log_settings", as_json=True)) == told
    back = {key: old[key] for key in changed}
    assert settings(ask("update_log_settings", back, headers=ADMIN, as_json=True)) == old


@pytest.mark.parametrize(
    ("method", "arguments", "code"),
    [
        ("update_log_settings", [{"log_file": "/tmp/x"}], "PERMISSION_DENIED"),
        ("update_log_settings", [{"log_nothing": True}], "INVALID_ARGUMENT"),
        ("update_log_settings", [{"log_info": None}], "INVALID_ARGUMENT"),
        ("update_trace_settings", [HALF, {"trace_file": "/tmp/x"}], "PERMISSION_DENIED"),
        ("update_trace_settings", [HALF, {"trace_rate": "often"}], "INVALID_ARGUMENT"),
        ("update_trace_settings", [HALF, {"trace_rate": ["1", "2"]}], "INVALID_ARGUMENT"),
        ("update_trace_settings", ["nobody", {"trace_rate": "1"}], "NOT_FOUND"),
    ],
)
def test_wrong_settings_are_refused(ask: Ask, method: str, arguments: list[Any], code: str) -> None:
    assert refused(ask, method, *arguments, headers=ADMIN)[0] == code


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("load_model", [HALF]),
        ("unload_model", [HALF]),
        ("update_log_settings", [{"log_info": False}]),
        ("update_trace_settings", [HALF, {"trace_rate": "1"}]),
    ],
)
def test_who_is_no_administrator_changes_nothing(
    ask: Ask, method: str, arguments: list[Any]
) -> None:
    assert refused(ask, method, *arguments)[0] == "UNAUTHENTICATED"
    assert ask("is_model_ready", HALF) is True


# --------------------------------------------------------------------------------------- tokens


@pytest.fixture(scope="module")
def guarded(models: dict[str, Path]) -> Iterator[Any]:
    """A client of a server that nobody may use without a token."""
    config = Config(
        (ModelConfig(HALF, models[HALF]),), tokens=(USER,), admin=True, admin_tokens=(TOKEN,)
    )
    with (
        GrpcServed(config) as served,
        tritonclient.grpc.InferenceServerClient(served.address) as client,
    ):
        yield lambda method, *args, **named: getattr(client, method)(*args, **named)


def test_probes_need_no_token(guarded: Ask) -> None:
    assert guarded("is_server_live")
    assert guarded("is_server_ready")
    assert guarded("is_model_ready", HALF)


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("infer", [HALF, [tensor("x", [[1]])]]),
        ("get_server_metadata", []),
        ("get_model_metadata", [HALF]),
        ("get_model_config", [HALF]),
        ("get_inference_statistics", [HALF]),
        ("get_model_repository_index", []),
        ("get_trace_settings", []),
        ("get_log_settings", []),
        ("get_system_shared_memory_status", []),
    ],
)
def test_everything_else_needs_one(guarded: Ask, method: str, arguments: list[Any]) -> None:
    assert refused(guarded, method, *arguments)[0] == "UNAUTHENTICATED"
    assert refused(guarded, method, *arguments, headers=bearing("unknown"))[0] == "UNAUTHENTICATED"
    guarded(method, *arguments, headers=bearing(SECRET))


def test_a_user_is_no_administrator(guarded: Ask) -> None:
    told = refused(guarded, "unload_model", HALF, headers=bearing(SECRET))
    assert told[0] == "PERMISSION_DENIED"
    assert guarded("is_model_ready", HALF)
