"""Tensors of the Open Inference Protocol: what is written reads back, what is wrong is told."""

import struct
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from server.errors import DecodeError, InvalidArgument
from server.protocols.oip_classes import best_classes
from server.protocols.oip_tensors import (
    DATATYPES,
    check_shape,
    datatype,
    from_raw,
    from_values,
    to_raw,
)

fuzz = settings(derandomize=True, deadline=None, max_examples=60)

NUMPY: dict[str, np.dtype[Any]] = {
    named: np.dtype(dtype) for dtype, named in DATATYPES.items() if dtype != "string"
}
NUMBERS = sorted(NUMPY)
VALUES = sorted({*DATATYPES.values()} - {"FP16", "BF16"})
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)


def same(one: Any, other: Any) -> None:
    assert one.dtype == other.dtype
    assert one.shape == other.shape
    assert one.tobytes() == other.tobytes()


def strings(values: list[bytes], shape: tuple[int, ...]) -> Any:
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(shape)


def raw_strings(*values: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


@pytest.mark.parametrize("named", NUMBERS)
@fuzz
@given(st.data())
def test_raw_numbers_read_back_bit_by_bit(named: str, data: st.DataObject) -> None:
    shape = data.draw(SHAPES)
    size = int(np.prod(shape)) * NUMPY[named].itemsize
    raw = data.draw(st.binary(min_size=size, max_size=size))
    array = from_raw(raw, named, shape, "x")
    assert array.dtype == NUMPY[named]
    if named == "BOOL":
        assert to_raw(array) == bytes(byte != 0 for byte in raw)
    else:
        assert to_raw(array) == raw
    same(from_raw(to_raw(array), named, shape, "x"), array)


@fuzz
@given(st.lists(st.binary(max_size=20), max_size=8))
def test_raw_strings_read_back(values: list[bytes]) -> None:
    array = strings(values, (len(values), 1))
    raw = to_raw(array)
    assert raw == raw_strings(*values)
    back = from_raw(raw, "BYTES", (len(values), 1), "x")
    assert back.dtype == object
    assert back.tolist() == array.tolist()


@fuzz
@given(st.binary(max_size=40), st.sampled_from([*NUMBERS, "BYTES", "FP8"]), SHAPES)
def test_any_bytes_are_a_tensor_or_refused(raw: bytes, named: str, shape: tuple[int, ...]) -> None:
    try:
        array = from_raw(memoryview(raw), named, shape, "x")
    except DecodeError:
        return
    assert array.shape == shape
    assert to_raw(array) == raw or named == "BOOL"


def test_raw_numbers_are_not_copied_wherever_they_begin() -> None:
    body = b"{}" + struct.pack("<3d", 1.5, -2.0, 3.25)
    for place in range(1, 3):
        raw = memoryview(body)[2:] if place == 2 else memoryview(b"." + body)[3:]
        array = from_raw(raw, "FP64", (3,), "x")
        assert array.tolist() == [1.5, -2.0, 3.25]
        assert np.shares_memory(array, np.frombuffer(raw, np.uint8))


@pytest.mark.parametrize(
    ("raw", "named", "shape", "words"),
    [
        pytest.param(b"\0" * 7, "FP32", (2,), "7 bytes, expected 8", id="3-too-few"),
        pytest.param(b"\0" * 9, "FP32", (2,), "9 bytes, expected 8", id="3-too-many"),
        pytest.param(b"\0", "INT64", (), "1 bytes, expected 8", id="3-scalar"),
        pytest.param(b"\0\0\0", "BYTES", (1,), "length of element 0 is cut off", id="3-prefix-cut"),
        pytest.param(
            raw_strings(b"ab") + b"\1", "BYTES", (2,), "length of element 1", id="3-second-prefix"
        ),
        pytest.param(b"\5\0\0\0ab", "BYTES", (1,), "5 bytes, only 2", id="3-prefix-past-the-end"),
        pytest.param(b"\xff\xff\xff\xff", "BYTES", (1,), "only 0 are left", id="3-prefix-huge"),
        pytest.param(raw_strings(b"a"), "BYTES", (2,), "1 elements, expected 2", id="3-too-few-b"),
        pytest.param(
            raw_strings(b"a", b"b"), "BYTES", (1,), "more than 1 elements", id="3-too-many-b"
        ),
        pytest.param(b"", "BYTES", (1,), "0 elements, expected 1", id="3-none"),
        pytest.param(b"", "FP8", (0,), "no datatype 'FP8'", id="2-unknown-datatype"),
    ],
)
def test_raw_bytes_that_do_not_fit_are_refused(
    raw: bytes, named: str, shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(DecodeError, match=words):
        from_raw(raw, named, shape, "input 'x'")


elements: dict[str, st.SearchStrategy[Any]] = {
    "b": st.booleans(),
    "f": st.integers(-(2**63), 2**64 - 1) | st.floats(),
    "O": st.text(max_size=5),
}


def elements_of(named: str) -> st.SearchStrategy[Any]:
    kind = "O" if named == "BYTES" else NUMPY[named].kind
    if kind in "iu":
        limits = np.iinfo(NUMPY[named])
        return st.integers(int(limits.min), int(limits.max))
    return elements[kind]


@pytest.mark.parametrize("named", VALUES)
@fuzz
@given(data=st.data())
def test_flat_and_nested_values_are_the_same_tensor(named: str, data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, 3))
    row = st.lists(elements_of(named), min_size=2, max_size=2)
    nested = data.draw(st.lists(row, min_size=rows, max_size=rows))
    flat = [value for one in nested for value in one]
    with np.errstate(over="ignore"):
        array = from_values(nested, named, (rows, 2), "x")
        same_flat = from_values(flat, named, (rows, 2), "x")
        if named == "BYTES":
            assert array.ravel().tolist() == [value.encode() for value in flat]
            assert same_flat.tolist() == array.tolist()
        else:
            expected = np.array([NUMPY[named].type(value) for value in flat]).reshape(rows, 2)
            same(array, expected)
            same(same_flat, expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([1, 2, 3, 4], [[1, 2], [3, 4]], id="2-flat"),
        pytest.param([[1, 2], [3, 4]], [[1, 2], [3, 4]], id="2-nested"),
        pytest.param([[[1]], [[2]], [[3]], [[4]]], [[1, 2], [3, 4]], id="2-nested-otherwise"),
        pytest.param([1, [2, [3]], 4], [[1, 2], [3, 4]], id="2-only-the-count-counts"),
        pytest.param([[1, 2, 3], [], [4]], [[1, 2], [3, 4]], id="2-unequal-rows"),
    ],
)
def test_values_are_taken_row_by_row_however_they_nest(values: Any, expected: Any) -> None:
    assert from_values(values, "INT32", (2, 2), "x").tolist() == expected


