"""What the Open Inference Protocol tells about models over HTTP, as perf_analyzer reads it.

The ids name sections of the protocol note.
"""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server.config import Config, ModelConfig
from server.exchange import Answer, Exchange
from server.inference import ModelAddress, ServedModel, VersionState
from server.protocols.oip_http import OipHttp
from server.protocols.oip_models import config_of, default_signature
from server.protocols.protocol import Call
from server.signature import Signature
from tests.server.administrator import HEADERS, TOKEN
from tests.server.conftest import Served

DURATIONS = ["success", "fail", "queue", "compute_input", "compute_infer", "compute_output"]
DURATIONS += ["cache_hit", "cache_miss"]
COMPUTE = ["compute_input", "compute_infer", "compute_output"]


def told(answer: Answer) -> Any:
    """What the JSON of an answer holds."""
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def get(served: Served, target: str) -> Any:
    return told(served.ask("GET", target))


def post(served: Served, target: str, body: object = None) -> Answer:
    """What an administrator asks for."""
    raw = b"" if body is None else json.dumps(body).encode()
    return served.ask("POST", target, raw, HEADERS)


def infer(served: Served, model: str, rows: int) -> Answer:
    data = [float(n) for n in range(rows)]
    x = {"name": "x", "shape": [rows, 1], "datatype": "FP32", "data": data}
    return served.ask("POST", f"/v2/models/{model}/infer", json.dumps({"inputs": [x]}).encode())


@pytest.fixture
def own(models: dict[str, Path], tmp_path: Path) -> Iterator[Served]:
    """A server with one model of its own, which has no statistics yet, and an administrator."""
    path = shutil.copytree(models["half_plus_two"], tmp_path / "half")
    config = Config(
        (ModelConfig("half", path, max_batch_size=4),),
        admin=True,
        admin_tokens=(TOKEN,),
    )
    served = Served(config)
    yield served
    served.close()


# -------------------------------------------------------------------------------------- 1 and 10


def test_the_server_tells_what_perf_analyzer_looks_for(served: Served) -> None:
    server = get(served, "/v2")
    assert sorted(server) == ["extensions", "name", "version"]
    assert "statistics" in server["extensions"]
    assert "binary_tensor_data" in server["extensions"]
    for absent in ("sequence", "system_shared_memory", "cuda_shared_memory"):
        assert absent not in server["extensions"]


@pytest.mark.parametrize(
    ("model", "tensors"),
    [
        pytest.param(
            "two_by_two",
            {
                "inputs": [("a", "FP32", [-1, 2]), ("b", "FP32", [-1, 2])],
                "outputs": [("difference", "FP32", [-1, 2]), ("sum", "FP32", [-1, 2])],
            },
            id="1-two-of-each",
        ),
        pytest.param(
            "words",
            {
                "inputs": [("text", "BYTES", [-1])],
                "outputs": [("length", "INT32", [-1]), ("text", "BYTES", [-1])],
            },
            id="1-strings",
        ),
        pytest.param(
            "every_dtype",
            {"inputs": [("x", "BOOL", [-1, -1])], "outputs": [("y", "BOOL", [-1, -1])]},
            id="1-first-signature",
        ),
        pytest.param(
            "odd_ones",
            {"inputs": [("x", "FP32", [-1, 2])], "outputs": [("y", "FP32", [-1])]},
            id="1-unknown-rank",
        ),
    ],
)
def test_metadata_is_of_the_default_signature(
    served: Served, model: str, tensors: dict[str, Any]
) -> None:
    metadata = get(served, f"/v2/models/{model}")
    for kind, expected in tensors.items():
        assert metadata[kind] == [
            {"name": name, "datatype": datatype, "shape": shape}
            for name, datatype, shape in expected
        ]


@pytest.mark.parametrize("model", ["half_plus_two", "two_by_two", "words", "odd_ones"])
def test_configuration_and_metadata_agree(served: Served, model: str) -> None:
    """Every name of one is in the other; without the batch dimension, their shapes are the same."""
    metadata, config = (get(served, f"/v2/models/{model}{what}") for what in ("", "/config"))
    assert config["name"] == model
    assert config["platform"] == metadata["platform"] == "tensorflow_savedmodel"
    assert config["max_batch_size"] == 8
    assert config["dynamic_batching"]["preferred_batch_size"] == [8]
    assert config["model_transaction_policy"] == {"decoupled": False}
    assert config["instance_group"][0]["count"] == 1
    assert [int(v) for v in metadata["versions"]] == config["version_policy"]["specific"][
        "versions"
    ]
    assert not {"sequence_batching", "ensemble_scheduling"} & config.keys()
    for one, other in (("input", "inputs"), ("output", "outputs")):
        assert [t["name"] for t in config[one]] == [t["name"] for t in metadata[other]]
        for tensor, described in zip(config[one], metadata[other], strict=True):
            named = {"BYTES": "STRING"}.get(described["datatype"], described["datatype"])
            assert tensor["data_type"] == f"TYPE_{named}"
            if described["shape"] != [-1] or model == "words":
                assert tensor["dims"] == described["shape"][1:]


