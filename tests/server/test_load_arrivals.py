"""When requests are due: drawn beforehand, from the plan and its seed alone."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.load import Kind, Offered, arrival_times

kinds = st.sampled_from(["constant", "poisson"])
rates = st.floats(0.1, 20_000)
seeds = st.integers(0, 2**32)
durations = st.floats(0.01, 2)


@given(seed=seeds, rate=rates, kind=kinds, seconds=durations)
def test_times_ascend_within_the_plan_and_depend_on_nothing_else(
    seed: int, rate: float, kind: Kind, seconds: float
) -> None:
    times = arrival_times(seed, rate, kind, seconds)
    assert times.dtype == np.float64
    assert ((times >= 0) & (times < seconds)).all()
    assert (np.diff(times) >= 0).all()
    assert (times == arrival_times(seed, rate, kind, seconds)).all()


@given(seed=seeds, rate=rates, kind=kinds, seconds=durations)
def test_the_mean_rate_is_the_plans(seed: int, rate: float, kind: Kind, seconds: float) -> None:
    many = len(arrival_times(seed, rate, kind, seconds))
    expected = rate * seconds
    # A Poisson count strays by its square root; ten times that happens to nobody.
    strays = 1 if kind == "constant" else 10 * math.sqrt(expected) + 10
    assert abs(many - expected) <= strays


@given(rate=rates, seconds=durations)
def test_constant_gaps_are_equal_and_the_first_request_is_due_at_once(
    rate: float, seconds: float
) -> None:
    times = arrival_times(0, rate, "constant", seconds)
    assert times[0] == 0.0
    assert np.allclose(np.diff(times), 1 / rate, rtol=1e-6, atol=0)


@pytest.mark.parametrize("seed", range(3))
def test_poisson_gaps_are_exponential_and_independent(seed: int) -> None:
    rate = 1000.0
    gaps = np.diff(arrival_times(seed, rate, "poisson", 100.0))
    many = len(gaps)
    ranks = np.arange(1, many + 1) / many
    distance = np.abs(ranks - (1 - np.exp(-rate * np.sort(gaps)))).max()
    # Kolmogorov and Smirnov: exponential gaps are further off once in a million times.
    assert distance < 2.7 / math.sqrt(many)
    assert gaps.mean() == pytest.approx(1 / rate, rel=0.02)
    assert gaps.std() == pytest.approx(1 / rate, rel=0.02)
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 0.02


def test_seeds_differ() -> None:
    one, other = (arrival_times(seed, 100.0, "poisson", 1.0) for seed in (1, 2))
    assert one[0] != other[0]


@given(seed=seeds, rate=st.floats(10, 1000))
def test_a_longer_plan_begins_like_a_shorter_one(seed: int, rate: float) -> None:
    short, long = (arrival_times(seed, rate, "poisson", seconds) for seconds in (0.5, 2.0))
    assert np.allclose(long[: len(short)], short, rtol=1e-9, atol=0)


def test_the_warmup_comes_on_top() -> None:
    plan = Offered(rate=10.0, seconds=2.0, warmup=1.0, kind="constant")
    assert len(plan.times()) == 30
    assert plan.whole == 3.0


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"rate": 0.0}, "rate is 0.0: expected a finite number above 0"),
        ({"rate": math.nan}, "rate is nan: expected a finite number above 0"),
        ({"seconds": math.inf}, "seconds is inf: expected a finite number above 0"),
        ({"warmup": -1.0}, "warmup is -1.0: expected a finite number from 0"),
        ({"kind": "bursty"}, "kind is 'bursty': expected one of constant, poisson"),
        ({"rate": 1e9}, "1,000,000,000 requests: one plan has at most 20,000,000"),
    ],
)
def test_a_plan_that_cannot_be_drawn_is_refused(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Offered(**{"rate": 1.0, "seconds": 1.0, **changed})
