"""Predict of TensorFlow Serving over gRPC, asked by its own stubs: the rows of the note."""

import contextlib
from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from server.errors import ServingError
from server.exchange import Exchange
from server.inference import InferenceRequest, ServedModel
from server.protocols.protocol import Infer
from server.protocols.tfserving_grpc import PredictionService
from server.signature import Signature, TensorSpec
from tests.server.conftest import Served
from tests.server.grpc_client import GrpcClient

fuzz = settings(derandomize=True, deadline=None, max_examples=60)

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATING = ["float16", "float32", "float64", "bfloat16"]


def asking(
    model: str,
    inputs: Mapping[str, Any],
    signature: str = "",
    *,
    version: int | None = None,
    label: str | None = None,
    outputs: tuple[str, ...] = (),
) -> predict_pb2.PredictRequest:
    """A PredictRequest; inputs are TensorProtos, or what TensorFlow makes one from."""
    request = predict_pb2.PredictRequest(output_filter=outputs)
    spec = request.model_spec
    spec.name, spec.signature_name = model, signature
    if version is not None:
        spec.version.value = version
    if label is not None:
        spec.version_label = label
    for name, value in inputs.items():
        is_proto = hasattr(value, "tensor_shape")
        request.inputs[name].CopyFrom(value if is_proto else tf.make_tensor_proto(value))
    return request


def proto(dtype: str, shape: list[int], **values: Any) -> Any:
    """A TensorProto as somebody writes it by hand."""
    tensor = tf.make_tensor_proto(0.0)
    tensor.Clear()
    tensor.dtype = tf.as_dtype(dtype).as_datatype_enum
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    for name, value in values.items():
        if name == "tensor_content":
            tensor.tensor_content = value
        else:
            getattr(tensor, name).extend(value)
    return tensor


@pytest.fixture(scope="module")
def predict(grpc_client: GrpcClient) -> Any:
    return prediction_service_pb2_grpc.PredictionServiceStub(grpc_client.channel).Predict


FLOATS = np.array([[1.0, 2.0]], np.float32)


def test_the_answer_says_who_answered_in_typed_lists(grpc_client: GrpcClient, predict: Any) -> None:
    answer = grpc_client.call(predict, asking("half_plus_two", {"x": [1.0, 2.0, 5.0]}))

    assert list(answer.outputs) == ["y"]
    assert list(answer.outputs["y"].float_val) == [2.5, 3.0, 4.5]
    assert not answer.outputs["y"].tensor_content
    assert answer.model_spec.name == "half_plus_two"
    assert answer.model_spec.signature_name == "serving_default"
    assert answer.model_spec.version.value == 123
    assert tf.make_ndarray(answer.outputs["y"]).shape == (3,)


@pytest.mark.parametrize(
    "tensor",
    [
        pytest.param(proto("float32", [2], float_val=[1, 2]), id="typed-list"),
        pytest.param(
            proto("float32", [2], tensor_content=np.array([1, 2], "<f4").tobytes()), id="content"
        ),
        pytest.param(proto("float32", [2, 1], float_val=[1, 2]), id="of-the-declared-rank"),
    ],
)
def test_both_encodings_are_read(grpc_client: GrpcClient, predict: Any, tensor: Any) -> None:
    answer = grpc_client.call(predict, asking("half_plus_two", {"x": tensor}))

    assert list(answer.outputs["y"].float_val) == [2.5, 3.0]
    assert len(answer.outputs["y"].tensor_shape.dim) == len(tensor.tensor_shape.dim)


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        pytest.param(proto("float32", [3], float_val=[1, 4]), [2.5, 4.0, 4.0], id="last-repeated"),
        pytest.param(proto("float32", [2]), [2.0, 2.0], id="none-is-zeros"),
    ],
)
def test_missing_values_are_filled(
    grpc_client: GrpcClient, predict: Any, tensor: Any, expected: list[float]
) -> None:
    answer = grpc_client.call(predict, asking("half_plus_two", {"x": tensor}))

    assert list(answer.outputs["y"].float_val) == expected


@pytest.mark.parametrize("dtype", ["bool", *INTEGERS, *FLOATING])
def test_every_dtype_comes_back_as_it_went(
    grpc_client: GrpcClient, predict: Any, dtype: str
) -> None:
    array = np.array([[0, 1, 3], [1, 0, 7]]).astype(tf.as_dtype(dtype).as_numpy_dtype)
    model = "words" if dtype == "bfloat16" else "every_dtype"

    answer = grpc_client.call(predict, asking(model, {"x": array}, dtype))

    back = tf.make_ndarray(answer.outputs["y"])
    assert back.dtype == array.dtype
    assert back.tolist() == array.tolist()


def test_strings_go_in_and_come_out(grpc_client: GrpcClient, predict: Any) -> None:
    texts = [b"Gr\xc3\xbc\xc3\x9fe", b"", b"\x00\xff"]

    answer = grpc_client.call(predict, asking("words", {"text": texts}))

    assert list(answer.outputs["text"].string_val) == texts
    assert list(answer.outputs["length"].int_val) == [7, 0, 2]


