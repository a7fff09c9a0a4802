"""The codecs of plain binary bodies alone: every dtype and shape, hostile headers and zips."""

import io
import json
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from server.errors import DecodeError, ServingError, TooLarge
from server.exchange import Answer, Exchange
from server.inference import InferenceRequest, InferenceResponse, ServedModel
from server.protocols.media_types import NPY, NPZ, RAW
from server.protocols.npy import read_npy, read_npz, write_npy, write_npz
from server.protocols.protocol import Infer
from server.signature import Shape, Signature, Tensors, TensorSpec
from tests.server.test_plain_binary import CODEC, EVERY_DTYPE, exchange, headed, npy, npz, zip_of

fuzz = settings(derandomize=True, deadline=None, max_examples=25)

UNPACKED = 2**20


def test_a_zip_bomb_is_not_unpacked() -> None:
    spec = {"x": TensorSpec("x", "float32", (None,))}
    body = npz(np.savez_compressed, x=np.zeros(2**20, np.float32))
    assert len(body) < 2**13
    np.testing.assert_array_equal(read_npz(body, spec, 2**23)["x"], np.zeros(2**20))
    with pytest.raises(TooLarge, match="more than the 1000000 that are unpacked"):
        read_npz(body, spec, 10**6)


def test_a_zip_that_lies_about_its_size_is_not_unpacked_beyond_it() -> None:
    spec = {"x": TensorSpec("x", "float32", (None,))}
    body = bytearray(npz(np.savez_compressed, x=np.zeros(2**22, np.float32)))
    size = body.index(b"PK\x01\x02") + 24
    body[size : size + 4] = struct.pack("<I", 200)
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError, match="CRC"):
            read_npz(bytes(body), spec, 10**6)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def signature(spec: TensorSpec) -> Signature:
    return Signature("serving_default", {spec.name: spec}, {spec.name: spec})


def decoded(told: Exchange, spec: TensorSpec) -> InferenceRequest:
    model = ServedModel("m", 1, {"serving_default": signature(spec)}, "test", 8)
    operation = CODEC.route(told)
    assert isinstance(operation, Infer)
    return CODEC.decode(operation, told, lambda _: model)


def decode(body: bytes, spec: TensorSpec, media: str) -> InferenceRequest:
    return decoded(exchange(body, content_type=media), spec)


def predict(outputs: Tensors, body: bytes = b'{"instances": [1]}', **headers: str) -> Answer:
    """The answer to a request for these outputs, whatever it was."""
    request = decoded(exchange(body, **headers), TensorSpec("x", "uint8", (None,)))
    return CODEC.encode(request, InferenceResponse(outputs))


def arrays(
    dtype: str, shape: st.SearchStrategy[tuple[int, ...]]
) -> st.SearchStrategy[NDArray[Any]]:
    """Arrays of any bits of a dtype, in C or Fortran order."""
    size = np.dtype(dtype).itemsize

    def of_bits(bits: NDArray[np.uint8]) -> NDArray[Any]:
        array: NDArray[Any] = (bits % 2 if dtype == "bool" else bits).view(dtype)[..., 0]
        return array

    return shape.flatmap(
        lambda sizes: hnp.arrays(np.uint8, (*sizes, size)).map(of_bits)
    ) | shape.flatmap(
        lambda sizes: hnp.arrays(np.uint8, (*sizes, size)).map(lambda bits: of_bits(bits).T)
    )


shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return (
        one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    )


@pytest.mark.parametrize("dtype", EVERY_DTYPE)
@fuzz
@given(data=st.data())
def test_what_is_written_is_read_as_the_same_bits(dtype: str, data: st.DataObject) -> None:
    array = data.draw(arrays(dtype, shapes))
    spec = TensorSpec("x", dtype, None)
    assert same(read_npy(write_npy(array), spec), array)
    assert same(read_npz(write_npz({"x": array}), {"x": spec}, UNPACKED)["x"], array)


@pytest.mark.parametrize("dtype", EVERY_DTYPE)
@fuzz
@given(data=st.data())
def test_numpy_reads_what_is_written_and_is_read_itself(dtype: str, data: st.DataObject) -> None:
    array = data.draw(arrays(dtype, shapes))
    assert same(np.load(io.BytesIO(write_npy(array))).view(dtype), array)
    assert same(read_npy(npy(array), TensorSpec("x", dtype, None)), array)


