"""Classify, Regress and MultiInference over gRPC, asked by TensorFlow Serving's own stubs."""

from typing import Any

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    input_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from tests.server.grpc_client import GrpcClient

INVALID = grpc.StatusCode.INVALID_ARGUMENT
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"


def example(**features: float) -> tf.train.Example:
    """An example of one float for each feature."""
    made = tf.train.Example()
    for name, value in features.items():
        made.features.feature[name].float_list.value.append(value)
    return made


def examples(*values: float) -> input_pb2.Input:
    """A list of examples with these values of x."""
    told = input_pb2.Input()
    told.example_list.examples.extend([example(x=value) for value in values])
    return told


def with_context(*values: float, x: float) -> input_pb2.Input:
    """Examples without x, NaN, or with x; and x in their context."""
    told = input_pb2.Input()
    told.example_list_with_context.context.CopyFrom(example(x=x))
    rows = [example() if value != value else example(x=value) for value in values]  # noqa: PLR0124 - NaN
    told.example_list_with_context.examples.extend(rows)
    return told


def classify(
    signature: str, told: input_pb2.Input, model: str = "examples"
) -> classification_pb2.ClassificationRequest:
    request = classification_pb2.ClassificationRequest(input=told)
    request.model_spec.name, request.model_spec.signature_name = model, signature
    return request


def regress(
    signature: str, told: input_pb2.Input, model: str = "examples"
) -> regression_pb2.RegressionRequest:
    request = regression_pb2.RegressionRequest(input=told)
    request.model_spec.name, request.model_spec.signature_name = model, signature
    return request


def several(
    *tasks: tuple[str, str], told: input_pb2.Input, models: tuple[str, ...] = ("examples",)
) -> inference_pb2.MultiInferenceRequest:
    """A MultiInferenceRequest with these signatures and method names, of models in turn."""
    request = inference_pb2.MultiInferenceRequest(input=told)
    for place, (signature, method) in enumerate(tasks):
        task = request.tasks.add(method_name=method)
        task.model_spec.name = models[place % len(models)]
        task.model_spec.signature_name = signature
    return request


@pytest.fixture(scope="module")
def stub(grpc_client: GrpcClient) -> Any:
    return prediction_service_pb2_grpc.PredictionServiceStub(grpc_client.channel)


def told_classes(result: classification_pb2.ClassificationResult) -> list[list[tuple[str, float]]]:
    return [[(c.label, c.score) for c in row.classes] for row in result.classifications]


def told_values(result: regression_pb2.RegressionResult) -> list[float]:
    return [regression.value for regression in result.regressions]


NAN = float("nan")


@pytest.mark.parametrize(
    ("signature", "told", "expected"),
    [
        pytest.param(
            "classify",
            examples(2.0, -3.0),
            [[("low", -2.0), ("high", 2.0)], [("low", 3.0), ("high", -3.0)]],
            id="classes-and-scores",
        ),
        pytest.param("scores", examples(2.0), [[("", -2.0), ("", 2.0)]], id="no-classes"),
        pytest.param("labels", examples(2.0), [[("low", 0.0), ("high", 0.0)]], id="no-scores"),
        pytest.param(
            "scores", with_context(NAN, x=5.0), [[("", -5.0), ("", 5.0)]], id="from-the-context"
        ),
    ],
)
def test_examples_are_classified(
    grpc_client: GrpcClient, stub: Any, signature: str, told: input_pb2.Input, expected: Any
) -> None:
    answer = grpc_client.call(stub.Classify, classify(signature, told))

    assert told_classes(answer.result) == expected
    assert answer.model_spec.name == "examples"
    assert answer.model_spec.signature_name == signature
    assert answer.model_spec.version.value == 1


@pytest.mark.parametrize(
    ("signature", "told", "expected"),
    [
        pytest.param("regress", examples(2.0, 4.0), [3.0, 4.0], id="a-column"),
        pytest.param("regress_flat", examples(2.0, 4.0), [4.0, 5.0], id="flat"),
        pytest.param("regress", with_context(NAN, 4.0, x=8.0), [6.0, 4.0], id="context"),
        pytest.param("regress", examples(*range(20)), [i / 2 + 2 for i in range(20)], id="many"),
    ],
)
def test_examples_are_regressed(
    grpc_client: GrpcClient, stub: Any, signature: str, told: input_pb2.Input, expected: list[float]
) -> None:
    answer = grpc_client.call(stub.Regress, regress(signature, told))

    assert told_values(answer.result) == expected
    assert answer.model_spec.name == "examples"
    assert answer.model_spec.signature_name == signature
    assert answer.model_spec.version.value == 1


X = examples(1.0)


