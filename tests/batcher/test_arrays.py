"""Rows of many callers become one array, and every caller gets its own rows back."""

import asyncio
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher import Batch, Batcher, BatchFailed
from batcher.arrays import Array, concatenate, count_rows, layout, on_arrays, split, take_rows
from batcher.testing import FakeExecutor

FORMS = ["array", "tuple", "dict"]


def in_form(form: str, first: Array, second: Array) -> Any:
    """An item with one or two arrays."""
    return {"array": first, "tuple": (first, second), "dict": {"x": first, "y": second}}[form]


def as_dict(arrays: Any) -> dict[Any, Array]:
    """The arrays of an item or output by name or place."""
    if isinstance(arrays, dict):
        return arrays
    return dict(enumerate(arrays if isinstance(arrays, tuple) else (arrays,)))


def assert_same(one: Any, other: Any) -> None:
    """Equal in form, shapes, dtypes and numbers."""
    assert type(one) is type(other)
    ones, others = as_dict(one), as_dict(other)
    assert ones.keys() == others.keys()
    for name, array in ones.items():
        assert array.dtype == others[name].dtype
        np.testing.assert_array_equal(array, others[name])


@st.composite
def items(draw: st.DrawFn) -> list[Any]:
    """Some items of one layout and different numbers of rows."""
    form = draw(st.sampled_from(FORMS))
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=2)))
    dtypes = [draw(st.sampled_from(["f4", "i8", "u1", "?", "S3"])) for _ in range(2)]
    generator = np.random.default_rng(draw(st.integers(0, 99)))

    def an_array(rows: int, dtype: str) -> Array:
        return generator.integers(0, 100, (rows, *shape)).astype(dtype)

    rows = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    return [in_form(form, an_array(n, dtypes[0]), an_array(n, dtypes[1])) for n in rows]


# ---------------------------------------------------------------------------- there and back again


@given(items())
def test_splitting_what_was_concatenated_gives_the_items_back(items: list[Any]) -> None:
    sizes = [count_rows(item) for item in items]
    joined = concatenate(items)
    assert count_rows(joined) == sum(sizes)
    for item, back in zip(items, split(joined, sizes), strict=True):
        assert_same(back, item)


@given(items())
def test_items_that_can_be_concatenated_have_one_layout(items: list[Any]) -> None:
    assert len({layout(item) for item in items}) == 1
    assert layout(concatenate(items)) == layout(items[0])


@given(items(), st.data())
def test_taking_rows_takes_the_same_of_every_array(items: list[Any], data: st.DataObject) -> None:
    rows = count_rows(items[0])
    start = data.draw(st.integers(0, rows - 1))
    stop = data.draw(st.integers(start + 1, rows))
    part = take_rows(items[0], slice(start, stop))
    assert count_rows(part) == stop - start
    for name, array in as_dict(part).items():
        np.testing.assert_array_equal(array, as_dict(items[0])[name][start:stop])


@pytest.mark.parametrize("form", FORMS)
def test_a_lone_item_is_passed_on_without_a_copy(form: str) -> None:
    item = in_form(form, np.zeros((3, 2)), np.ones(3))
    assert concatenate([item]) is item
    assert split(item, [3])[0] is item


@pytest.mark.parametrize("form", FORMS)
def test_split_rows_are_views(form: str) -> None:
    output = in_form(form, np.zeros((3, 2)), np.ones(3))
    for part in split(output, [1, 2]):
        for name, array in as_dict(part).items():
            assert np.shares_memory(array, as_dict(output)[name])


@pytest.mark.parametrize("output", [{}, ()], ids=str)
def test_where_there_are_no_arrays_everybody_gets_none(output: Any) -> None:
    assert split(output, [1, 2]) == [output, output]
    assert take_rows(output, slice(0, 1)) == output


def test_the_names_of_a_dict_may_come_in_any_order() -> None:
    one = {"x": np.array([1]), "y": np.array([2.0])}
    other = {"y": np.array([4.0]), "x": np.array([3])}
    assert layout(one) == layout(other)
    assert_same(concatenate([one, other]), {"x": np.array([1, 3]), "y": np.array([2.0, 4.0])})


# -------------------------------------------------------------------------------- rows and layouts


