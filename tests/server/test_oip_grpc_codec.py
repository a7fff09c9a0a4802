"""The codecs of the Open Inference Protocol over gRPC: any tensor reads back, any bytes are told.

And the messages: what this server declares is what Triton's client declares, only less of it.
"""

import math
import struct
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tritonclient.grpc import model_config_pb2, service_pb2

from server.errors import InvalidArgument, ServingError
from server.exchange import Exchange
from server.inference import InferenceRequest, InferenceResponse, ServedModel
from server.protocols import wire
from server.protocols.oip_grpc import OipGrpc
from server.protocols.oip_tensors import DATATYPES, to_raw
from server.protocols.protocol import Call, Infer
from server.signature import Array, Signature, TensorSpec

fuzz = settings(derandomize=True, deadline=None, max_examples=40)

OIP = OipGrpc()
DTYPES = sorted(DATATYPES)
FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)


def model(dtype: str) -> ServedModel:
    """One input and one output of this dtype and any rank."""
    specs = {name: {name: TensorSpec(name, dtype, None)} for name in "xy"}
    return ServedModel(
        "m", 1, {"serving_default": Signature("serving_default", specs["x"], specs["y"])}, "t", 8
    )


def decode(body: bytes, dtype: str) -> InferenceRequest:
    exchange = Exchange("POST", "/inference.GRPCInferenceService/ModelInfer", {}, body)
    operation = OIP.route(exchange)
    assert isinstance(operation, Infer)
    return OIP.decode(operation, exchange, lambda _: model(dtype))


def encode(dtype: str, array: Array) -> Any:
    """The message that answers with this array."""
    request = InferenceRequest(
        model(dtype),
        model(dtype).signatures["serving_default"],
        {},
        decode(empty(dtype), dtype).form,
    )
    answer = OIP.encode(request, InferenceResponse({"y": array}))
    assert answer.status == 0
    return service_pb2.ModelInferResponse.FromString(answer.body)


def asked(dtype: str, shape: tuple[int, ...]) -> Any:
    """A request for one input, without its contents."""
    request = service_pb2.ModelInferRequest(model_name="m")
    request.inputs.add(name="x", datatype=DATATYPES[dtype], shape=shape)
    return request


def empty(dtype: str) -> bytes:
    request = asked(dtype, (0,))
    request.raw_input_contents.append(b"")
    return bytes(request.SerializeToString())


def arrays(dtype: str, shape: tuple[int, ...]) -> st.SearchStrategy[Array]:
    """Any bits of this dtype; but for strings, their bytes."""
    size = math.prod(shape)
    if dtype == "string":
        return st.lists(st.binary(max_size=9), min_size=size, max_size=size).map(
            lambda values: as_objects(values).reshape(shape)
        )
    if dtype == "bool":
        return hnp.arrays(np.bool_, shape)
    itemsize = np.dtype(dtype).itemsize
    return st.binary(min_size=size * itemsize, max_size=size * itemsize).map(
        lambda raw: np.frombuffer(raw, dtype).reshape(shape)
    )


def as_objects(values: list[bytes]) -> Array:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def assert_same(one: Array, other: Array) -> None:
    """Bit by bit, but for the bits of a NaN, which protobuf may change on its way."""
    assert (one.dtype, one.shape) == (other.dtype, other.shape)
    if one.dtype == object:
        assert one.tolist() == other.tolist()
    else:
        assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


@pytest.mark.parametrize("dtype", DTYPES)
@fuzz
@given(st.data())
def test_raw_tensors_read_back(dtype: str, data: st.DataObject) -> None:
    shape = data.draw(SHAPES)
    array = data.draw(arrays(dtype, shape))
    request = asked(dtype, shape)
    request.raw_input_contents.append(to_raw(array))
    read = decode(request.SerializeToString(), dtype).inputs["x"]
    assert (read.dtype, read.shape) == (array.dtype, shape)
    assert to_raw(read) == to_raw(array)
    answer = encode(dtype, read)
    assert (answer.outputs[0].datatype, tuple(answer.outputs[0].shape)) == (DATATYPES[dtype], shape)
    assert list(answer.raw_output_contents) == [to_raw(array)]


@pytest.mark.parametrize("dtype", [d for d in DTYPES if DATATYPES[d] in FIELDS])
@fuzz
@given(st.data())
def test_typed_tensors_read_back(dtype: str, data: st.DataObject) -> None:
    shape = data.draw(SHAPES)
    array = data.draw(arrays(dtype, shape))
    request = asked(dtype, shape)
    getattr(request.inputs[0].contents, FIELDS[DATATYPES[dtype]]).extend(array.ravel().tolist())
    assert_same(decode(request.SerializeToString(), dtype).inputs["x"], array)


