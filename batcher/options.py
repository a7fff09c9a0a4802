"""What the options of a Batcher may be: checks that name the option. Pure."""

import math
import operator


def at_least_one(name: str, value: int) -> int:
    """A whole number, 1 or more. TypeError, ValueError."""
    try:
        number = operator.index(value)
    except TypeError:
        msg = f"{name} must be a whole number, not {value!r}"
        raise TypeError(msg) from None
    if number < 1:
        msg = f"{name} must be at least 1, not {number}"
        raise ValueError(msg)
    return number


def seconds(name: str, value: float) -> float:
    """A finite number of seconds, 0 or more. TypeError, ValueError."""
    try:
        number = float(value + 0.0)
    except (TypeError, ValueError):
        msg = f"{name} must be a number of seconds, not {value!r}"
        raise TypeError(msg) from None
    if not math.isfinite(number) or number < 0:
        msg = f"{name} must be finite seconds, 0 or more, not {value!r}"
        raise ValueError(msg)
    return number
