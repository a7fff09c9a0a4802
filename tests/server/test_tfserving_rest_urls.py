"""TensorFlow Serving's URLs over HTTP: who is asked for, how, its status and its signatures."""

import json
from typing import Any

import pytest

from server.inference import VersionState
from server.protocols import tfserving_metadata
from tests.server.conftest import Served
from tests.server.rest_asking import HALF, ask, assert_refused, columns, predict, rows

ONE = b'{"instances": [1.0]}'


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", f"{HALF}/model_name"),
        ("POST", f"{HALF}/metadata:predict"),
        ("POST", HALF),
        ("POST", f"{HALF}:explain"),
        ("POST", f"{HALF}:"),
        ("POST", f"{HALF}:PREDICT"),
        ("POST", f"{HALF}:Classify"),
        ("POST", f"{HALF}/versions/-1:predict"),
        ("POST", f"{HALF}/versions/:predict"),
        ("POST", f"{HALF}/labels/:predict"),
        ("POST", "/v1/models/:predict"),
        ("POST", "/v1/models/a/b:predict"),
        ("GET", f"{HALF}/"),
        ("GET", "/v1/"),
        ("GET", "/V1/half_plus_two"),
    ],
)
def test_what_matches_no_pattern_is_malformed(served: Served, method: str, target: str) -> None:
    told = f"Malformed request: {method} {target}"
    assert ask(served, method, target, ONE) == (400, {"error": told})


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD", "GET", "BREW"])
def test_predict_by_another_method_is_malformed_not_405(served: Served, method: str) -> None:
    answer = served.ask(method, f"{HALF}:predict", ONE)
    assert answer.status == 400
    assert json.loads(answer.body)["error"].startswith("Malformed request")


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("/v1/models/half%5Fplus%5ftwo:predict", id="percent-encoded"),
        pytest.param(f"{HALF}:predict?x=1", id="query-string"),
        pytest.param(f"{HALF}:predict?", id="empty-query-string"),
        pytest.param("/v1/Models/half_plus_two/VERSIONS/123:predict", id="case-of-fixed-parts"),
    ],
)
def test_the_target_may_be_written_in_other_ways(served: Served, target: str) -> None:
    answer = served.ask("POST", target, ONE)
    assert (answer.status, answer.body) == (200, b'{"predictions":[2.5]}')


@pytest.mark.parametrize(
    ("encoded", "name"),
    [("a%2Fb", "a/b"), ("a%3Ab", "a:b"), ("a%3Fb", "a?b"), ("half%2Fmetadata", "half/metadata")],
)
def test_names_are_decoded_after_matching(served: Served, encoded: str, name: str) -> None:
    answer = served.ask("POST", f"/v1/models/{encoded}:predict", ONE)
    assert answer.status == 404
    assert name in json.loads(answer.body)["error"]


@pytest.mark.parametrize("target", [f"{HALF}/METADATA", f"{HALF}?x=1", "/V1/MODELS/half_plus_two"])
def test_what_is_no_word_but_matches_is_a_question_for_the_status(
    served: Served, target: str
) -> None:
    assert ask(served, "GET", target) == ask(served, "GET", HALF)
    assert "model_version_status" in ask(served, "GET", target)[1]


@pytest.mark.parametrize("origin", ["https://example.org", "http://localhost:3000"])
@pytest.mark.parametrize("target", [f"{HALF}:predict", "/v1/anything"])
def test_a_browser_that_asks_first_is_let_through(served: Served, origin: str, target: str) -> None:
    answer = served.ask("OPTIONS", target, headers={"Origin": origin})
    assert (answer.status, answer.body) == (200, b"")
    assert not answer.headers


@pytest.mark.parametrize("headers", [{}, {"Origin": ""}, {"Origin": "null"}])
def test_who_asks_first_and_is_no_page_of_the_web_is_refused_without_words(
    served: Served, headers: dict[str, str]
) -> None:
    answer = served.ask("OPTIONS", f"{HALF}:predict", headers=headers)
    assert (answer.status, answer.body) == (400, b"")


