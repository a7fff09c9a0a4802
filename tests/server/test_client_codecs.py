"""What the client writes the server reads, and back: the codecs of both, without a socket."""

import json
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from multidict import CIMultiDict
from numpy.typing import ArrayLike

from server.client import metadata
from server.client.codec import Ask, Codec
from server.client.dialect import DIALECTS, OURS, dialect_of
from server.client.errors import BadAnswer, InvalidRequest
from server.client.messages import Reply, error_text
from server.client.tensors import as_arrays, from_lists
from server.client.timing import Receipt, receipt
from server.exchange import Exchange
from server.inference import InferenceResponse, ModelAddress, ServedModel
from server.protocols import PROTOCOLS, tfserving_metadata
from server.protocols.oip_tensors import DATATYPES
from server.protocols.protocol import Infer
from server.signature import NUMPY_DTYPES, Array, Signature, Tensors, TensorSpec, why_alone

fuzz = settings(derandomize=True, deadline=None, max_examples=40)

FLOATS = {"float16": 16, "float32": 32, "float64": 64}
IN_JSON = sorted(NUMPY_DTYPES - {"float16", "bfloat16", "complex64", "complex128"})
FORMS = (
    [("oip", dtype) for dtype in sorted(DATATYPES)]
    + [("oip-json", dtype) for dtype in [*IN_JSON, "string"]]
    + [("tfserving", dtype) for dtype in [*IN_JSON, "string"]]
    + [("npy", dtype) for dtype in sorted(NUMPY_DTYPES)]
)


def elements(dtype: str) -> st.SearchStrategy[Any]:
    if dtype == "bfloat16":
        return st.floats(width=16, allow_nan=False)
    if dtype in FLOATS:
        return hnp.from_dtype(np.dtype(dtype), allow_nan=False)
    return hnp.from_dtype(np.dtype(dtype))


