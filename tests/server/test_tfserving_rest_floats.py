"""How TensorFlow Serving writes floats, and where this server does the same to the letter."""

import json
import math
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.protocols import strict_json
from server.protocols.tfserving_outputs import FEW, write_numbers

fuzz = settings(derandomize=True, deadline=None, max_examples=300)

WIDTHS: dict[str, Literal[32, 64]] = {"float32": 32, "float64": 64}


def as_tensorflow_serving(number: np.floating[Any]) -> str | None:
    """What it writes for a float for which six digits are enough; None for any other.

    util/json_tensor.cc: %g, and a point if it looks like an integer.
    """
    six = f"{float(number):g}"
    if type(number)(six) != number:
        return None
    return six if set(six) & set(".e") else f"{six}.0"


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (9000000, "9e+06"),
        (-9000000, "-9e+06"),
        (1230000, "1.23e+06"),
        (1234560, "1.23456e+06"),
        (1234567, "1234567.0"),
        (999999, "999999.0"),
        (1000000, "1e+06"),
        (100000, "100000.0"),
        (1000000.5, "1000000.5"),
        (1e15, "1e+15"),
        (1e16, "1e+16"),
        (1e-4, "0.0001"),
        (0.0003, "0.0003"),
        (0.00003, "3e-05"),
        (-0.00003, "-3e-05"),
        (0.000012345678, "1.2345678e-05"),
        (0.0000025, "2.5e-06"),
        (1e-7, "1e-07"),
        (1e-10, "1e-10"),
        (10.00001, "10.00001"),
        (0, "0.0"),
        (-0.0, "-0.0"),
        (0.2, "0.2"),
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
    ],
)
@pytest.mark.parametrize("dtype", WIDTHS)
def test_these_are_written_so(number: float, written: str, dtype: str) -> None:
    single = np.array(number, dtype)
    assert write_numbers(single) == written.encode()
    assert write_numbers(np.array([[1.5, number, 0.0]], dtype)) == f"[[1.5,{written},0.0]]".encode()


@pytest.mark.parametrize("dtype", WIDTHS)
@fuzz
@given(digits=st.integers(-999999, 999999), power=st.integers(-30, 30))
def test_six_digits_are_written_to_the_letter(dtype: str, digits: int, power: int) -> None:
    number = np.dtype(dtype).type(f"{digits}e{power}")
    expected = as_tensorflow_serving(number)
    assert expected is not None
    assert write_numbers(np.array([number])) == f"[{expected}]".encode()


@pytest.mark.parametrize("dtype", WIDTHS)
@fuzz
@given(st.data())
def test_no_notation_changes_a_float(dtype: str, data: st.DataObject) -> None:
    floats = st.floats(width=WIDTHS[dtype], allow_nan=False)
    array = np.array(data.draw(st.lists(floats, max_size=4)), dtype)
    written = write_numbers(array)
    np.testing.assert_array_equal(np.array(json.loads(written), dtype), array)
    for token in written.strip(b"[]").split(b",") if array.size else ():
        assert set(token) & set(b".eN") or token.endswith(b"Infinity")


@pytest.mark.parametrize("array", [np.array([True, False]), np.arange(9000000, 9000003)])
def test_what_is_no_float_is_written_as_it_is(array: np.ndarray[Any, Any]) -> None:
    assert write_numbers(array) == strict_json.dumps(array)


def test_large_tensors_keep_the_notation_that_is_cheap() -> None:
    array = np.full(FEW + 1, 9000000, "float32")
    assert write_numbers(array[1:]).startswith(b"[9e+06,")
    assert write_numbers(array).startswith(b"[9000000.0,")
