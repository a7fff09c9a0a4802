"""ModelService and GetModelMetadata over gRPC, asked by TensorFlow Serving's own stubs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from server.adapters.grpc_server import GrpcServer
from server.config import Config, ModelConfig
from server.tokens import make_token
from tests.server.conftest import Served
from tests.server.grpc_client import GrpcClient

INVALID = grpc.StatusCode.INVALID_ARGUMENT
DENIED = grpc.StatusCode.PERMISSION_DENIED
AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE
END = get_model_status_pb2.ModelVersionStatus.END


@pytest.fixture(scope="module")
def service(grpc_client: GrpcClient) -> Any:
    return model_service_pb2_grpc.ModelServiceStub(grpc_client.channel)


@pytest.fixture(scope="module")
def get_metadata(grpc_client: GrpcClient) -> Any:
    stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc_client.channel)
    return stub.GetModelMetadata


# ------------------------------------------------------------------------------------ metadata


def about(model: str, *fields: str) -> get_model_metadata_pb2.GetModelMetadataRequest:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = model
    return request


def signatures(answer: get_model_metadata_pb2.GetModelMetadataResponse) -> Any:
    """The signatures by name, as the client unpacks them."""
    told = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(told)
    return told.signature_def


@pytest.mark.parametrize("fields", [("signature_def",), ("signature_def", "signature_def")])
def test_the_signatures_are_told(
    grpc_client: GrpcClient, get_metadata: Any, fields: tuple[str, ...]
) -> None:
    answer = grpc_client.call(get_metadata, about("half_plus_two", *fields))

    assert (answer.model_spec.name, answer.model_spec.version.value) == ("half_plus_two", 123)
    assert list(answer.metadata) == ["signature_def"]
    told = signatures(answer)
    assert list(told) == ["serving_default"]
    assert told["serving_default"].method_name == "tensorflow/serving/predict"
    x = told["serving_default"].inputs["x"]
    assert (x.name, x.dtype) == ("serving_default_x:0", tf.float32.as_datatype_enum)
    assert [dim.size for dim in x.tensor_shape.dim] == [-1, 1]
    assert list(told["serving_default"].outputs) == ["y"]


def test_an_unknown_rank_and_a_default_are_told(grpc_client: GrpcClient, get_metadata: Any) -> None:
    odd = signatures(grpc_client.call(get_metadata, about("odd_ones", "signature_def")))
    left_out = signatures(grpc_client.call(get_metadata, about("left_out", "signature_def")))

    assert odd["lengths"].outputs["y"].tensor_shape.unknown_rank
    assert not odd["scalar"].inputs["x"].tensor_shape.dim
    default = left_out["serving_default"].defaults["z"]
    assert tf.make_ndarray(default).tolist() == [[10.0]]


@pytest.mark.parametrize("model", ["half_plus_two", "words", "every_dtype", "examples", "left_out"])
def test_the_signatures_are_those_of_the_file(
    grpc_client: GrpcClient, get_metadata: Any, models: dict[str, Path], model: str
) -> None:
    (file,) = models[model].glob("*/saved_model.pb")
    expected = saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs[0].signature_def

    told = signatures(grpc_client.call(get_metadata, about(model, "signature_def")))

    for name, signature in told.items():
        assert signature.inputs == expected[name].inputs
        assert signature.outputs == expected[name].outputs
        assert signature.method_name == expected[name].method_name
        assert signature.defaults == expected[name].defaults


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        pytest.param(about("half_plus_two"), INVALID, ["signature_def", "none"], id="no-field"),
        pytest.param(about("half_plus_two", "other"), INVALID, ["'other'"], id="other-field"),
        pytest.param(
            about("half_plus_two", "signature_def", "other"), INVALID, ["'other'"], id="one-other"
        ),
        pytest.param(about("", "signature_def"), INVALID, ["no name"], id="no-name"),
        pytest.param(
            about("nobody", "signature_def"), grpc.StatusCode.NOT_FOUND, ["nobody"], id="nobody"
        ),
    ],
)
def test_metadata_is_refused(
    grpc_client: GrpcClient,
    get_metadata: Any,
    request_: get_model_metadata_pb2.GetModelMetadataRequest,
    code: grpc.StatusCode,
    words: list[str],
) -> None:
    came, told = grpc_client.refused(get_metadata, request_)

    assert came is code
    for word in words:
        assert word in told


# -------------------------------------------------------------------------------------- status


def status_of(
    model: str, version: int | None = None, label: str | None = None
) -> get_model_status_pb2.GetModelStatusRequest:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = model
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    return request


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(status_of("half_plus_two"), id="all-versions"),
        pytest.param(status_of("half_plus_two", version=123), id="one-version"),
        pytest.param(status_of("half_plus_two", label="nobody"), id="label-ignored"),
    ],
)
def test_the_status_of_versions_is_told(
    grpc_client: GrpcClient, service: Any, request_: get_model_status_pb2.GetModelStatusRequest
) -> None:
    answer = grpc_client.call(service.GetModelStatus, request_)

    (status,) = answer.model_version_status
    assert (status.version, status.state) == (123, AVAILABLE)
    assert (status.status.error_code, status.status.error_message) == (0, "")


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        pytest.param(status_of("nobody"), grpc.StatusCode.NOT_FOUND, ["nobody"], id="nobody"),
        pytest.param(
            status_of("half_plus_two", version=1), grpc.StatusCode.NOT_FOUND, ["1"], id="version"
        ),
        pytest.param(status_of(""), INVALID, ["no name"], id="no-name"),
    ],
)
def test_a_status_is_refused(
    grpc_client: GrpcClient,
    service: Any,
    request_: get_model_status_pb2.GetModelStatusRequest,
    code: grpc.StatusCode,
    words: list[str],
) -> None:
    came, told = grpc_client.refused(service.GetModelStatus, request_)

    assert came is code
    for word in words:
        assert word in told


# --------------------------------------------------------------------------------------- reload

SECRET, TOKEN = make_token("ops")
HALF, TWO = "half_plus_two", "two_by_two"


def only(*served: dict[str, Any]) -> model_management_pb2.ReloadConfigRequest:
    """A request to serve these models and no others; each has the fields of a ModelConfig."""
    request = model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.SetInParent()
    for fields in served:
        request.config.model_config_list.config.add(**fields)
    return request


class Administered:
    """A server of two models that may be administered, and a client who may."""

    def __init__(self, models: dict[str, Path]) -> None:
        names = (HALF, TWO)
        configured = tuple(ModelConfig(name, models[name], max_batch_size=1) for name in names)
        self.served = Served(Config(configured, admin=True, admin_tokens=(TOKEN,)))
        self._server = GrpcServer(self.served.application.front)
        address = self.served.run(self._server.open("127.0.0.1", 0))
        self.client = GrpcClient(self.served.run, address.removeprefix("grpc://"))
        self.service = model_service_pb2_grpc.ModelServiceStub(self.client.channel)

    def reload(self, request: model_management_pb2.ReloadConfigRequest) -> Any:
        """The answer to an administrator's request."""
        metadata = (("authorization", f"Bearer {SECRET}"),)
        return self.client.call(self.service.HandleReloadConfigRequest, request, metadata=metadata)

    def states(self) -> dict[str, int]:
        """The states of the models by name."""
        answers = {
            name: self.client.call(self.service.GetModelStatus, status_of(name))
            for name in (HALF, TWO)
        }
        return {name: told.model_version_status[0].state for name, told in answers.items()}

    def close(self) -> None:
        """End everything."""
        self.client.close()
        self.served.run(self._server.close(1.0))
        self.served.close()