@st.composite
def arrays(draw: st.DrawFn, dtype: str, text: bool) -> Array:  # noqa: FBT001 - one of two kinds
    """An array with at least one row; `text` for strings that are UTF-8."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=4))
    if dtype == "string":
        strings = st.text().map(str.encode) if text else st.binary(max_size=8)
        return draw(hnp.arrays(object, shape, elements=strings, fill=st.nothing()))
    if dtype == "bfloat16":
        wide = draw(hnp.arrays("float32", shape, elements=elements(dtype)))
        return wide.astype(ml_dtypes.bfloat16)
    return draw(hnp.arrays(dtype, shape, elements=elements(dtype)))


def signature_of(tensors: Tensors) -> Signature:
    specs = {
        name: TensorSpec(name, "string" if a.dtype.hasobject else a.dtype.name, None)
        for name, a in tensors.items()
    }
    return Signature("serving_default", specs, specs, alone="any shape")


def echoed(codec: Codec, tensors: Tensors) -> Tensors:
    """Inputs as the server has decoded them, as outputs as the client has decoded those."""
    signature = signature_of(tensors)
    model = ServedModel("m/x", 3, {"serving_default": signature}, "test", 8)
    asked = codec.ask(Ask(ModelAddress("m/x", 3), "", tensors))
    exchange = Exchange(asked.method, asked.target, CIMultiDict(asked.headers), asked.body)
    protocol = next(protocol for protocol in PROTOCOLS if protocol.takes(exchange))
    operation = protocol.route(exchange)
    assert isinstance(operation, Infer)
    assert operation.address == ModelAddress("m/x", 3)
    request = protocol.decode(operation, exchange, lambda _: model)
    answer = protocol.encode(request, InferenceResponse(request.inputs))
    headers = CIMultiDict(answer.headers or {})
    return codec.outputs(Reply(200, answer.body, headers), signature)


def assert_same(left: Mapping[str, Array], right: Mapping[str, Array]) -> None:
    assert left.keys() == right.keys()
    for name, array in left.items():
        assert array.dtype == right[name].dtype
        np.testing.assert_array_equal(array, right[name])


@pytest.mark.parametrize(("protocol", "dtype"), FORMS)
@fuzz
@given(data=st.data())
def test_tensors_come_back_as_they_were_sent(
    protocol: str, dtype: str, data: st.DataObject
) -> None:
    codec = DIALECTS[protocol].infer
    # An output of bytes needs a name that ends in _bytes in TensorFlow Serving's JSON.
    text = protocol in ("oip-json", "tfserving")
    tensors = {"x": data.draw(arrays(dtype, text)), 'a "b"': data.draw(arrays(dtype, text))}
    assert_same(echoed(codec, tensors), tensors)
    only = {"x": tensors["x"]}
    assert_same(echoed(codec, only), only)


def test_bytes_that_are_no_text_go_through_tensorflow_servings_json() -> None:
    tensors = {"x_bytes": np.array([[b"\xff\x00", b"text"]], object)}
    assert_same(echoed(DIALECTS["tfserving"].infer, tensors), tensors)


@pytest.mark.parametrize("protocol", ["oip", "oip-json", "tfserving", "npy"])
def test_what_is_not_finite_comes_back(protocol: str) -> None:
    tensors = {"x": np.array([[np.nan, np.inf, -np.inf, -0.0]], "float32")}
    back = echoed(DIALECTS[protocol].infer, tensors)
    assert_same(back, tensors)
    assert np.signbit(back["x"][0, 3])


@pytest.mark.parametrize("protocol", ["oip", "oip-json", "tfserving", "npy"])
def test_large_and_odd_arrays_come_back(protocol: str) -> None:
    numbers = np.arange(300_000, dtype="int32").reshape(3, 100, 1000)
    for array in (numbers, numbers[:, ::2, ::-1], np.asfortranarray(numbers[:2, :3, :4])):
        assert_same(echoed(DIALECTS[protocol].infer, {"x": array}), {"x": array})


@pytest.mark.parametrize(
    ("protocol", "array", "words"),
    [
        ("oip", np.zeros(1, "complex64"), "complex64, which the Open Inference Protocol"),
        ("oip-json", np.zeros(1, "float16"), "protocol='oip'"),
        ("oip-json", np.array([b"\xff"], object), "not UTF-8"),
        ("tfserving", np.zeros(1, ml_dtypes.bfloat16), "no form in JSON"),
        ("npy", np.array([b"text"], object), "no form in .npz"),
    ],
)
def test_what_has_no_form_is_told_before_anything_is_sent(
    protocol: str, array: Array, words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words) as told:
        DIALECTS[protocol].infer.ask(Ask(ModelAddress("m"), "", {"x": array}))
    assert "input 'x'" in str(told.value)


def test_a_model_must_be_named_and_the_open_inference_protocol_has_no_labels() -> None:
    for dialect in DIALECTS.values():
        with pytest.raises(InvalidRequest, match="needs a model"):
            dialect.infer.ask(Ask(ModelAddress(""), "", {}))
    with pytest.raises(InvalidRequest, match="no labels: m label stable"):
        DIALECTS["oip"].infer.ask(Ask(ModelAddress("m", label="stable"), "", {}))


def test_rows_are_understood_as_well_as_columns() -> None:
    codec = DIALECTS["tfserving"].infer
    specs = {name: TensorSpec(name, "int32", (None, 1)) for name in "ab"}
    both = Signature("s", specs, specs)
    told = b'{"predictions": [{"a": [1], "b": [2]}, {"a": [3], "b": [4]}]}'
    outputs = codec.outputs(Reply(200, told), both)
    assert {name: array.tolist() for name, array in outputs.items()} == {
        "a": [[1], [3]],
        "b": [[2], [4]],
    }
    one = Signature("s", specs, {"y": TensorSpec("y", "float16", (None,))})
    halves = codec.outputs(Reply(200, b'{"predictions": [0.5, 1.0]}'), one)["y"]
    assert halves.dtype == np.float16
    assert halves.tolist() == [0.5, 1.0]


@pytest.mark.parametrize(
    ("protocol", "body"),
    [
        ("oip", b""),
        ("oip", b"<html>"),
        ("oip", b"[]"),
        ("oip", b"{}"),
        ("oip", b'{"outputs": [{"name": "y"}]}'),
        ("oip", b'{"outputs": [{"name": "y", "shape": [2], "datatype": "FP32", "data": [1]}]}'),
        ("oip", b'{"outputs": [{"name": "y", "shape": [1], "datatype": "FP9", "data": [1]}]}'),
        (
            "oip",
            b'{"outputs": [{"name": "y", "shape": [1], "datatype": "FP32", "parameters": [1]}]}',
        ),
        ("tfserving", b'{"outputs": {"z": [1]}}'),
        ("tfserving", b'{"outputs": [[1], [2, 3]]}'),
        ("tfserving", b"[1]"),
        ("tfserving", b"{}"),
        ("npy", b"PK"),
        ("npy", b"\x93NUMPY"),
        ("npy", b""),
    ],
)
def test_an_answer_that_is_none_is_told(protocol: str, body: bytes) -> None:
    specs = {"y": TensorSpec("y", "float32", (None,))}
    with pytest.raises(BadAnswer, match="the server's answer"):
        DIALECTS[protocol].infer.outputs(Reply(200, body), Signature("s", specs, specs))


@pytest.mark.parametrize("body", [b'{"outputs": [[1], [2, 3]]}', b'{"outputs": [["1"], "x"]}'])
def test_values_that_fit_no_array_are_told_whatever_their_dtype(body: bytes) -> None:
    for dtype in ("complex64", "strange"):
        specs = {"y": TensorSpec("y", dtype, (None,))}
        with pytest.raises(BadAnswer, match="the server's answer"):
            DIALECTS["tfserving"].infer.outputs(Reply(200, body), Signature("s", specs, specs))


@pytest.mark.parametrize("length", ["x", "-1", "99", "²"])
def test_a_header_that_does_not_fit_the_body_is_told(length: str) -> None:
    reply = Reply(200, b"{}", {"Inference-Header-Content-Length": length})
    with pytest.raises(BadAnswer, match="Inference-Header-Content-Length"):
        DIALECTS["oip"].infer.outputs(reply, None)


# ----------------------------------------------------------------------------------------- inputs


def spec(dtype: str) -> TensorSpec:
    return TensorSpec("x", dtype, (None,))


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([1, 2.5], "float32", [1.0, 2.5]),
        ([1, 2], "bfloat16", [1.0, 2.0]),
        ([True], "bool", [True]),
        ([0, 255], "uint8", [0, 255]),
        ([2**64 - 1], "uint64", [2**64 - 1]),
        ([1e300], "float32", [np.inf]),
        ([], "int32", []),
        ([[]], "string", [[]]),
        (7, "int64", 7),
        ("text", "string", b"text"),
        (["é", b"\xff\x00"], "string", ["é".encode(), b"\xff\x00"]),
        ([1], "complex64", [1 + 0j]),
    ],
)
def test_lists_get_the_dtype_of_their_input(values: Any, dtype: str, expected: Any) -> None:
    array = from_lists(values, spec(dtype))
    assert array.dtype == spec(dtype).numpy_dtype
    assert array.tolist() == expected


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1.5], "int32"),
        ([256], "uint8"),
        ([-1], "uint64"),
        ([2**70], "int64"),
        ([1], "bool"),
        ([True], "float32"),
        (["1"], "float32"),
        ([None], "float32"),
        ([1], "string"),
        ([[1], [2, 3]], "float32"),
        ([["a"], ["b", "c"]], "string"),
        ({"x": 1}, "float32"),
    ],
)
def test_lists_that_do_not_fit_their_input_are_refused(values: Any, dtype: str) -> None:
    with pytest.raises(InvalidRequest, match="input 'x'"):
        from_lists(values, spec(dtype))


def test_arrays_keep_their_dtype_in_this_machines_byte_order() -> None:
    inputs: dict[str, ArrayLike] = {
        "a": np.array([1, 256], ">i2"),
        "b": np.array(["é", "b"]),
        "c": np.array([b"ab"]),
        "d": np.float32(0.5),
    }
    sent = as_arrays(inputs, None)
    assert {name: array.dtype.str for name, array in sent.items()} == {
        "a": "<i2",
        "b": "|O",
        "c": "|O",
        "d": "<f4",
    }
    assert sent["a"].tolist() == [1, 256]
    assert sent["b"].tolist() == ["é".encode(), b"b"]
    assert sent["d"].shape == ()


@pytest.mark.parametrize(
    "array",
    [np.array(["2026-01-01"], "datetime64[D]"), np.array([None]), np.array([[1, "a"]], "O")],
)
def test_arrays_that_no_model_takes_are_refused(array: Array) -> None:
    with pytest.raises(InvalidRequest, match="input 'x'"):
        as_arrays({"x": array}, None)


def test_lists_for_an_input_that_is_not_there_are_refused() -> None:
    signature = Signature("s", {"x": spec("float32")}, {})
    with pytest.raises(InvalidRequest, match="no input 'z'; its inputs are 'x'"):
        as_arrays({"z": [1.0]}, signature)


# ------------------------------------------------------------------------------- what is told


def test_the_metadata_of_tensorflow_serving_is_read() -> None:
    specs = {
        name: TensorSpec(name, dtype, shape, f"{name}:0")
        for name, dtype, shape in [
            ("a", "float32", (None, 2)),
            ("b", "float16", None),
            ("c", "string", ()),
            ("d", "bfloat16", (3,)),
            ("e", "bool", (None, None)),
        ]
    }
    alone = why_alone(specs, specs)
    written = Signature("serving_default", specs, specs, alone=alone)
    other = Signature("other", specs, {}, "tensorflow/serving/classify", alone)
    model = ServedModel("m", 7, {s.name: s for s in (written, other)}, "test", 8)
    read = metadata.from_tfserving(tfserving_metadata.metadata(model))
    assert (read.name, read.versions) == ("m", ("7",))
    assert read.signature() == written
    assert read.signature("other") == other
    with pytest.raises(
        InvalidRequest, match="nothing is known of the signature 'third' of model 'm'"
    ):
        read.signature("third")


def test_the_metadata_of_other_servers_is_read() -> None:
    told = {
        "name": "m",
        "platform": "sklearn",
        "inputs": [{"name": "x", "datatype": "FP64", "shape": [-1, 4]}],
        "outputs": [{"name": "y", "datatype": "STRANGE", "shape": [-1]}],
    }
    read = metadata.from_oip(told)
    assert read.versions == ()
    assert str(read.signature().inputs["x"]) == "float64[-1,4]"
    assert str(read.signature().outputs["y"]) == "STRANGE[-1]"


@pytest.mark.parametrize("told", [None, [], {}, {"name": "m", "inputs": [{}], "outputs": []}, "m"])
def test_metadata_that_is_none_is_told(told: Any) -> None:
    for read in (metadata.from_oip, metadata.from_tfserving):
        with pytest.raises(BadAnswer, match="no metadata"):
            read(told)
    with pytest.raises(BadAnswer, match="no status"):
        metadata.states_from_tfserving("m", told)
    if told not in ([], {}):
        with pytest.raises(BadAnswer, match="no index"):
            metadata.states_from_oip(told)


def test_a_server_tells_what_it_speaks() -> None:
    assert dialect_of({"name": "batcher-server", "extensions": ["binary_tensor_data"]}) is OURS
    triton = {"name": "triton", "extensions": ["classification", "binary_tensor_data"]}
    assert dialect_of(triton) is DIALECTS["oip"]
    assert dialect_of({"name": "mlserver", "extensions": []}) is DIALECTS["oip-json"]
    assert dialect_of({"name": "old"}) is DIALECTS["oip-json"]
    assert dialect_of(None) is DIALECTS["tfserving"]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            "queue;dur=0.250, run;dur=2.000, batch;desc=8",
            Receipt(1.0, 2, queued=0.00025, run=0.002, batch=8),
        ),
        ('run;desc="a, b";dur=3,miss', Receipt(1.0, 2, run=0.003)),
        ('batch;desc="12" , queue; dur = 5', Receipt(1.0, 2, queued=0.005, batch=12)),
        ("queue;dur=x, run;dur=-1, batch;desc=many", Receipt(1.0, 2)),
        ("queue;dur=inf, batch;desc=99999999999999", Receipt(1.0, 2)),
        ("", Receipt(1.0, 2)),
        (";;;,,=", Receipt(1.0, 2)),
    ],
)
def test_what_a_call_went_through_is_read(header: str, expected: Receipt) -> None:
    assert receipt(CIMultiDict({"server-timing": header}), 1.0, 2) == expected


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (json.dumps({"error": "no room"}).encode(), "no room"),
        (b"<h1>Bad\n gateway</h1>", "the server answered 502: <h1>Bad gateway</h1>"),
        (b"", "the server answered 502"),
        (b"[]", "the server answered 502: []"),
        (b'{"error": {}}', 'the server answered 502: {"error": {}}'),
        (b"\xff" * 1000, "the server answered 502: " + "�" * 500),
    ],
)
def test_the_words_of_a_server_are_carried(body: bytes, text: str) -> None:
    assert error_text(Reply(502, body)) == text
