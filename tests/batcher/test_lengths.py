"""Rows of different lengths: padded with a declared value, cut back, or refused."""

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher import Batcher
from batcher.arrays import Array, count_rows, layout, on_arrays
from batcher.lengths import VariableLength
from batcher.testing import FakeExecutor, run

WORDS = VariableLength(
    {"ids": (1, -1), "weights": (2, 0.5)}, boundaries=(2, 4, 8), outputs={"tags": 1}, mask="mask"
)


def words(length: int, rows: int = 1) -> dict[str, Array]:
    return {
        "ids": np.arange(rows * length).reshape(rows, length),
        "weights": np.ones((rows, 3, length), np.float32),
    }


def test_an_item_is_padded_to_the_next_boundary_with_the_declared_values() -> None:
    padded, length = WORDS.pad(words(3))
    assert length == 3
    assert padded["ids"].tolist() == [[0, 1, 2, -1]]
    assert padded["weights"].tolist() == [[[1.0, 1.0, 1.0, 0.5]] * 3]
    assert padded["mask"].tolist() == [[1.0, 1.0, 1.0, 0.0]]
    assert padded["weights"].dtype == padded["mask"].dtype == np.float32


def test_an_item_on_a_boundary_is_not_copied() -> None:
    item = words(4)
    padded, _ = WORDS.pad(item)
    assert padded["ids"] is item["ids"]
    assert padded["mask"].tolist() == [[1.0] * 4]


def test_without_a_mask_none_is_added() -> None:
    padded, _ = VariableLength({"ids": (1, 0)}, boundaries=(4,)).pad(words(3))
    assert sorted(padded) == ["ids", "weights"]


def test_the_item_itself_is_left_as_it_was() -> None:
    item = words(3)
    WORDS.pad(item)
    assert sorted(item) == ["ids", "weights"]
    assert item["ids"].shape == (1, 3)


@pytest.mark.parametrize(
    ("item", "told"),
    [
        pytest.param(words(9), "a length of 9 is above the largest boundary, 8", id="too long"),
        pytest.param(
            words(3) | {"weights": np.ones((1, 3, 4))},
            "inputs must agree on their length; got 'ids': 3, 'weights': 4",
            id="different lengths",
        ),
        pytest.param(
            words(3) | {"weights": np.ones((1, 3))},
            "input 'weights' has no axis 2: its shape is [1, 3]",
            id="no such axis",
        ),
    ],
)
def test_what_cannot_be_padded_is_a_value_error(item: dict[str, Array], told: str) -> None:
    with pytest.raises(ValueError, match=told.replace("[", r"\[")):
        WORDS.pad(item)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"inputs": {}}, "at least one input"),
        ({"inputs": {"ids": (0, 0)}}, "the axis of 'ids' must be 1 or more"),
        ({"outputs": {"tags": 0}}, "the axis of 'tags' must be 1 or more"),
        ({"boundaries": ()}, "boundaries must be positive and ascend"),
        ({"boundaries": (4, 2)}, "boundaries must be positive and ascend"),
        ({"boundaries": (0, 2)}, "boundaries must be positive and ascend"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(options: dict[str, object], told: str) -> None:
    sensible = {"inputs": {"ids": (1, 0)}, "boundaries": (2, 4)}
    with pytest.raises(ValueError, match=told):
        VariableLength(**(sensible | options))  # type: ignore[arg-type]


def test_outputs_that_carry_the_length_are_cut_back_and_others_are_not() -> None:
    cut = WORDS.cut({"tags": np.arange(8).reshape(2, 4), "score": np.ones((2, 4))}, 3)
    assert cut["tags"].tolist() == [[0, 1, 2], [4, 5, 6]]
    assert cut["score"].shape == (2, 4)
    assert WORDS.cut({"score": np.ones(1)}, 3).keys() == {"score"}


def negated(arrays: dict[str, Array]) -> dict[str, Array]:
    """A model of texts: one number for each word, and whether it was real."""
    return {"tags": -arrays["ids"], "score": arrays["mask"].sum(axis=1)}


@given(st.lists(st.integers(1, 8), min_size=1, max_size=20))
def test_through_a_batcher_everybody_gets_an_answer_as_long_as_the_question(
    lengths: list[int],
) -> None:
    executor = FakeExecutor(run_time=1.0)

    async def ask(batcher: Batcher[dict[str, Array], dict[str, Array]], length: int) -> None:
        item = words(length, rows=2)
        padded, was = WORDS.pad(item)
        result = await batcher.submit(padded, size=count_rows(padded), bucket=layout(padded))
        assert np.array_equal(WORDS.cut(result, was)["tags"], -item["ids"])
        assert result["score"].tolist() == [length, length]

    async def main() -> None:
        async with Batcher(on_arrays(negated), executor=executor, max_batch_size=8) as batcher:
            await asyncio.gather(*[ask(batcher, length) for length in lengths])

    run(main())
    assert len(executor.started) <= 3 + len(lengths) // 4