@pytest.mark.parametrize(
    ("asked", "code", "words"),
    [
        pytest.param(
            ("Classify", classify("classify", input_pb2.Input())), INVALID, ["empty"], id="no-input"
        ),
        pytest.param(
            ("Classify", classify("classify", examples())), INVALID, ["no exam"], id="none"
        ),
        pytest.param(
            ("Regress", regress("regress", with_context(x=1.0))), INVALID, ["no exam"], id="context"
        ),
        pytest.param(("Classify", classify("other", X)), INVALID, ["'other'"], id="signature"),
        pytest.param(
            ("Regress", regress("other", X)), INVALID, ["'other'"], id="regress-signature"
        ),
        pytest.param(("Classify", classify("regress", X)), INVALID, ["classify"], id="not-classes"),
        pytest.param(("Regress", regress("scores", X)), INVALID, ["regress"], id="not-values"),
        pytest.param(("Regress", regress("wide", X)), INVALID, ["[1,2]"], id="two-values"),
        pytest.param(("Classify", classify("no_text", X)), INVALID, ["UTF-8"], id="no-text"),
        pytest.param(
            ("Classify", classify("", X, "half_plus_two")),
            INVALID,
            ["takes no examples"],
            id="no-examples",
        ),
        pytest.param(("Regress", regress("", X, "")), INVALID, ["no name"], id="no-name"),
        pytest.param(
            ("Regress", regress("", X, "nobody")),
            grpc.StatusCode.NOT_FOUND,
            ["nobody"],
            id="nobody",
        ),
    ],
)
def test_these_are_refused(
    grpc_client: GrpcClient, asked: tuple[str, Any], code: grpc.StatusCode, words: list[str]
) -> None:
    method, request = asked

    came, told = grpc_client.refused(
        grpc_client.bytes_to(f"/tensorflow.serving.PredictionService/{method}"),
        request.SerializeToString(),
    )

    assert came is code
    for word in words:
        assert word in told


def test_bytes_that_are_no_example_are_refused_by_the_model(grpc_client: GrpcClient) -> None:
    method = grpc_client.bytes_to("/tensorflow.serving.PredictionService/Classify")
    whole = classify("classify", X).SerializeToString()
    serialized = X.example_list.examples[0].SerializeToString()
    spoilt = whole.replace(serialized, b"\xff" * len(serialized))
    assert spoilt != whole

    code, told = grpc_client.refused(method, spoilt)

    assert code is INVALID
    assert "refused" in told


def test_several_signatures_run_on_the_same_examples(grpc_client: GrpcClient, stub: Any) -> None:
    request = several(
        ("regress", REGRESS), ("classify", CLASSIFY), ("regress_flat", REGRESS), told=examples(2, 4)
    )

    answer = grpc_client.call(stub.MultiInference, request)

    first, second, third = answer.results
    assert told_values(first.regression_result) == [3.0, 4.0]
    assert told_classes(second.classification_result)[1] == [("low", -4.0), ("high", 4.0)]
    assert told_values(third.regression_result) == [4.0, 5.0]
    assert [result.model_spec.signature_name for result in answer.results] == [
        "regress",
        "classify",
        "regress_flat",
    ]
    assert {(r.model_spec.name, r.model_spec.version.value) for r in answer.results} == {
        ("examples", 1)
    }


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        pytest.param(several(told=X), INVALID, ["no tasks"], id="no-tasks"),
        pytest.param(
            several(("a", REGRESS), ("b", REGRESS), told=X, models=("examples", "other")),
            INVALID,
            ["one model", "examples and other"],
            id="two-models",
        ),
        pytest.param(
            several(("a", REGRESS), told=X, models=("",)), INVALID, ["name"], id="no-name"
        ),
        pytest.param(
            several(("a", REGRESS), told=X, models=("nobody",)),
            grpc.StatusCode.NOT_FOUND,
            ["nobody"],
            id="unknown-model",
        ),
        pytest.param(
            several(("regress", REGRESS), ("regress", REGRESS), told=X),
            INVALID,
            ["'regress'", "more than once"],
            id="signature-twice",
        ),
        pytest.param(
            several(("regress", "tensorflow/serving/predict"), told=X),
            grpc.StatusCode.UNIMPLEMENTED,
            [REGRESS, CLASSIFY, "predict"],
            id="method-name",
        ),
        pytest.param(several(("other", REGRESS), told=X), INVALID, ["'other'"], id="signature"),
        pytest.param(several(("regress", CLASSIFY), told=X), INVALID, ["classify"], id="not-so"),
        pytest.param(
            several(("regress", REGRESS), told=input_pb2.Input()), INVALID, ["empty"], id="no-input"
        ),
        pytest.param(
            several(("regress", REGRESS), ("wide", REGRESS), told=X),
            INVALID,
            ["[1,2]"],
            id="one-bad",
        ),
    ],
)
def test_several_are_refused(
    grpc_client: GrpcClient,
    stub: Any,
    request_: inference_pb2.MultiInferenceRequest,
    code: grpc.StatusCode,
    words: list[str],
) -> None:
    came, told = grpc_client.refused(stub.MultiInference, request_)

    assert came is code
    for word in words:
        assert word in told