@pytest.fixture(scope="module")
def administered(models: dict[str, Path]) -> Iterator[Administered]:
    administered = Administered(models)
    yield administered
    administered.close()


def test_a_new_configuration_replaces_the_set_of_models(
    administered: Administered, models: dict[str, Path]
) -> None:
    half, two = {"name": HALF, "base_path": str(models[HALF])}, {"name": TWO}

    for request, expected in (
        (only(half), {HALF: AVAILABLE, TWO: END}),
        (only(two), {HALF: END, TWO: AVAILABLE}),
        (only(), {HALF: END, TWO: END}),
        (only(half, two | {"model_platform": "tensorflow"}), {HALF: AVAILABLE, TWO: AVAILABLE}),
        (only(half, two), {HALF: AVAILABLE, TWO: AVAILABLE}),
    ):
        answer = administered.reload(request)
        assert (answer.status.error_code, answer.status.error_message) == (0, "")
        assert administered.states() == expected


CUSTOM = model_management_pb2.ReloadConfigRequest()
CUSTOM.config.custom_model_config.SetInParent()


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        pytest.param(
            model_management_pb2.ReloadConfigRequest(), INVALID, ["model_config_list"], id="empty"
        ),
        pytest.param(CUSTOM, INVALID, ["model_config_list"], id="custom"),
        pytest.param(
            only({"name": HALF}, {"name": "new", "base_path": "/n"}),
            DENIED,
            ["'new'", HALF],
            id="unknown",
        ),
        pytest.param(only({}), INVALID, ["without a name"], id="no-name"),
        pytest.param(
            only({"name": HALF}, {"name": TWO, "base_path": "/else"}), DENIED, ["/else"], id="path"
        ),
        pytest.param(only({"name": HALF}, {"name": HALF}), INVALID, ["more than once"], id="twice"),
        pytest.param(
            only({"name": HALF, "model_version_policy": {"specific": {}}}),
            INVALID,
            ["model_version_policy", "at least one"],
            id="policy",
        ),
        pytest.param(
            only({"name": HALF, "version_labels": {"new": 7}}),
            grpc.StatusCode.FAILED_PRECONDITION,
            ["'new'", "version 7"],
            id="label",
        ),
    ],
)
def test_a_configuration_is_refused_as_a_whole(
    administered: Administered,
    request_: model_management_pb2.ReloadConfigRequest,
    code: grpc.StatusCode,
    words: list[str],
) -> None:
    before = administered.states()

    with pytest.raises(grpc.RpcError) as refused:
        administered.reload(request_)

    assert refused.value.code() is code
    for word in words:
        assert word in refused.value.details()
    assert administered.states() == before


def test_a_new_configuration_is_for_administrators(
    grpc_client: GrpcClient, service: Any, administered: Administered
) -> None:
    method = administered.service.HandleReloadConfigRequest
    anonymous, _ = administered.client.refused(method, only())
    assert anonymous is grpc.StatusCode.UNAUTHENTICATED

    switched_off, told = grpc_client.refused(service.HandleReloadConfigRequest, only())
    assert switched_off is DENIED
    assert "switched off" in told


@pytest.mark.parametrize("method", ["GetModelStatus", "HandleReloadConfigRequest"])
def test_bytes_that_are_no_message_are_an_invalid_argument(
    grpc_client: GrpcClient, method: str
) -> None:
    target = f"/tensorflow.serving.ModelService/{method}"

    code, told = grpc_client.refused(grpc_client.bytes_to(target), b"\xff\xff")

    assert code is INVALID
    assert "2 bytes" in told
