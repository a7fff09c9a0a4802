"""TensorFlow Serving's URLs over HTTP: who is asked for, how, its status and its signatures."""

import json

import pytest

from tests.server.conftest import Served

HALF = "/v1/models/half_plus_two"
ONE = b'{"instances": [1.0]}'


@pytest.mark.parametrize(
    ("method", "target"),
    [
        pytest.param("GET", "/v1/foo", id="64-get-foo"),
        pytest.param("POST", "/v1/foo", id="64-post-foo"),
        pytest.param("POST", "/v1/models", id="64-post-models"),
        pytest.param("GET", "/v1/models/half_plus_two/model_name", id="64-model-name"),
        pytest.param("GET", f"{HALF}:predict", id="64-get-predict"),
        pytest.param("POST", f"{HALF}/version/50:predict", id="64-version"),
        pytest.param("POST", f"{HALF}/versions/HELLO:regress", id="64-versions-hello"),
        pytest.param("POST", f"{HALF}/metadata", id="64-post-metadata"),
        pytest.param("POST", f"{HALF}/metadata:predict", id="64-predict-metadata"),
        pytest.param("POST", f"{HALF}/label/x:regress", id="64-label"),
        pytest.param("POST", f"{HALF}/versions/50/labels/x:regress", id="64-both"),
        pytest.param("POST", HALF, id="64-post-status"),
        pytest.param("POST", f"{HALF}:explain", id="64-unknown-verb"),
        pytest.param("POST", f"{HALF}:", id="64-no-verb"),
        pytest.param("POST", f"{HALF}/versions/-1:predict", id="64-negative-version"),
        pytest.param("POST", f"{HALF}/versions/:predict", id="64-no-version"),
        pytest.param("POST", "/v1/models/:predict", id="64-no-name"),
        pytest.param("GET", f"{HALF}/", id="64-slash"),
        pytest.param("GET", "/v1/", id="64-nothing"),
        pytest.param("GET", "/v1/models", id="66"),
    ],
)
def test_what_matches_no_pattern_is_malformed(served: Served, method: str, target: str) -> None:
    answer = served.ask(method, target, ONE)
    assert answer.status == 400
    assert json.loads(answer.body) == {"error": f"Malformed request: {method} {target}"}


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


@pytest.mark.parametrize("verb", ["classify", "regress"])
def test_the_other_verbs_are_known_and_unimplemented(served: Served, verb: str) -> None:
    answer = served.ask("POST", f"{HALF}:{verb}", b'{"examples": [{"x": 1.0}]}')
    assert answer.status == 501
    assert verb in json.loads(answer.body)["error"]


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(HALF, id="78"),
        pytest.param(f"{HALF}/versions/123", id="78-version"),
        pytest.param(f"{HALF}/labels/whatever", id="80"),
        pytest.param(f"{HALF}?x=1", id="78-query-string"),
    ],
)
def test_the_status_tells_versions_and_their_states(served: Served, target: str) -> None:
    answer = served.ask("GET", target)
    assert answer.status == 200
    assert answer.content_type == "application/json"
    assert json.loads(answer.body) == {
        "model_version_status": [
            {
                "version": "123",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("/v1/models/nobody", id="79-model"),
        pytest.param(f"{HALF}/versions/1", id="79-version"),
        pytest.param("/v1/models/nobody/labels/x", id="79-label"),
        pytest.param("/v1/models/nobody/metadata", id="82-model"),
        pytest.param(f"{HALF}/versions/1/metadata", id="82-version"),
    ],
)
def test_nothing_is_told_of_who_is_not_here(served: Served, target: str) -> None:
    answer = served.ask("GET", target)
    assert answer.status == 404
    assert list(json.loads(answer.body)) == ["error"]


@pytest.mark.parametrize("target", [f"{HALF}/metadata", f"{HALF}/versions/123/metadata"])
def test_81_the_metadata_are_a_signature_def_map(served: Served, target: str) -> None:
    answer = served.ask("GET", target)
    said = json.loads(answer.body)
    signatures = said["metadata"]["signature_def"]["signature_def"]

    def tensor(name: str) -> dict[str, object]:
        return {
            "dtype": "DT_FLOAT",
            "name": name,
            "tensor_shape": {
                "dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}],
                "unknown_rank": False,
            },
        }

    assert answer.status == 200
    assert said["model_spec"] == {"name": "half_plus_two", "signature_name": "", "version": "123"}
    assert signatures == {
        "serving_default": {
            "inputs": {"x": tensor("x")},
            "outputs": {"y": tensor("y")},
            "method_name": "tensorflow/serving/predict",
            "defaults": {},
        }
    }


def test_81_an_unknown_rank_has_no_dimensions(served: Served) -> None:
    said = json.loads(served.ask("GET", "/v1/models/odd_ones/metadata").body)
    lengths = said["metadata"]["signature_def"]["signature_def"]["lengths"]
    assert lengths["outputs"]["y"]["tensor_shape"] == {"dim": [], "unknown_rank": True}


def test_81_dtypes_have_the_names_of_their_enum(served: Served) -> None:
    said = json.loads(served.ask("GET", "/v1/models/every_dtype/metadata").body)
    signatures = said["metadata"]["signature_def"]["signature_def"]
    told = {name: signature["inputs"]["x"]["dtype"] for name, signature in signatures.items()}
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
