"""Options are checked where they are given, and the message names them."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from batcher.options import at_least_one, seconds


@pytest.mark.parametrize("value", [1, 7, True, np.int64(3)])
def test_a_whole_number_of_at_least_one_passes(value: Any) -> None:
    assert at_least_one("size", value) == value


@pytest.mark.parametrize("value", [0, -1, False, np.int8(-3)])
def test_less_than_one_is_a_value_error(value: Any) -> None:
    with pytest.raises(ValueError, match=f"size must be at least 1, not {int(value)}"):
        at_least_one("size", value)


@pytest.mark.parametrize("value", [1.0, "1", None, [1], math.inf, np.float32(2)])
def test_what_is_no_whole_number_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="size must be a whole number, not "):
        at_least_one("size", value)


@pytest.mark.parametrize("value", [0, 0.0, 1e-9, 3, Fraction(1, 2), np.float32(0.25)])
def test_finite_seconds_pass_as_a_float(value: Any) -> None:
    number = seconds("timeout", value)
    assert type(number) is float
    assert number == value


@pytest.mark.parametrize("value", [-1, -1e-9, math.inf, -math.inf, math.nan])
def test_seconds_that_are_negative_or_not_finite_are_a_value_error(value: float) -> None:
    with pytest.raises(ValueError, match="timeout must be finite seconds, 0 or more, not "):
        seconds("timeout", value)


@pytest.mark.parametrize("value", ["soon", "0.5", None, [1.0], 1j])
def test_what_is_no_number_of_seconds_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="timeout must be a number of seconds, not "):
        seconds("timeout", value)