@pytest.mark.parametrize(
    ("target", "body", "status", "told"),
    [
        ("/v1/models/nobody", "{", 400, "not JSON"),
        ("/v1/models/nobody", '{"examples": []}', 400, "no examples"),
        ("/v1/models/nobody", '{"examples": [{"x": null}]}', 400, "null"),
        ("/v1/models/nobody", '{"examples": [{}], "signature_name": 1}', 400, "must be a string"),
        ("/v1/models/nobody", '{"examples": [{}]}', 404, "nobody"),
        (f"{HALF}/labels/canary", '{"examples": [{}]}', 400, "'canary'"),
        (HALF, '{"examples": [{}], "signature_name": "nope"}', 400, "'nope'"),
    ],
)
def test_examples_are_looked_at_before_the_model(
    served: Served, target: str, body: str, status: int, told: str
) -> None:
    for verb in ("classify", "regress"):
        assert_refused(ask(served, "POST", f"{target}:{verb}", body), status, told)


@pytest.mark.parametrize(
    ("target", "body", "status", "told"),
    [
        ("/v1/models/nobody", "{", 400, "not JSON"),
        ("/v1/models/nobody", "[]", 400, "a list"),
        ("/v1/models/nobody", '{"signature_name": 1}', 400, "must be a string"),
        ("/v1/models/nobody", "{}", 404, "nobody"),
        (f"{HALF}/versions/{2**63}", "{", 400, "larger than"),
        (HALF, '{"signature_name": "nope"}', 400, "'nope'"),
    ],
)
def test_predict_looks_at_the_model_before_the_tensors(
    served: Served, target: str, body: str, status: int, told: str
) -> None:
    assert_refused(ask(served, "POST", f"{target}:predict", body), status, told)


def test_the_status_tells_why_a_version_does_not_serve() -> None:
    states = [VersionState(2, "END", "cannot load it"), VersionState(1, "AVAILABLE")]
    first, second = tfserving_metadata.status(states)["model_version_status"]
    assert first == {
        "version": "2",
        "state": "END",
        "status": {"error_code": "UNKNOWN", "error_message": "cannot load it"},
    }
    assert (second["version"], second["status"]["error_code"]) == ("1", "OK")


def signatures(served: Served, model: str) -> dict[str, Any]:
    _, said = ask(served, "GET", f"/v1/models/{model}/metadata")
    found: dict[str, Any] = said["metadata"]["signature_def"]["signature_def"]
    return found


def test_81_signatures_have_the_method_and_the_tensors_of_their_graph(served: Served) -> None:
    told = signatures(served, "of_examples")
    assert {name: signature["method_name"] for name, signature in told.items()} == {
        "serving_default": "tensorflow/serving/predict",
        "regress_x_to_y": "tensorflow/serving/regress",
        "classify_x_to_y": "tensorflow/serving/classify",
        "classify": "tensorflow/serving/classify",
        "lonely": "tensorflow/serving/regress",
    }
    regress = told["regress_x_to_y"]
    assert regress["inputs"]["inputs"]["name"] == "tf_example:0"
    assert regress["inputs"]["inputs"]["dtype"] == "DT_STRING"
    assert regress["outputs"]["outputs"]["name"] == "y:0"


def test_81_defaults_are_tensors_in_json(served: Served) -> None:
    assert signatures(served, "left_out")["serving_default"]["defaults"] == {
        "z": {
            "dtype": "DT_FLOAT",
            "tensor_shape": {
                "dim": [{"size": "1", "name": ""}] * 2,
                "unknown_rank": False,
            },
            "tensor_content": "AAAgQQ==",
        }
    }


def test_no_default_is_put_in_for_an_input_that_is_left_out(served: Served) -> None:
    for body in (rows('[{"x": [1.0]}]'), columns('{"x": [[1.0]]}')):
        assert_refused(predict(served, "/v1/models/left_out", body), 400, "'z'")


def test_81_an_unknown_rank_has_no_dimensions(served: Served) -> None:
    lengths = signatures(served, "odd_ones")["lengths"]
    assert lengths["outputs"]["y"]["tensor_shape"] == {"dim": [], "unknown_rank": True}


def test_81_dtypes_have_the_names_of_their_enum(served: Served) -> None:
    told = {
        name: signature["inputs"]["x"]["dtype"]
        for name, signature in signatures(served, "every_dtype").items()
    }
    assert told == {
        "bool": "DT_BOOL",
        "float16": "DT_HALF",
        "float32": "DT_FLOAT",
        "float64": "DT_DOUBLE",
        "int8": "DT_INT8",
        "int16": "DT_INT16",
        "int32": "DT_INT32",
        "int64": "DT_INT64",
        "uint8": "DT_UINT8",
        "uint16": "DT_UINT16",
        "uint32": "DT_UINT32",
        "uint64": "DT_UINT64",
    }
