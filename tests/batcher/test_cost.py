"""Learned run times: what they say, what they ignore; and cost functions of users."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher import RequestTooLarge
from batcher.cost import LEARNED, REMEMBERED, UNREAD, Cost, RunTimes


def learned(times: dict[int, float], *, often: int = REMEMBERED) -> RunTimes:
    """Run times of a function that always takes the same for a size."""
    run_times = RunTimes()
    for _ in range(often):
        for size, seconds in times.items():
            run_times.observe(size, seconds)
    return run_times


def test_nothing_is_predicted_before_enough_was_seen() -> None:
    run_times = RunTimes()
    for _ in range(LEARNED):
        assert run_times.predict(8) is None
        run_times.observe(8, 2.0)
    assert run_times.predict(8) == 2.0


@pytest.mark.parametrize(
    ("size", "seconds"),
    [
        pytest.param(1, 1.0, id="below the smallest: as the smallest"),
        pytest.param(4, 1.0, id="known"),
        pytest.param(6, 1.5, id="between two: on their line"),
        pytest.param(8, 2.0, id="known as well"),
        pytest.param(12, 3.0, id="above the largest: on as before"),
    ],
)
def test_sizes_in_between_are_on_a_line(size: int, seconds: float) -> None:
    assert learned({4: 1.0, 8: 2.0}).predict(size) == pytest.approx(seconds)


def test_above_a_single_known_size_each_row_is_taken_to_cost_as_much() -> None:
    assert learned({4: 1.0}).predict(8) == 2.0


def test_a_larger_batch_is_never_expected_to_be_faster_than_the_largest_known() -> None:
    assert learned({4: 2.0, 8: 1.0}).predict(100) == 1.0


def test_slow_first_calls_and_a_stall_do_not_count() -> None:
    run_times = RunTimes()
    run_times.observe(8, 60.0)
    for _ in range(5):
        run_times.observe(8, 1.0)
    run_times.observe(8, 30.0)
    assert run_times.predict(8) == 1.0


def test_an_estimate_is_not_shorter_than_four_in_five_run_times() -> None:
    run_times = RunTimes()
    for number in range(REMEMBERED):
        run_times.observe(8, float(number))
    assert run_times.predict(8) == 11.0


def test_a_model_that_has_become_slower_is_believed_after_a_few_batches() -> None:
    run_times = learned({8: 1.0})
    for _ in range(4):
        run_times.observe(8, 5.0)
    assert run_times.predict(8) == 5.0


def test_what_nobody_asks_for_takes_no_more_memory() -> None:
    run_times = RunTimes()
    for number in range(10 * UNREAD):
        run_times.observe(number, 1.0)
    assert len(run_times._unread) == UNREAD


@given(st.lists(st.integers(1, 100_000), min_size=1, max_size=400))
def test_many_sizes_fall_into_few_steps(sizes: list[int]) -> None:
    run_times = RunTimes()
    for size in sizes:
        run_times.observe(size, size / 1000)
        run_times.predict(size)
    assert all(step <= max(sizes) for step in run_times._observed)
    assert len(run_times._observed) <= 16 + 8 * 14


def longest_times_count(items: Sequence[str]) -> float:
    if "bad" in items and len(items) > 1:
        msg = "no bad company"
        raise LookupError(msg)
    return max(len(item) for item in items) * len(items)


class Reports:
    """What a cost function did wrong."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def __call__(self, message: str, error: Exception) -> None:
        self.heard.append(f"{message}: {error}")


def test_items_fit_together_up_to_the_most_that_a_batch_may_cost() -> None:
    cost = Cost(longest_times_count, 12.0, Reports())
    assert cost.fits(["aaaa", "b", "c"])
    assert not cost.fits(["aaaa", "b", "c", "d"])


def test_items_whose_cost_nobody_can_tell_do_not_fit_and_that_is_reported() -> None:
    reports = Reports()
    assert not Cost(longest_times_count, 12.0, reports).fits(["a", "bad"])
    assert reports.heard == ["batch_cost raised: no bad company"]


def test_an_item_that_costs_too_much_alone_is_refused() -> None:
    cost = Cost(longest_times_count, 3.0, Reports())
    cost.check("aaa")
    with pytest.raises(RequestTooLarge, match="the item alone costs 4, max_batch_cost=3"):
        cost.check("aaaa")


@pytest.mark.parametrize(
    ("returned", "error", "words"),
    [
        (float("nan"), ValueError, "batch_cost must return 0 or more, not nan"),
        (-1.0, ValueError, "batch_cost must return 0 or more, not -1"),
        ("3", TypeError, "batch_cost must be a number"),
        (None, TypeError, "batch_cost must be a number"),
    ],
)
def test_a_cost_that_is_none_is_told_to_who_submits(
    returned: float, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Cost[str](lambda _: returned, 3.0, Reports()).check("a")


@pytest.mark.parametrize("most", [0, -1.0, float("nan")])
def test_the_most_that_a_batch_may_cost_is_more_than_nothing(most: float) -> None:
    with pytest.raises(ValueError, match="max_batch_cost must be more than 0"):
        Cost(longest_times_count, most, Reports())