@pytest.mark.parametrize("dtype", EVERY_DTYPE)
@fuzz
@given(data=st.data())
def test_raw_elements_come_back_in_the_shape_of_the_signature(
    dtype: str, data: st.DataObject
) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=4))
    array = data.draw(arrays(dtype, st.just(shape)))
    free = data.draw(st.sampled_from([None, *range(array.ndim)]))
    declared: Shape = tuple(None if n == free else size for n, size in enumerate(array.shape))
    request = decode(array.tobytes(), TensorSpec("x", dtype, declared), RAW)
    assert same(request.inputs["x"], array)


specs = st.builds(
    TensorSpec,
    st.just("x"),
    st.sampled_from([*EVERY_DTYPE, "string"]),
    st.none() | st.lists(st.none() | st.integers(0, 4), max_size=3).map(tuple),
)


def assert_tensor_or_told(body: bytes, spec: TensorSpec, media: str) -> None:
    try:
        request = decode(body, spec, media)
    except ServingError as error:
        assert error.code.http_status in (400, 413)  # noqa: PT017 - most of the bodies end here
    else:
        assert request.inputs["x"].dtype == spec.numpy_dtype


@fuzz
@given(st.binary(), specs, st.sampled_from([RAW, NPY, NPZ]))
def test_any_bytes(body: bytes, spec: TensorSpec, media: str) -> None:
    assert_tensor_or_told(body, spec, media)


def spoilt(good: bytes) -> st.SearchStrategy[bytes]:
    """A good body with a few bytes changed, or cut."""
    places = st.integers(0, len(good) - 1)
    changes = st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=4)

    def change(changes: list[tuple[int, int]]) -> bytes:
        body = bytearray(good)
        for place, byte in changes:
            body[place] = byte
        return bytes(body)

    return changes.map(change) | places.map(lambda end: good[:end])


SMALL = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize(
    ("media", "good"),
    [
        (NPY, npy(SMALL)),
        (NPY, npy(np.asfortranarray(SMALL))),
        (NPZ, npz(x=SMALL)),
        (NPZ, npz(np.savez_compressed, x=SMALL)),
        (NPZ, zip_of(("x.npy", npy(SMALL)))),
    ],
    ids=["npy", "fortran", "npz", "compressed", "plain zip"],
)
@settings(derandomize=True, deadline=None, max_examples=150)
@given(data=st.data())
def test_a_spoilt_body(media: str, good: bytes, data: st.DataObject) -> None:
    assert_tensor_or_told(data.draw(spoilt(good)), TensorSpec("x", "float32", None), media)


@fuzz
@given(st.text("{}()'\"descrfotan_hpFTlu<>|=4,: 0123456789L\n", max_size=120))
def test_any_header(header: str) -> None:
    assert_tensor_or_told(headed(header), TensorSpec("x", "float32", None), NPY)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr':'<f4','fortran_order':False,'shape':(2,3)}",
        '{"shape": (2, 3,), "fortran_order": False, "descr": "<f4",}\n',
        "{'shape': (2L, 3L), 'descr': 'f4', 'fortran_order': False, }",
        " { 'descr' : '=f4' , 'shape' : ( 2 , 3 ) , 'fortran_order' : False } \n",
    ],
)
def test_a_header_may_be_written_as_python_reads_it(header: str) -> None:
    spec = TensorSpec("x", "float32", None)
    assert same(read_npy(headed(header, SMALL.tobytes()), spec), SMALL)


def test_strings_are_not_forced_into_elements_of_a_size() -> None:
    words = np.array([b"cat", b"dog"], object)
    with pytest.raises(ServingError, match=r"'label' is string.*accept application/json"):
        predict({"label": words}, accept=NPZ)
    with pytest.raises(ServingError, match=r"'x' is string.*send application/json"):
        decode(b"cat", TensorSpec("x", "string", (None,)), RAW)


@pytest.mark.parametrize("media", [RAW, NPY])
def test_strings_come_in_json_where_the_client_does_not_insist(media: str) -> None:
    words = np.array([b"cat", b"dog"], object)
    body = b"\1\2" if media == RAW else write_npy(np.array([1, 2], np.uint8))
    answer = predict({"label": words}, body, content_type=media, accept="*/*")
    assert json.loads(answer.body) == {"predictions": ["cat", "dog"]}
    pair: Tensors = {"a": np.ones(2, np.int8), "b": np.zeros(2, np.float16)}
    answer = predict(pair, body, content_type=media)
    assert answer.content_type == NPZ
    back = np.load(io.BytesIO(answer.body))
    assert {name: back[name].dtype.name for name in back.files} == {"a": "int8", "b": "float16"}