@pytest.mark.parametrize(
    ("signature", "shapes"),
    [
        pytest.param("scalar", ([], []), id="10-scalar"),
        pytest.param("static", ([3], [3]), id="10-static"),
        pytest.param("total", ([-1, 2], []), id="10-total"),
        pytest.param("mean", ([-1, 2], [-1, 2]), id="10-mean"),
    ],
)
def test_a_model_that_runs_alone_has_no_batches(
    served: Served, signature: str, shapes: tuple[list[int], list[int]]
) -> None:
    """Then its shapes are whole, in the configuration as well."""
    serving = served.application._serving
    model = serving.find(ModelAddress("odd_ones"))
    only = replace(model, signatures={signature: model.signatures[signature]})
    config = config_of(only, ["1"])
    assert config["max_batch_size"] == 0
    assert "dynamic_batching" not in config
    assert (config["input"][0]["dims"], config["output"][0]["dims"]) == shapes


def test_the_default_signature_is_the_one_of_that_name_or_the_first() -> None:
    def model(*names: str) -> ServedModel:
        return ServedModel("m", 1, {name: Signature(name, {}, {}) for name in names}, "test", 8)

    assert default_signature(model("a", "serving_default", "z")).name == "serving_default"
    assert default_signature(model("z", "b", "c")).name == "b"


# ------------------------------------------------------------------------------- 7, statistics


def assert_counts(statistics: dict[str, Any]) -> None:
    """perf_analyzer reads all of these as integers, and does not look first."""
    assert list(statistics["inference_stats"]) == DURATIONS
    for duration in statistics["inference_stats"].values():
        assert [type(duration[key]) for key in ("count", "ns")] == [int, int]
    for batch in statistics["batch_stats"]:
        for duration in COMPUTE:
            assert [type(batch[duration][key]) for key in ("count", "ns")] == [int, int]
    for key in ("last_inference", "inference_count", "execution_count"):
        assert type(statistics[key]) is int
    assert int(statistics["version"]) >= 0


def test_statistics_begin_with_zeros(own: Served) -> None:
    (statistics,) = get(own, "/v2/models/half/stats")["model_stats"]
    assert_counts(statistics)
    assert (statistics["name"], statistics["version"]) == ("half", "123")
    assert statistics["last_inference"] == statistics["inference_count"] == 0
    assert all(d == {"count": 0, "ns": 0} for d in statistics["inference_stats"].values())
    assert statistics["batch_stats"] == statistics["memory_usage"] == []
    assert statistics["response_stats"] == {}


def test_statistics_count_requests_rows_and_batches(own: Served) -> None:
    before = time.time()
    for rows in (3, 3, 1, 6):
        assert infer(own, "half", rows).status == 200
    (statistics,) = get(own, "/v2/models/half/versions/123/stats")["model_stats"]
    assert_counts(statistics)
    counts = {name: d["count"] for name, d in statistics["inference_stats"].items()}
    done = dict.fromkeys(["success", "queue", *COMPUTE], 4)
    assert counts == done | dict.fromkeys(["fail", "cache_hit", "cache_miss"], 0)
    assert statistics["inference_count"] == 13
    assert statistics["last_inference"] >= int(before * 1000)
    # A request of 6 rows runs as 4 and 2.
    assert statistics["execution_count"] == 5
    sizes = {batch["batch_size"]: batch["compute_infer"] for batch in statistics["batch_stats"]}
    assert {size: ran["count"] for size, ran in sizes.items()} == {1: 1, 2: 1, 3: 2, 4: 1}
    assert all(ran["ns"] > 0 for ran in sizes.values())
    assert statistics["inference_stats"]["compute_infer"]["ns"] > 0


def test_statistics_of_all_models(served: Served) -> None:
    statistics = get(served, "/v2/models/stats")["model_stats"]
    names = {one["name"] for one in statistics}
    assert {"half_plus_two", "two_by_two", "every_dtype", "odd_ones", "words"} <= names
    for one in statistics:
        assert_counts(one)


# -------------------------------------------------------------------------------- 8, repository


def index(served: Served, body: object = None) -> Any:
    return told(post(served, "/v2/repository/index", body))


def test_a_model_is_unloaded_and_loaded_as_triton_has_it(own: Served) -> None:
    ready = {"name": "half", "version": "123", "state": "READY"}
    gone = {"name": "half", "version": "123", "state": "UNAVAILABLE", "reason": "unloaded"}
    assert index(own) == index(own, {"ready": True}) == [ready]

    body = {"parameters": {"unload_dependents": False}}
    answer = post(own, "/v2/repository/models/half/unload", body)
    assert (answer.status, answer.body) == (200, b"")
    assert index(own) == index(own, {"ready": False}) == [gone]
    assert index(own, {"ready": True}) == []
    assert infer(own, "half", 1).status == 404
    assert own.ask("GET", "/v2/models/half/ready").status == 404

    answer = post(own, "/v2/repository/models/half/load", {})
    assert (answer.status, answer.body) == (200, b"")
    assert index(own) == [ready]
    assert infer(own, "half", 1).status == 200