@pytest.mark.parametrize("dtype", DTYPES)
@fuzz
@given(st.data())
def test_any_contents_are_a_tensor_of_the_model_or_told(dtype: str, data: st.DataObject) -> None:
    """Names, datatypes, shapes and contents that need not fit each other."""
    request = service_pb2.ModelInferRequest(model_name="m")
    for _ in range(data.draw(st.integers(0, 2))):
        one = request.inputs.add(
            name=data.draw(st.sampled_from("xyz")),
            datatype=data.draw(st.sampled_from([DATATYPES[dtype], "FP32", "BYTES", "?"])),
            shape=data.draw(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 3))),
        )
        if data.draw(st.booleans()):
            one.contents.int_contents.extend(data.draw(st.lists(st.integers(-200, 200))))
            one.contents.fp32_contents.extend(data.draw(st.lists(st.floats(width=32))))
            one.contents.bytes_contents.extend(data.draw(st.lists(st.binary())))
    request.raw_input_contents.extend(data.draw(st.lists(st.binary(max_size=12), max_size=2)))
    try:
        inputs = decode(request.SerializeToString(), dtype).inputs
    except InvalidArgument:
        return
    for array in inputs.values():
        assert array.dtype == TensorSpec("x", dtype, None).numpy_dtype


@pytest.mark.parametrize("method", sorted(OIP.methods))
@fuzz
@given(body=st.binary(max_size=60))
def test_any_bytes_are_an_operation_or_told(method: str, body: bytes) -> None:
    exchange = Exchange("POST", f"/inference.GRPCInferenceService/{method}", {}, body)
    with suppress(ServingError):
        operation = OIP.route(exchange)
        if isinstance(operation, Infer):
            OIP.decode(operation, exchange, lambda _: model("float32"))
        else:
            assert isinstance(operation, Call)


@fuzz
@given(st.data())
def test_a_damaged_request_is_a_tensor_or_told(data: st.DataObject) -> None:
    request = asked("float32", (2,))
    request.id, request.parameters["priority"].int64_param = "of mine", 1
    request.inputs[0].contents.fp32_contents.extend([1.5, 2.5])
    body = bytearray(request.SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        inputs = decode(bytes(body), "float32").inputs
    except ServingError:
        return
    for array in inputs.values():
        assert array.dtype == np.float32


def test_strings_that_claim_to_be_endless_cost_nothing() -> None:
    request = asked("string", (2**39,))
    request.raw_input_contents.append(struct.pack("<I", 2**32 - 1))
    with pytest.raises(InvalidArgument, match="4294967295"):
        decode(request.SerializeToString(), "string")


# ------------------------------------------------------------------------------------ the messages

PARTS = [
    ("inference.proto", service_pb2.DESCRIPTOR),
    ("model_config.proto", model_config_pb2.DESCRIPTOR),
]


def kinds(field: Any) -> tuple[Any, ...]:
    """All that decides how a field is on the wire, and what it is called."""
    of = field.message_type or field.enum_type
    choice = field.containing_oneof and field.containing_oneof.name
    return field.number, field.type, field.is_repeated, of and of.full_name, choice


def assert_within(ours: Any, theirs: Any) -> None:
    """Each field of one message is in the other, alike; so with the messages and enums inside."""
    for field in ours.fields:
        assert kinds(field) == kinds(theirs.fields_by_name[field.name]), field.full_name
    for nested in ours.nested_types:
        assert_within(nested, theirs.nested_types_by_name[nested.name])
    for enum in ours.enum_types:
        assert numbers(enum) == numbers(theirs.enum_types_by_name[enum.name])


def numbers(enum: Any) -> dict[str, int]:
    return {value.name: value.number for value in enum.values}


@pytest.mark.parametrize(("name", "theirs"), PARTS)
def test_every_message_is_declared_as_in_tritonclient(name: str, theirs: Any) -> None:
    ours = wire._POOL.FindFileByName(name)
    assert ours.message_types_by_name
    for message, descriptor in ours.message_types_by_name.items():
        assert_within(descriptor, theirs.message_types_by_name[message])
    for enum, descriptor in ours.enum_types_by_name.items():
        assert numbers(descriptor) == numbers(theirs.enum_types_by_name[enum])


def test_every_method_of_tritonclient_is_here() -> None:
    (service,) = service_pb2.DESCRIPTOR.services_by_name.values()
    assert service.full_name == OIP.service
    assert {method.name for method in service.methods} == set(OIP.methods)
    assert {method.name for method in service.methods if method.client_streaming} == OIP.streams
