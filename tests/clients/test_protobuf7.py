"""Server and clients on protobuf 7: TensorFlow Serving, health and Open Inference Protocol."""

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import numpy as np
import pytest

from tests.clients.served import DIGITS, LENGTHS, PIXELS, TEXTS, served_to

SERVED = served_to("protobuf7")

import grpc
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from server.protocols import wire

SCANS = np.array(PIXELS, np.float32).reshape(-1, 8, 8)


@pytest.fixture
def channel() -> Iterator[Any]:
    with grpc.insecure_channel(SERVED.grpc) as channel:
        yield channel


def test_this_is_protobuf_7() -> None:
    assert version("protobuf").startswith("7.")


def test_tensorflow_serving_predicts(channel: Any) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "digits"
    request.inputs["images"].CopyFrom(tf.make_tensor_proto(SCANS))
    answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request)
    got = tf.make_ndarray(answer.outputs["probabilities"])
    assert got.argmax(axis=1).tolist() == DIGITS
    assert answer.model_spec.version.value == 1


def test_tensorflow_serving_predicts_texts(channel: Any) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "words"
    request.inputs["text"].CopyFrom(tf.make_tensor_proto(TEXTS))
    answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request)
    assert list(answer.outputs["text"].string_val) == TEXTS
    assert list(answer.outputs["length"].int_val) == LENGTHS


def test_tensorflow_serving_tells_signatures(channel: Any) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "digits"
    answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).GetModelMetadata(request)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    assert list(signatures.signature_def["serving_default"].inputs) == ["images"]


def test_tensorflow_serving_tells_the_state(channel: Any) -> None:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "digits"
    answer = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request)
    (status,) = answer.model_version_status
    assert (status.version, status.state) == (1, get_model_status_pb2.ModelVersionStatus.AVAILABLE)


def test_the_health_service_answers(channel: Any) -> None:
    answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_the_open_inference_protocol_answers(channel: Any) -> None:
    infer = channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer",
        wire.message("inference.ModelInferRequest").SerializeToString,
        wire.message("inference.ModelInferResponse").FromString,
    )
    request = wire.message("inference.ModelInferRequest")(model_name="digits")
    request.inputs.add(name="images", datatype="FP32", shape=SCANS.shape)
    request.raw_input_contents.append(SCANS.tobytes())
    (got,) = infer(request).raw_output_contents
    assert np.frombuffer(got, np.float32).reshape(-1, 10).argmax(axis=1).tolist() == DIGITS