def test_complex_numbers_go_in_and_come_out(grpc_client: GrpcClient, predict: Any) -> None:
    numbers = np.array([1 + 2j, 3 - 4j], np.complex64)

    answer = grpc_client.call(predict, asking("words", {"x": numbers}, "imaginary"))

    assert list(answer.outputs["whole"].scomplex_val) == [1, 2, 3, -4]
    assert list(answer.outputs["real"].float_val) == [1, 3]


def test_the_output_filter_chooses(grpc_client: GrpcClient, predict: Any) -> None:
    request = asking("two_by_two", {"a": FLOATS, "b": FLOATS}, outputs=("sum",))

    answer = grpc_client.call(predict, request)

    assert list(answer.outputs) == ["sum"]
    assert list(answer.outputs["sum"].float_val) == [2.0, 4.0]


def test_a_reply_may_be_larger_than_grpc_takes_by_itself(served: Served, grpc_address: str) -> None:
    client = GrpcClient(served.run, grpc_address, ("grpc.max_receive_message_length", -1))
    tensor = proto("float32", [1, 2**20 + 1], float_val=[0.5])
    request = asking("every_dtype", {"x": tensor}, "float32")

    raw = client.call(
        client.bytes_to("/tensorflow.serving.PredictionService/Predict"),
        request.SerializeToString(),
    )
    client.close()

    assert len(raw) > 4 * 2**20
    answer = predict_pb2.PredictResponse.FromString(raw)
    assert answer.outputs["y"].float_val[-1] == 0.5


def test_calls_are_counted_by_their_status(
    served: Served, grpc_client: GrpcClient, predict: Any
) -> None:
    grpc_client.call(predict, asking("half_plus_two", {"x": [1.0]}))
    grpc_client.refused(predict, asking("half_plus_two", {"x": [1]}))

    told = served.ask("GET", "/metrics").body.decode()
    for status, code in (("0", "OK"), ("3", "INVALID_ARGUMENT")):
        labels = f'code="{code}",model="half_plus_two",protocol="tfserving_grpc",status="{status}"'
        assert f"batcher_requests_total{{{labels}}}" in told


def test_a_version_may_be_named(grpc_client: GrpcClient, predict: Any) -> None:
    answer = grpc_client.call(predict, asking("half_plus_two", {"x": [1.0]}, version=123))

    assert answer.model_spec.version.value == 123


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        pytest.param(asking("", {"x": [1.0]}), INVALID, ["model_spec", "name"], id="no-name"),
        pytest.param(asking("nobody", {"x": [1.0]}), NOT_FOUND, ["nobody"], id="unknown-model"),
        pytest.param(
            asking("half_plus_two", {"x": [1.0]}, version=124), NOT_FOUND, ["124"], id="version"
        ),
        pytest.param(
            asking("half_plus_two", {"x": [1.0]}, version=-1), NOT_FOUND, ["-1"], id="negative"
        ),
        pytest.param(
            asking("half_plus_two", {"x": [1.0]}, label="new"), INVALID, ["'new'"], id="label"
        ),
        pytest.param(
            asking("half_plus_two", {"x": [1.0]}, label=""), INVALID, ["''"], id="empty-label"
        ),
        pytest.param(
            asking("half_plus_two", {"x": [1.0]}, "other"),
            grpc.StatusCode.FAILED_PRECONDITION,
            ["'other'", "'serving_default'"],
            id="unknown-signature",
        ),
        pytest.param(asking("half_plus_two", {}), INVALID, ["'x'", "none"], id="missing-input"),
        pytest.param(
            asking("half_plus_two", {"x": [1.0], "z": [1.0]}), INVALID, ["'z'"], id="surplus-input"
        ),
        pytest.param(asking("half_plus_two", {"X": [1.0]}), INVALID, ["'X'"], id="misnamed-input"),
        pytest.param(
            asking("half_plus_two", {"x": [1]}), INVALID, ["float32", "int32"], id="dtype"
        ),
        pytest.param(
            asking("half_plus_two", {"x": proto("float32", [])}), INVALID, ["[]"], id="scalar"
        ),
        pytest.param(
            asking("half_plus_two", {"x": [[1.0, 2.0]]}), INVALID, ["[1,2]"], id="inner-dimension"
        ),
        pytest.param(
            asking("half_plus_two", {"x": [[[1.0]]]}), INVALID, ["[1,1,1]"], id="rank-too-high"
        ),
        pytest.param(
            asking("half_plus_two", {"x": proto("float32", [0, 1])}),
            INVALID,
            ["no rows"],
            id="no-rows",
        ),
        pytest.param(
            asking("two_by_two", {"a": FLOATS, "b": np.tile(FLOATS, (2, 1))}),
            INVALID,
            ["'a': 1", "'b': 2"],
            id="rows-disagree",
        ),
        pytest.param(
            asking("half_plus_two", {"x": proto("float32", [2], tensor_content=b"1234567")}),
            INVALID,
            ["'x'", "7 bytes", "8"],
            id="content-size",
        ),
        pytest.param(
            asking("half_plus_two", {"x": proto("float32", [1], float_val=[1, 2])}),
            INVALID,
            ["[1]", "2 values"],
            id="too-many-values",
        ),
        pytest.param(
            asking("half_plus_two", {"x": proto("float32", [2**40], float_val=[1])}),
            INVALID,
            [str(2**40)],
            id="absurd-shape",
        ),
        pytest.param(
            asking("every_dtype", {"x": proto("uint8", [1, 1], int_val=[256])}, "uint8"),
            INVALID,
            ["'x'", "uint8"],
            id="does-not-fit",
        ),
        pytest.param(
            asking("two_by_two", {"a": FLOATS, "b": FLOATS}, outputs=("sum", "product")),
            INVALID,
            ["'product'", "'difference', 'sum'"],
            id="filter-unknown",
        ),
        pytest.param(
            asking("two_by_two", {"a": FLOATS, "b": FLOATS}, outputs=("sum", "sum")),
            INVALID,
            ["'sum'", "more than once"],
            id="filter-duplicate",
        ),
        pytest.param(
            asking("odd_ones", {"x": [[-1.0, 1.0]]}, "no_negatives"),
            INVALID,
            ["refused"],
            id="refused-by-the-graph",
        ),
    ],
)
def test_these_are_refused(
    grpc_client: GrpcClient,
    predict: Any,
    request_: predict_pb2.PredictRequest,
    code: grpc.StatusCode,
    words: list[str],
) -> None:
    came, told = grpc_client.refused(predict, request_)

    assert came is code
    for word in words:
        assert word in told