@pytest.mark.parametrize(
    ("item", "says"),
    [
        (np.float32(1), "the array: none"),
        ((np.zeros(2), np.zeros(3)), "number 0: 2, number 1: 3"),
        ({"x": np.zeros(2), "y": np.zeros(())}, "'x': 2, 'y': none"),
        ((), "no arrays"),
        ({}, "no arrays"),
    ],
)
def test_an_item_without_a_common_number_of_rows_is_named(item: Any, says: str) -> None:
    with pytest.raises(ValueError, match=f"must agree on a number of rows; got {says}$"):
        count_rows(item)


def test_different_layouts_are_different_buckets() -> None:
    one, other = np.zeros((2, 3), "f4"), np.zeros((2, 3), "f8")
    different: list[Any] = [
        one,
        other,
        one[:, :2],
        one[:, 0],
        (one,),
        (one, one),
        (one, other),
        (other, one),
        {"x": one},
        {"y": one},
        {"x": one, "y": one},
        {"x": one, "y": other},
    ]
    assert len({layout(item) for item in different}) == len(different)


# --------------------------------------------------------------------------------------- on_arrays


@pytest.mark.parametrize("asked", FORMS)
@pytest.mark.parametrize("answered", FORMS)
def test_the_function_may_answer_in_another_form_than_it_was_asked(
    asked: str, answered: str
) -> None:
    def function(arrays: Any) -> Any:
        rows = next(iter(as_dict(arrays).values()))
        return in_form(answered, 2 * rows, -rows)

    run_batch = on_arrays(function)
    given_items = [in_form(asked, np.full((n, 2), n), np.zeros(n)) for n in (1, 3, 2)]
    results = run_batch(Batch(given_items, None, (1, 3, 2)))
    for n, result in zip((1, 3, 2), results, strict=True):
        assert_same(result, in_form(answered, np.full((n, 2), 2 * n), np.full((n, 2), -n)))


@pytest.mark.parametrize(
    ("output", "says"),
    [
        (np.float64(0.5), r"the array has shape \(\), expected 3 rows in its first dimension"),
        (np.zeros(2), r"the array has shape \(2,\), expected 3 rows"),
        ((np.zeros(3), np.zeros((4, 3))), r"number 1 has shape \(4, 3\), expected 3 rows"),
        ({"good": np.zeros(3), "bad": np.zeros(())}, r"'bad' has shape \(\), expected 3 rows"),
    ],
)
@pytest.mark.parametrize("sizes", [[3], [1, 2]])
def test_an_output_without_its_rows_is_named(output: Any, says: str, sizes: list[int]) -> None:
    with pytest.raises(ValueError, match=says):
        split(output, sizes)


async def test_callers_of_two_layouts_do_not_spoil_each_others_batches() -> None:
    executor = FakeExecutor()
    rows = [np.full(shape, float(shape[0])) for shape in [(1, 2), (2, 3), (3, 2), (1, 3)]]
    async with Batcher(on_arrays(lambda rows: rows + 1), executor=executor) as batcher:
        results = await asyncio.gather(
            *[batcher.submit(r, size=count_rows(r), bucket=layout(r)) for r in rows]
        )
    assert [(len(batch), batch.size) for batch in executor.started] == [(2, 4), (2, 3)]
    for given_rows, result in zip(rows, results, strict=True):
        np.testing.assert_array_equal(result, given_rows + 1)


async def test_a_function_that_loses_rows_fails_its_batch() -> None:
    async with Batcher(on_arrays(lambda rows: rows[1:]), executor=FakeExecutor()) as batcher:
        with pytest.raises(BatchFailed) as failed:
            await batcher.submit(np.zeros((2, 3)), size=2)
    assert "the array has shape (1, 3), expected 2 rows" in str(failed.value.__cause__)


async def test_a_size_that_is_not_that_of_the_rows_fails_its_batch() -> None:
    def model(rows: Array) -> Array:
        return rows

    async with Batcher(on_arrays(model), executor=FakeExecutor()) as batcher:
        with pytest.raises(BatchFailed) as failed:
            await batcher.submit(np.zeros((3, 2)))
    assert "items of 3 rows were submitted with size 1 in all" in str(failed.value.__cause__)
