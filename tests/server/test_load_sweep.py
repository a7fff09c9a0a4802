"""The way to the rate that a server no longer keeps up with."""

import asyncio
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.load import Offered, Result, Stretch, sweep
from server.load.result import GOOD
from server.load.sweep import too_much


def result_of(rate: float, achieved: float, latency: float = 0.001) -> Result:
    """A result with ten requests a second that all took as long."""
    many = 10
    return Result(
        plan=Offered(rate, seconds=many / rate),
        latencies=np.full(many, latency),
        outcomes=np.full(many, GOOD, np.int16),
        lateness=np.zeros(many),
        reasons=(),
        achieved=achieved,
        backlog=0,
        held=0,
        busy=0.1,
    )


def limited(capacity: float) -> Callable[[float], Result]:
    """A server that answers so many requests a second and no more."""
    return lambda rate: result_of(rate, min(rate, capacity))


def swept(
    server: Callable[[float], Result], *, rates: Sequence[float] = (), refine: int = 3
) -> list[Stretch]:
    async def main() -> list[Stretch]:
        async def measure(rate: float) -> Result:
            return server(rate)

        return [s async for s in sweep(measure, rates=rates, refine=refine, settle=0)]

    return asyncio.run(main())


def rates_of(stretches: Sequence[Stretch]) -> list[float]:
    return [stretch.result.offered.rate for stretch in stretches]


def test_the_rate_doubles_until_it_is_too_much_and_then_closes_in() -> None:
    stretches = swept(limited(1300.0))
    assert rates_of(stretches) == [100, 200, 400, 800, 1600, 1200, 1400, 1300]
    assert [bool(stretch.too_much) for stretch in stretches] == 4 * [False] + [
        *(True, False, True, False)
    ]
    assert stretches[4].too_much == "81.2% of the offered rate achieved"


def test_a_server_that_does_not_even_keep_up_with_the_first_rate() -> None:
    assert rates_of(swept(limited(30.0))) == [100, 50, 25, 37.5, 31.2, 34.4]


def test_a_server_that_answers_nothing_is_given_up() -> None:
    assert rates_of(swept(limited(0.0)))[-1] >= 0.1


def test_a_list_of_rates_is_tried_in_order_up_to_the_first_that_is_too_much() -> None:
    rates = (400.0, 100.0, 800.0, 200.0)
    assert rates_of(swept(limited(300.0), rates=rates)) == [100, 200, 400]
    assert rates_of(swept(limited(3000.0), rates=rates)) == [100, 200, 400, 800]


@settings(max_examples=30, deadline=None)
@given(capacity=st.floats(1, 50_000), refine=st.integers(0, 6))
def test_what_a_server_can_do_is_found(capacity: float, refine: int) -> None:
    stretches = swept(limited(capacity), refine=refine)
    kept = max(s.result.offered.rate for s in stretches if not s.too_much)
    missed = min(s.result.offered.rate for s in stretches if s.too_much)
    bound = capacity / 0.95
    assert kept <= bound * 1.0001
    assert missed >= bound * 0.9999
    # Each refinement halves the distance; rounding to three digits may add a little.
    assert missed / kept <= 1 + 2.0**-refine + 0.02


@pytest.mark.parametrize(
    ("p99", "shortest", "told"),
    [
        (0.060, 0.002, "p99 is 30 times that of a lower rate"),
        (0.030, 0.002, ""),  # twenty times nothing is nothing
        (0.049, 0.0, ""),
        (0.300, 0.020, ""),
        (0.500, 0.020, "p99 is 25 times that of a lower rate"),
    ],
)
def test_a_p99_that_explodes_is_too_much(p99: float, shortest: float, told: str) -> None:
    assert too_much(result_of(100.0, 100.0, p99), shortest) == told


def test_a_stretch_without_requests_is_not_too_much() -> None:
    empty = Result(
        Offered(0.1, 1.0), np.zeros(0), np.zeros(0, np.int16), np.zeros(0), (), 0.0, 0, 0, 0.0
    )
    assert too_much(empty, 0.0) == ""