@pytest.mark.parametrize("what", ["load", "unload"])
@pytest.mark.parametrize("body", [None, {}, {"parameters": {}}], ids=["empty", "{}", "none"])
def test_the_body_may_say_nothing(own: Served, what: str, body: object) -> None:
    assert post(own, f"/v2/repository/models/half/{what}", body).status == 200


@pytest.mark.parametrize(
    ("target", "body", "status", "words"),
    [
        pytest.param("models/nobody/load", {}, 404, "'nobody'", id="8-load-unknown"),
        pytest.param("models/nobody/unload", {}, 404, "'nobody'", id="8-unload-unknown"),
        pytest.param(
            "models/half/load", {"parameters": {"config": "{}"}}, 403, "'config'", id="8-config"
        ),
        pytest.param(
            "models/half/load",
            {"parameters": {"file:1/model.pb": "AA=="}},
            403,
            "'file:1/model.pb'",
            id="8-file",
        ),
        pytest.param("models/half/load", [], 400, "object", id="8-load-list"),
        pytest.param("models/half/load", {"parameters": 1}, 400, "object", id="8-load-parameters"),
        pytest.param(
            "models/half/unload",
            {"parameters": {"unload_dependents": "no"}},
            400,
            "'unload_dependents'",
            id="8-unload-dependents",
        ),
        pytest.param("index", {"ready": 1}, 400, "'ready'", id="8-index-ready"),
        pytest.param("index", "x", 400, "object", id="8-index-string"),
    ],
)
def test_these_are_refused(own: Served, target: str, body: object, status: int, words: str) -> None:
    answer = post(own, f"/v2/repository/{target}", body)
    assert answer.status == status
    assert words in json.loads(answer.body)["error"]
    assert infer(own, "half", 1).status == 200


def test_a_model_that_does_not_load_anew_goes_on_as_it_was(own: Served, tmp_path: Path) -> None:
    (tmp_path / "half" / "123" / "saved_model.pb").write_bytes(b"this is no protobuf")
    answer = post(own, "/v2/repository/models/half/load", {})
    assert answer.status == 400
    assert "SavedModel" in json.loads(answer.body)["error"]
    assert infer(own, "half", 1).status == 200


def test_a_model_that_cannot_be_loaded_says_why(own: Served, tmp_path: Path) -> None:
    assert post(own, "/v2/repository/models/half/unload").status == 200
    (tmp_path / "half" / "123" / "saved_model.pb").write_bytes(b"this is no protobuf")
    assert post(own, "/v2/repository/models/half/load").status == 400
    (entry,) = index(own)
    assert entry["state"] == "UNAVAILABLE"
    assert "SavedModel" in entry["reason"]


def test_who_is_no_administrator_changes_nothing(served: Served) -> None:
    for target in (
        "/v2/repository/models/words/load",
        "/v2/repository/models/words/unload",
        "/v2/logging",
        "/v2/trace/setting",
        "/v2/models/words/trace/setting",
    ):
        answer = served.ask("POST", target, b"{}")
        assert answer.status == 403
        assert "administration" in json.loads(answer.body)["error"]


def test_probes_are_open_and_nothing_else_is() -> None:
    opened = []
    probes = ["/v2/health/live", "/v2/health/ready", "/v2/models/m/ready"]
    for target in ("/v2", "/v2/models/m", *probes):
        operation = OipHttp().route(Exchange("GET", target, {}, b""))
        assert isinstance(operation, Call)
        assert not operation.admin
        if operation.is_open:
            opened.append(target)
    assert opened == probes


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        pytest.param("START", {"state": "LOADING"}, id="8-start"),
        pytest.param("LOADING", {"state": "LOADING"}, id="8-loading"),
        pytest.param("AVAILABLE", {"state": "READY"}, id="8-available"),
        pytest.param("UNLOADING", {"state": "UNLOADING"}, id="8-unloading"),
        pytest.param("END", {"state": "UNAVAILABLE", "reason": "unloaded"}, id="8-end"),
    ],
)
def test_the_states_of_versions_have_names_of_their_own(
    own: Served, state: str, shown: dict[str, str]
) -> None:
    own.application._serving._repository.set_state("half", VersionState(200, state))
    newest, *_ = index(own)
    assert newest == {"name": "half", "version": "200"} | shown


def test_a_model_that_loads_is_there_and_not_ready(own: Served) -> None:
    own.application._serving._repository.set_state("half", VersionState(200, "LOADING"))
    assert own.ask("GET", "/v2/models/half/ready").status == 200
    assert own.ask("GET", "/v2/models/half/versions/200/ready").status == 400
    for what in ("", "/config", "/stats"):
        assert own.ask("GET", f"/v2/models/half/versions/200{what}").status == 503