@pytest.mark.parametrize(
    ("values", "named", "shape", "words"),
    [
        pytest.param([1.0], "INT32", (1,), "element 0 is a floating-point", id="2-int-of-float"),
        pytest.param([1, 2.5], "UINT8", (2,), "element 1 is a floating", id="2-uint-of-float"),
        pytest.param([True], "INT8", (1,), "a boolean, expected INT8", id="2-int-of-bool"),
        pytest.param([True], "FP32", (1,), "a boolean, expected FP32", id="2-float-of-bool"),
        pytest.param([1], "BOOL", (1,), "an integer, expected BOOL", id="2-bool-of-int"),
        pytest.param([0], "BOOL", (1,), "an integer, expected BOOL", id="2-bool-of-0"),
        pytest.param(["true"], "BOOL", (1,), "a string, expected BOOL", id="2-bool-of-string"),
        pytest.param(["1"], "FP64", (1,), "a string, expected FP64", id="2-float-of-string"),
        pytest.param([1], "BYTES", (1,), "an integer, expected BYTES", id="2-bytes-of-int"),
        pytest.param([None], "FP32", (1,), "null, expected FP32", id="2-null"),
        pytest.param([{}], "FP32", (1,), "an object, expected FP32", id="2-object"),
        pytest.param([256], "UINT8", (1,), "UINT8, 0 to 255", id="2-uint8-too-large"),
        pytest.param([-1], "UINT64", (1,), "outside of UINT64", id="2-uint64-negative"),
        pytest.param([-129], "INT8", (1,), "outside of INT8", id="2-int8-too-small"),
        pytest.param([2**63], "INT64", (1,), "outside of INT64", id="2-int64-too-large"),
        pytest.param([1.0], "FP16", (1,), "FP16 has no form as values", id="2-fp16"),
        pytest.param([1.0], "BF16", (1,), "BF16 has no form as values", id="2-bf16"),
        pytest.param([1.0], "FP32", (2,), "1 elements, expected 2", id="5-too-few"),
        pytest.param([1.0] * 3, "FP32", (2,), "3 elements, expected 2", id="5-too-many"),
        pytest.param([], "FP32", (), "0 elements, expected 1", id="5-none-of-a-scalar"),
        pytest.param([1.0], "FP32", (2**39, 1), "1 elements, expected", id="5-huge-shape"),
        pytest.param(1.0, "FP32", (), "must be a list", id="2-bare"),
        pytest.param("aa", "BYTES", (2,), "must be a list", id="2-bare-string"),
        pytest.param([1], "FLOAT", (1,), "no datatype 'FLOAT'", id="2-unknown-datatype"),
    ],
)
def test_values_that_do_not_fit_are_refused(
    values: Any, named: str, shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(DecodeError, match=words):
        from_values(values, named, shape, "input 'x'")


def test_lists_nested_deep_beside_long_ones_cost_one_look_each() -> None:
    deep: Any = 1
    for _ in range(1000):
        deep = [deep]
    values = [deep, *range(50_000)]
    assert from_values(values, "INT32", (50_001,), "x")[:3].tolist() == [1, 0, 1]


@pytest.mark.parametrize("shape", [[], [0], [2, 3], [2**39], [1] * 32])
def test_a_shape_is_a_list_of_integers(shape: list[int]) -> None:
    assert check_shape(shape) == tuple(shape)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        pytest.param([2.0], r"\[0\] must be an integer", id="2-float"),
        pytest.param([1, "2"], r"\[1\] must be an integer from 0 on, not a string", id="2-string"),
        pytest.param([True], "not a boolean", id="2-boolean"),
        pytest.param([None], "not null", id="2-null"),
        pytest.param([[1]], "not a list", id="2-list"),
        pytest.param([-1], "from 0 on, not -1", id="5-negative"),
        pytest.param([2**40, 1], "elements or more", id="5-huge"),
        pytest.param([2**20, 2**20], "elements or more", id="5-huge-product"),
        pytest.param([0, 2**40], "elements or more", id="5-huge-beside-zero"),
        pytest.param([1] * 33, "33 dimensions", id="rank"),
        pytest.param("12", "must be a list", id="text"),
        pytest.param({}, "must be a list", id="object"),
    ],
)
def test_other_shapes_are_refused(shape: Any, words: str) -> None:
    with pytest.raises(DecodeError, match=words):
        check_shape(shape, "the shape")