def test_a_long_error_is_cut(grpc_client: GrpcClient, predict: Any) -> None:
    _, told = grpc_client.refused(predict, asking("ü" * 5000, {"x": [1.0]}))

    assert 1000 < len(told.encode()) <= 1024


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        pytest.param({"x": [[1.0]]}, [11.0], id="one-row"),
        pytest.param({"x": [[1.0], [2.0], [3.0]]}, [11.0, 12.0, 13.0], id="for-every-row"),
        pytest.param({"x": [[1.0]], "z": [[2.0]]}, [3.0], id="not-left-out"),
        pytest.param({}, None, id="only-defaults"),
    ],
)
def test_an_input_that_is_left_out_has_its_default(
    grpc_client: GrpcClient, predict: Any, inputs: dict[str, Any], expected: list[float] | None
) -> None:
    request = asking("left_out", inputs)

    if expected is None:
        code, told = grpc_client.refused(predict, request)
        assert code is INVALID
        assert "the request has 'z'" in told
    else:
        answer = grpc_client.call(predict, request)
        assert list(answer.outputs["y"].float_val) == expected


X, Y = TensorSpec("x", "float32", (None, 1)), TensorSpec("y", "float32", (None, 1))
SERVED = ServedModel("m", 1, {"f": Signature("f", {"x": X}, {"y": Y})}, "test", 8)


def decoded(body: bytes) -> InferenceRequest:
    """What the codecs make of a body, whichever model it names. ServingError."""
    service = PredictionService()
    exchange = Exchange("POST", f"/{service.service}/Predict", {}, body)
    operation = service.route(exchange)
    assert isinstance(operation, Infer)
    return service.decode(operation, exchange, lambda _: SERVED)


def serialized(tensor: Any) -> bytes:
    """The bytes of a request with this input."""
    request: bytes = asking("m", {"x": tensor}, "f").SerializeToString()
    return request


NUMBERS = arrays(np.float32, array_shapes(max_dims=3), elements=st.floats(width=32))


@fuzz
@given(NUMBERS)
def test_whatever_tensorflow_writes_is_read(array: NDArray[np.float32]) -> None:
    request = decoded(serialized(array))

    np.testing.assert_array_equal(request.inputs["x"], array)


@fuzz
@given(st.binary(), st.data())
def test_any_bytes_are_read_or_refused(noise: bytes, data: st.DataObject) -> None:
    whole = serialized([1.0, 2.0])
    place = data.draw(st.integers(0, len(whole)))
    for body in (
        noise,
        whole + noise,
        whole[:place] + noise,
        whole[:place] + noise + whole[place:],
    ):
        with contextlib.suppress(ServingError):
            assert decoded(body).inputs.keys() <= {"x"}


@pytest.mark.parametrize(
    "method",
    ["Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata"],
)
def test_bytes_that_are_no_message_are_an_invalid_argument(
    grpc_client: GrpcClient, method: str
) -> None:
    target = f"/tensorflow.serving.PredictionService/{method}"

    code, told = grpc_client.refused(grpc_client.bytes_to(target), b"\xff\xff")

    assert code is INVALID
    assert "2 bytes" in told
