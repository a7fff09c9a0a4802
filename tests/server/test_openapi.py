"""The description of the API: that it is OpenAPI 3.1, and that the server does what it says."""

import json
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from openapi_spec_validator.schemas import openapi_v31_schema_validator

from server.config import Config, ModelConfig
from server.exchange import Answer
from server.inference import ServedModel
from server.openapi import document
from server.signature import Shape, Signature, TensorSpec
from server.tokens import make_token
from tests.server.conftest import Served


@pytest.fixture(scope="module")
def described(served: Served) -> dict[str, Any]:
    answer = served.ask("GET", "/openapi.json")
    assert (answer.status, answer.content_type) == (200, "application/json")
    told: dict[str, Any] = json.loads(answer.body)
    return told


def operations(described: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and operation."""
    for path, methods in described["paths"].items():
        for method, told in methods.items():
            yield path, method, told


def resolved(described: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """A part of the document, or what it refers to."""
    while "$ref" in part:
        place = part["$ref"].removeprefix("#/").split("/")
        part = described
        for name in place:
            part = part[name]
    return part


def violations(described: dict[str, Any], schema: Any, value: Any) -> list[str]:
    """Where a value is not what a schema of the document wants."""
    whole = {"$ref": "#/here", "here": schema, "components": described["components"]}
    found = Draft202012Validator(whole).iter_errors(value)
    return [f"{error.json_path}: {error.message}" for error in found]


def assert_as_described(
    described: dict[str, Any], told: dict[str, Any], answer: Answer, asked: str
) -> None:
    """Status, media type, headers and body are those of the operation."""
    assert str(answer.status) in told["responses"], (asked, answer.status)
    response = resolved(described, told["responses"][str(answer.status)])
    media = answer.content_type.partition(";")[0]
    if not answer.body and "content" not in response:
        return
    assert media in response["content"], (asked, media)
    schema = response["content"][media]["schema"]
    if media == "application/json":
        assert violations(described, schema, json.loads(answer.body)) == [], asked


# --------------------------------------------------------------------------------- the document


def test_the_document_is_openapi_3_1(described: dict[str, Any]) -> None:
    assert described["openapi"] == "3.1.0"
    assert list(openapi_v31_schema_validator.iter_errors(described)) == []


def test_every_schema_is_a_json_schema_and_is_used(described: dict[str, Any]) -> None:
    text = json.dumps(described)
    meta = Draft202012Validator(Draft202012Validator.META_SCHEMA)
    for name, schema in described["components"]["schemas"].items():
        assert meta.is_valid(schema), name
        assert f'"#/components/schemas/{name}"' in text


def test_operations_have_names_of_their_own(described: dict[str, Any]) -> None:
    names = [told["operationId"] for _, _, told in operations(described)]
    assert len(names) == len(set(names))


def test_every_model_is_described_with_and_without_its_version(
    served: Served, described: dict[str, Any], models: dict[str, Path]
) -> None:
    for name in models:
        (state,) = json.loads(served.ask("GET", f"/v1/models/{name}").body)["model_version_status"]
        for place in (name, f"{name}/versions/{state['version']}"):
            for verb in (":predict", ":classify", ":regress"):
                assert list(described["paths"][f"/v1/models/{place}{verb}"]) == ["post"]
            for what in ("", "/metadata"):
                assert list(described["paths"][f"/v1/models/{place}{what}"]) == ["get"]
            for what in ("", "/ready", "/config", "/stats"):
                assert list(described["paths"][f"/v2/models/{place}{what}"]) == ["get"]
            assert list(described["paths"][f"/v2/models/{place}/infer"]) == ["post"]


def test_every_path_is_one_that_the_server_answers(
    served: Served, described: dict[str, Any]
) -> None:
    """As far as asking changes nothing: everything that is got."""
    asked = 0
    for path, method, told in operations(described):
        if method == "get":
            target = path.replace("{model}", "half_plus_two")
            answer = served.ask("GET", target)
            assert answer.status == 200, target
            assert_as_described(described, told, answer, target)
            asked += 1
    assert asked > 100


def test_every_example_can_be_sent_and_is_answered_as_described(
    served: Served, described: dict[str, Any]
) -> None:
    sent = 0
    for path, _, told in operations(described):
        content = told.get("requestBody", {}).get("content", {}).get("application/json", {})
        for name, example in content.get("examples", {}).items():
            asked = f"{path}: {name}"
            assert violations(described, content["schema"], example["value"]) == [], asked
            answer = served.ask("POST", path, json.dumps(example["value"]).encode())
            # Which features a model wants, it declares nowhere.
            if told["tags"] not in (["examples"], ["of_examples"]):
                assert (answer.status, asked) == (200, asked), answer.body
                sent += 1
            assert_as_described(described, told, answer, asked)
    assert sent > 100


@pytest.mark.parametrize(
    ("asked", "body", "status"),
    [
        ("POST /v1/models/half_plus_two:predict", b"[", 400),
        ("POST /v1/models/half_plus_two:classify", b'{"examples": [{"x": 1.0}]}', 400),
        ("POST /v2/models/half_plus_two/infer", b"{}", 400),
        ("POST /v2/repository/models/{model}/load", b"{}", 403),
        ("POST /v2/logging", b"{}", 403),
        ("GET /v2/models/{model}/trace/setting", b"", 404),
    ],
)
def test_refusals_are_answered_as_described(
    served: Served, described: dict[str, Any], asked: str, body: bytes, status: int
) -> None:
    method, target = asked.split()
    answer = served.ask(method, target.replace("{model}", "nobody"), body)
    assert answer.status == status
    assert_as_described(described, described["paths"][target][method.lower()], answer, asked)


def test_what_is_not_json_is_described_where_it_can_be_sent(
    served: Served, described: dict[str, Any]
) -> None:
    path = "/v1/models/half_plus_two:predict"
    told = described["paths"][path]["post"]
    media = "application/octet-stream"
    assert list(told["requestBody"]["content"])[:2] == ["application/json", media]
    answer = served.ask("POST", path, struct.pack("<f", 2.0), {"Content-Type": media})
    assert struct.unpack("<f", answer.body) == (3.0,)
    assert_as_described(described, told, answer, path)
    response = told["responses"]["200"]
    assert {"X-Tensor-Dtype", "X-Tensor-Shape"} <= response["headers"].keys()
    of_strings = described["paths"]["/v1/models/examples:predict"]["post"]
    assert list(of_strings["requestBody"]["content"]) == ["application/json"]


# ----------------------------------------------------------------------------------- the schemas

HALF = "half_plus_two.123.serving_default"
FIXED = "odd_ones.1.static.inputs"
CHANGE = "TraceSettingsChange"


def static(*numbers: float) -> dict[str, Any]:
    return {"signature_name": "static", "inputs": list(numbers)}


@pytest.mark.parametrize(
    ("schema", "value", "fits"),
    [
        pytest.param(f"{HALF}.instances", {"instances": [[1.0], [2.0]]}, True, id="rows"),
        pytest.param(f"{HALF}.instances", {"instances": [1.0, 2]}, True, id="1-left-out"),
        pytest.param(f"{HALF}.instances", {"instances": [{"x": [1.0]}]}, True, id="objects"),
        pytest.param(f"{HALF}.instances", {"instances": [{"y": [1.0]}]}, False, id="wrong-name"),
        pytest.param(f"{HALF}.instances", {"instances": []}, False, id="no-rows"),
        pytest.param(f"{HALF}.instances", {"instances": [[1.0, 2.0]]}, False, id="too-wide"),
        pytest.param(f"{HALF}.instances", {"instances": [["1"]]}, False, id="string"),
        pytest.param(f"{HALF}.inputs", {"inputs": {"x": [[1.0]]}}, True, id="columns"),
        pytest.param(f"{HALF}.inputs", {"inputs": [[1.0]]}, True, id="bare-column"),
        pytest.param(f"{HALF}.predictions", {"predictions": [[1.0]]}, True, id="predictions"),
        pytest.param(f"{HALF}.predictions", {"predictions": {"y": [1]}}, False, id="no-list"),
        pytest.param(FIXED, static(1, 2, 3), True, id="fixed"),
        pytest.param(FIXED, static(1, 2), False, id="too-few"),
        pytest.param(FIXED, {"inputs": [1, 2, 3]}, False, id="no-signature"),
        pytest.param("odd_ones.1.lengths.outputs", {"outputs": [[[1.0]]]}, True, id="any-rank"),
        pytest.param("int8", -128, True, id="int8"),
        pytest.param("int8", 128, False, id="int8-beyond"),
        pytest.param("uint64", 2**64 - 1, True, id="uint64"),
        pytest.param("uint64", -1, False, id="uint64-below"),
        pytest.param("string", {"b64": "aGVsbG8"}, True, id="b64-without-padding"),
        pytest.param("string", {"b64": "aGVsbG8=="}, False, id="b64-with-wrong-padding"),
        pytest.param("string", {"b64": "a-_b"}, False, id="b64-of-another-alphabet"),
        pytest.param(CHANGE, {"trace_rate": None, "trace_level": "OFF"}, True, id="taken-back"),
        pytest.param(CHANGE, {"trace_rate": "0"}, False, id="no-rate"),
    ],
)
def test_schemas_tell_what_fits(
    described: dict[str, Any], schema: str, value: Any, *, fits: bool
) -> None:
    found = violations(described, {"$ref": f"#/components/schemas/{schema}"}, value)
    assert (found == []) is fits


def model(name: str, version: int, shape: Shape | None = (None, 1)) -> ServedModel:
    spec = partial(TensorSpec, dtype="float32", shape=shape)
    signature = Signature("serving_default", {"x": spec("x")}, {"y": spec("y")})
    return ServedModel(name, version, {signature.name: signature}, "none", 8)


def described_alone(*models: ServedModel, **doors: bool) -> dict[str, Any]:
    """The document of models that nobody serves."""
    told: dict[str, Any] = json.loads(document(models, "1.0", **doors))
    return told


@pytest.mark.parametrize("doors", [{}, {"tokens": True, "admin": True}], ids=["open", "guarded"])
def test_references_and_parameters_of_the_document_have_what_they_name(
    doors: dict[str, bool],
) -> None:
    OpenAPIV31SpecValidator(described_alone(model("m", 1), **doors)).validate()


def test_names_are_encoded_in_paths_and_told_apart_among_components() -> None:
    told = described_alone(model("a/b", 1), model("a:b", 1), model("ü {x}", 1))
    assert "/v1/models/a%2Fb:predict" in told["paths"]
    assert "/v2/models/%C3%BC%20%7Bx%7D/versions/1/infer" in told["paths"]
    names = [name for name in told["components"]["schemas"] if "inferred" in name]
    assert len(names) == 3


def test_the_newest_version_is_the_one_without_a_number() -> None:
    told = described_alone(model("m", 7, (None, 2)), model("m", 3, (None, 5)))
    sizes = []
    for place in ("m", "m/versions/7", "m/versions/3"):
        post = told["paths"][f"/v1/models/{place}:predict"]["post"]
        example = post["requestBody"]["content"]["application/json"]["examples"]
        sizes.append(len(example["serving_default, by rows"]["value"]["instances"][0]))
    assert sizes == [2, 2, 5]
    assert "/v1/models/m/versions/2:predict" not in told["paths"]


def least_elements(described: dict[str, Any], schema: dict[str, Any]) -> int:
    """How many elements the least value has that a viewer may make for a schema."""
    schema = resolved(described, schema)
    if schema.get("type") == "array":
        each = least_elements(described, schema["items"])
        return max(1, int(schema.get("minItems", 0))) * each
    parts = [*schema.get("anyOf", []), *schema.get("properties", {}).values()]
    return max([1, *(least_elements(described, part) for part in parts)])


@pytest.mark.parametrize(("side", "shown"), [(32, True), (33, False)])
def test_tensors_too_large_to_be_read_have_no_examples(side: int, *, shown: bool) -> None:
    told = described_alone(model("m", 1, (None, 32, side)))
    predict, infer = (
        told["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        for path in ("/v1/models/m:predict", "/v2/models/m/infer")
    )
    assert ("examples" in predict) is ("examples" in infer) is shown
    assert least_elements(told, predict["schema"]) == (32 * 32 if shown else 33)
    too_many = {"instances": [[[1.0] * (side + 1)] * 32]}
    assert violations(told, predict["schema"], too_many) != []


@pytest.mark.parametrize("shape", [(), (3,), (None,), (None, None, 1, 1), None], ids=str)
def test_any_shape_can_be_described(shape: Shape | None) -> None:
    told = described_alone(model("m", 1, shape))
    for path in ("/v1/models/m:predict", "/v2/models/m/infer"):
        content = told["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        assert content["examples"]
        for example in content["examples"].values():
            assert violations(told, content["schema"], example["value"]) == []


def test_a_model_without_a_form_in_json_is_described_for_what_it_is() -> None:
    spec = TensorSpec("x", "complex64", (None,))
    signature = Signature("serving_default", {"x": spec}, {"x": spec})
    told = described_alone(ServedModel("m", 1, {signature.name: signature}, "none", 8))
    predict = told["paths"]["/v1/models/m:predict"]["post"]
    assert "every request is refused" in predict["description"]
    infer = told["paths"]["/v2/models/m/infer"]["post"]
    assert list(infer["requestBody"]["content"]) == ["application/octet-stream"]


# ------------------------------------------------------------------------------------- the doors

PROBES = ("/livez", "/readyz", "/v2/health/live", "/ready")
ADMIN = {
    "/v2/repository/models/{model}/load",
    "/v2/repository/models/{model}/unload",
    "/v2/logging",
    "/v2/trace/setting",
    "/v2/models/{model}/trace/setting",
}


@pytest.mark.parametrize("tokens", [False, True], ids=["without", "with"])
@pytest.mark.parametrize("admin", [False, True], ids=["admin-off", "admin-on"])
def test_who_may_do_what_is_told(*, tokens: bool, admin: bool) -> None:
    told = described_alone(model("m", 1), tokens=tokens, admin=admin)
    assert told["security"] == ([{"bearer": []}] if tokens else [])
    assert ("bearer" in told["components"]["securitySchemes"]) == (tokens or admin)
    for path, method, operation in operations(told):
        changes = path in ADMIN and method == "post"
        if changes:
            assert operation.get("security") == ([{"bearer": ["admin"]}] if admin else None)
        else:
            assert operation.get("security") == ([] if path.endswith(PROBES) else None)
        assert ("403" in operation["responses"]) is changes
        assert ("401" in operation["responses"]) is (
            changes or (tokens and not path.endswith(PROBES))
        )


def test_the_server_asks_for_tokens_where_it_says_so(models: dict[str, Path]) -> None:
    secret, token = make_token("user")
    config = Config((ModelConfig("half", models["half_plus_two"]),), tokens=(token,))
    served = Served(config)
    try:
        authorized = {"Authorization": f"Bearer {secret}"}
        answer = served.ask("GET", "/openapi.json", headers=authorized)
        described = json.loads(answer.body)
        for path, method, told in operations(described):
            refused = served.ask(method.upper(), path)
            assert_as_described(described, told, refused, path)
            expected = 200 if path.endswith(PROBES) else 403 if "403" in told["responses"] else 401
            assert refused.status == expected, path
    finally:
        served.close()


def test_the_document_follows_the_models(models: dict[str, Path]) -> None:
    config = Config(tuple(ModelConfig(name, models["half_plus_two"]) for name in ("one", "two")))
    served = Served(config)
    try:
        first = served.ask("GET", "/openapi.json").body
        assert served.ask("GET", "/openapi.json").body is first
        served.run(served.application._serving.unload("one"))
        told = json.loads(served.ask("GET", "/openapi.json").body)
        assert "/v1/models/one:predict" not in told["paths"]
        assert "/v1/models/two:predict" in told["paths"]
        served.run(served.application._serving.load("one"))
        assert served.ask("GET", "/openapi.json").body == first
    finally:
        served.close()