def test_every_dtype_has_its_datatype() -> None:
    assert {name: datatype(name) for name in DATATYPES} == DATATYPES
    assert [datatype(name) for name in ("string", "bfloat16")] == ["BYTES", "BF16"]
    assert datatype("complex64") == "INVALID"


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ml_dtypes.bfloat16])
def test_the_best_classes_come_first(dtype: Any) -> None:
    scores = np.array([[0.25, 2.0, -1.5], [3.0, 3.0, np.inf], [np.nan, -np.inf, 0.0]], dtype)
    assert best_classes(scores, 2, "output 'y'").tolist() == [
        [b"2.000000:1", b"0.250000:0"],
        [b"inf:2", b"3.000000:0"],
        [b"0.000000:2", b"-inf:1"],
    ]
    assert best_classes(scores, 9, "output 'y'").shape == (3, 3)


@pytest.mark.parametrize(
    "scores",
    [
        np.zeros(3, "float32"),
        np.zeros((1, 2, 3), "float32"),
        np.zeros((1, 3), "int32"),
        np.zeros((1, 3), object),
    ],
)
def test_what_has_no_classes_is_refused(scores: Any) -> None:
    with pytest.raises(InvalidArgument, match="output 'y': classification needs floats"):
        best_classes(scores, 1, "output 'y'")
