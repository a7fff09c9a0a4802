"""TensorProto against TensorFlow's own: both of its encodings, all dtypes, and bytes of anybody."""

import contextlib
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from server.errors import DecodeError, InvalidArgument
from server.protocols.tensor_proto import (
    DATA_TYPES,
    LARGEST_FILL,
    MOST_FILLED_ROWS,
    PackedTensor,
    TensorProto,
    to_array,
    write,
)
from server.protocols.wire import parse
from server.signature import NUMPY_DTYPES, Array

fuzz = settings(derandomize=True, deadline=None, max_examples=60)

DTYPES = sorted(NUMPY_DTYPES)


def numbers(dtype: str) -> Any:
    """The dtype as NumPy knows it."""
    return np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)


@st.composite
def any_arrays(draw: st.DrawFn) -> Array:
    """Arrays of all dtypes, whose values are any bits that their dtype has."""
    dtype = numbers(draw(st.sampled_from(DTYPES)))
    shape = draw(array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    bits = draw(arrays(np.uint8, (int(np.prod(shape)) * dtype.itemsize,)))
    if dtype == np.bool_:
        bits %= 2
    return np.frombuffer(bits.tobytes(), dtype).reshape(shape)


def same(one: Array, other: Array) -> bool:
    """Equal in dtype, shape and every bit."""
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


def written(array: Array) -> bytes:
    """An array as this server sends it."""
    tensor = PackedTensor()
    write(array, tensor, "output 'y'")
    serialized: bytes = tensor.SerializeToString()
    return serialized


def read(serialized: bytes) -> Array:
    """A tensor as this server receives it."""
    return to_array(parse(TensorProto, serialized), "input 'x'")


@fuzz
@given(any_arrays())
def test_what_is_written_is_read_again(array: Array) -> None:
    assert same(read(written(array)), array)


@fuzz
@given(any_arrays())
def test_tensorflow_reads_what_is_written_from_typed_lists(array: Array) -> None:
    theirs = tf.make_tensor_proto(0.0)
    theirs.ParseFromString(written(array))

    assert not theirs.tensor_content
    # TensorFlow's C++ is what reads protobuf faithfully; its Python turns some NaNs into others.
    assert same(tf.io.parse_tensor(written(array), array.dtype).numpy(), array)


@fuzz
@given(any_arrays())
def test_content_that_tensorflow_writes_is_read(array: Array) -> None:
    serialized = tf.io.serialize_tensor(tf.constant(array)).numpy()

    assert same(read(serialized), array)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_typed_list_that_tensorflow_writes_is_read(dtype: str) -> None:
    array = np.array([3], numbers(dtype))
    theirs = tf.make_tensor_proto(array)
    assert not theirs.tensor_content

    assert same(read(theirs.SerializeToString()), array)


TEXTS = np.empty((2, 2), object)
TEXTS[:] = [[b"", b"\x00\xff"], [b"x" * 300, "Grüße".encode()]]


@pytest.mark.parametrize(
    "serialized",
    [
        pytest.param(written(TEXTS), id="written-here"),
        pytest.param(tf.make_tensor_proto(TEXTS).SerializeToString(), id="list"),
        pytest.param(
            TensorProto(
                dtype="DT_STRING",
                tensor_shape={"dim": [{"size": 2}, {"size": 2}]},
                tensor_content=b"\x00\x02\xac\x02\x07" + b"".join(TEXTS.ravel()),
            ).SerializeToString(),
            id="content",
        ),
    ],
)
def test_strings_are_read(serialized: bytes) -> None:
    array = read(serialized)

    assert array.tolist() == TEXTS.tolist()
    assert tf.make_ndarray(tf.make_tensor_proto(array)).tolist() == TEXTS.tolist()


def test_tensorflow_reads_the_strings_that_are_written() -> None:
    assert tf.io.parse_tensor(written(TEXTS), tf.string).numpy().tolist() == TEXTS.tolist()


def tensor(dtype: str, *shape: int, **values: Any) -> Any:
    """A TensorProto with any fields."""
    dims = {"dim": [{"size": size} for size in shape]}
    return TensorProto(dtype=dtype, tensor_shape=dims, **values)


@pytest.mark.parametrize(
    ("proto", "expected"),
    [
        pytest.param(tensor("DT_FLOAT", 2, 2, float_val=[1, 2]), [[1, 2], [2, 2]], id="float"),
        pytest.param(tensor("DT_INT8", 3, int_val=[-5]), [-5, -5, -5], id="int8"),
        pytest.param(tensor("DT_BOOL", 2, bool_val=[True]), [True, True], id="bool"),
        pytest.param(tensor("DT_HALF", 2, half_val=[0x3C00]), [1.0, 1.0], id="half"),
        pytest.param(tensor("DT_COMPLEX64", 2, scomplex_val=[1, 2]), [1 + 2j] * 2, id="complex"),
        pytest.param(tensor("DT_STRING", 3, string_val=[b"a", b"b"]), [b"a", b"b", b"b"], id="str"),
        pytest.param(tensor("DT_DOUBLE", 2), [0.0, 0.0], id="zeros"),
        pytest.param(tensor("DT_STRING", 2), [b"", b""], id="empty-strings"),
        pytest.param(tensor("DT_UINT64"), 0, id="scalar-zero"),
        pytest.param(tensor("DT_INT32", 0, 5), [], id="no-elements"),
        pytest.param(
            tensor("DT_BOOL", 2, tensor_content=b"\x00\x01"), [False, True], id="bool-content"
        ),
        pytest.param(
            tensor("DT_UINT64", 2, uint64_val=[1, 2**64 - 1]), [1, 2**64 - 1], id="widest"
        ),
        pytest.param(
            tensor("DT_UINT8", 2, int_val=[7], tensor_content=b"\x01\x02"), [1, 2], id="both"
        ),
    ],
)
def test_these_are_read_as_tensorflow_reads_them(proto: Any, expected: Any) -> None:
    array = read(proto.SerializeToString())

    assert array.tolist() == expected
    theirs = tf.io.parse_tensor(proto.SerializeToString(), tf.as_dtype(proto.dtype)).numpy()
    assert np.asarray(theirs).tolist() == expected


def test_an_unpacked_list_is_read_too() -> None:
    one_by_one = tensor("DT_FLOAT", 2).SerializeToString() + b"\x2d\x00\x00\x80\x3f" * 2

    assert read(one_by_one).tolist() == [1.0, 1.0]


def test_as_much_is_filled_as_may_be() -> None:
    shape = (MOST_FILLED_ROWS, LARGEST_FILL // MOST_FILLED_ROWS)

    array = read(tensor("DT_UINT8", *shape, int_val=[7]).SerializeToString())

    assert array.shape == shape
    assert array[-1, -1] == 7


def test_a_list_longer_than_a_span_is_read() -> None:
    many = list(range(70_000))

    assert read(tensor("DT_INT32", 70_000, int_val=many).SerializeToString()).tolist() == many


@pytest.mark.parametrize(
    ("proto", "words"),
    [
        pytest.param(tensor("DT_INVALID", 1), ["dtype number 0"], id="no-dtype"),
        pytest.param(tensor("DT_QINT8", 1), ["dtype number 11"], id="quantized"),
        pytest.param(TensorProto(dtype=101), ["dtype number 101"], id="reference"),
        pytest.param(
            TensorProto(dtype="DT_FLOAT", tensor_shape={"unknown_rank": True}),
            ["unknown rank"],
            id="unknown-rank",
        ),
        pytest.param(tensor("DT_FLOAT", 2, -1), ["[2,-1]", "negative"], id="negative"),
        pytest.param(tensor("DT_FLOAT", *[1] * 33), ["33 dimensions"], id="too-many-dimensions"),
        pytest.param(tensor("DT_FLOAT", 2**62, 2**62), ["larger"], id="beyond-64-bits"),
        pytest.param(tensor("DT_FLOAT", 0, 2**62), ["larger"], id="nothing-of-very-much"),
        pytest.param(
            tensor("DT_FLOAT", 1, LARGEST_FILL // 4 + 1, float_val=[1]),
            ["larger"],
            id="one-of-many",
        ),
        pytest.param(tensor("DT_STRING", 1, LARGEST_FILL // 8 + 1), ["larger"], id="none-of-many"),
        pytest.param(tensor("DT_INT8", MOST_FILLED_ROWS + 1), ["larger"], id="too-many-rows"),
        pytest.param(tensor("DT_FLOAT", float_val=[1, 2]), ["[]", "2 values"], id="too-many"),
        pytest.param(tensor("DT_FLOAT", 0, float_val=[1]), ["[0]", "1 values"], id="not-none"),
        pytest.param(
            tensor("DT_FLOAT", 2, tensor_content=b"1234"), ["4 bytes", "expected 8"], id="content"
        ),
        pytest.param(
            tensor("DT_DOUBLE", 2**50, tensor_content=b"1"), ["expected"], id="little-content"
        ),
        pytest.param(
            tensor("DT_BOOL", 3, tensor_content=b"\x00\x01\x02"), ["0 and 1"], id="not-a-bool"
        ),
        pytest.param(tensor("DT_INT8", 1, int_val=[128]), ["int8"], id="int8"),
        pytest.param(tensor("DT_UINT16", 1, int_val=[-1]), ["uint16"], id="uint16"),
        pytest.param(tensor("DT_HALF", 1, half_val=[2**16]), ["uint16"], id="half"),
        pytest.param(tensor("DT_COMPLEX64", 1, scomplex_val=[1]), ["half of"], id="half-a-complex"),
        pytest.param(
            tensor("DT_STRING", 2, tensor_content=b"\x01a"), ["not 2 strings"], id="strings-fewer"
        ),
        pytest.param(
            tensor("DT_STRING", 1, tensor_content=b"\x01ab"), ["not 1 strings"], id="strings-more"
        ),
        pytest.param(
            tensor("DT_STRING", 2**50, tensor_content=b"\x00" * 9), ["not"], id="strings-many"
        ),
        pytest.param(
            tensor("DT_STRING", 1, tensor_content=b"\x80" * 9), ["not 1"], id="strings-length"
        ),
    ],
)
def test_these_are_refused(proto: Any, words: list[str]) -> None:
    with pytest.raises(DecodeError) as refused:
        read(proto.SerializeToString())

    assert str(refused.value).startswith("input 'x' has ")
    for word in words:
        assert word in str(refused.value)


@fuzz
@given(st.binary())
def test_any_bytes_are_read_or_refused(noise: bytes) -> None:
    with contextlib.suppress(DecodeError):
        assert read(noise).nbytes <= max(LARGEST_FILL, len(noise))


@fuzz
@given(
    st.sampled_from(sorted(DATA_TYPES.values())),
    st.lists(st.integers(-2, 4), max_size=4),
    st.binary(max_size=32),
    st.dictionaries(
        st.sampled_from(["float_val", "int_val", "half_val", "bool_val"]), st.just([1])
    ),
)
def test_any_fields_are_read_or_refused(
    dtype: int, shape: list[int], content: bytes, lists: dict[str, Any]
) -> None:
    proto = tensor("DT_FLOAT", *shape, tensor_content=content, **lists)
    proto.dtype = dtype
    with contextlib.suppress(DecodeError):
        assert list(read(proto.SerializeToString()).shape) == shape


def test_what_has_no_form_is_refused_when_written() -> None:
    with pytest.raises(InvalidArgument, match="output 'y' is datetime64"):
        written(np.array(["2026-01-01"], "datetime64[D]"))


@pytest.mark.parametrize("dtype", [*DTYPES, "string", "qint8", "resource"])
def test_dtypes_have_the_numbers_of_tensorflow(dtype: str) -> None:
    assert DATA_TYPES[dtype] == tf.as_dtype(dtype).as_datatype_enum
