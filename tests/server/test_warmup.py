"""Warm-up runs every size once, and finds the signatures whose rows may not share a batch."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from server.model import InputRejected
from server.signature import Signature, Tensors, TensorSpec, why_alone
from server.warmup import TOLERANCE, batch_sizes, warm_up

Function = Callable[[Any], Any]


def sizes_to(most: int) -> tuple[int, ...]:
    return tuple(batch_sizes(most))


class FakeModel:
    """One signature, `f`: y of x, by a function of arrays; remembers the shapes it was run on."""

    platform = "test"

    def __init__(
        self,
        function: Function,
        shape: tuple[int | None, ...] | None = (None, 3),
        dtype: str = "float32",
        outputs: tuple[int | None, ...] | None = None,
    ) -> None:
        inputs = {"x": TensorSpec("x", dtype, shape)}
        told = {"y": TensorSpec("y", dtype, outputs)}
        self._signature = Signature("f", inputs, told, alone=why_alone(inputs, told))
        self._function = function
        self.seen: list[Any] = []

    @property
    def signatures(self) -> Mapping[str, Signature]:
        return {"f": self._signature}

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        assert signature == "f"
        self.seen.append(inputs["x"].copy())
        return {"y": self._function(inputs["x"])}

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return [array.shape for array in self.seen]


@pytest.mark.parametrize(
    ("most", "sizes"),
    [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 8]), (10, [1, 2, 4, 8, 10])],
)
def test_the_sizes_are_powers_of_two_and_the_cap(most: int, sizes: list[int]) -> None:
    assert list(batch_sizes(most)) == sizes


@pytest.mark.parametrize("most", [1, 2, 6, 8])
def test_every_size_is_run(most: int) -> None:
    model = FakeModel(lambda x: x * 2)
    warm = warm_up(model, sizes_to(most))
    assert warm.notes == ()
    assert warm.signatures["f"].batchable
    assert {(size, 3) for size in batch_sizes(most)} <= set(model.shapes)
    assert max(model.shapes) <= (max(most, 2), 3)


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "float16", "int8", "int32", "uint64", "bool", "complex64"]
)
def test_what_is_made_up_has_the_dtype_and_rows_that_differ(dtype: str) -> None:
    model = FakeModel(lambda x: x, (None, 1), dtype)
    warm_up(model, sizes_to(4))
    for array in model.seen:
        assert array.dtype == np.dtype(dtype)
        if len(array) > 1:
            assert array[0] != array[1]


def test_what_is_made_up_for_strings_is_empty_bytes() -> None:
    model = FakeModel(lambda x: x, (None,), "string")
    assert warm_up(model, sizes_to(2)).signatures["f"].batchable
    assert all(array.tolist() == [b""] * len(array) for array in model.seen)


def test_what_is_made_up_for_integers_is_a_valid_index() -> None:
    table = np.array([10, 20])
    model = FakeModel(lambda x: table[x], (None, 5), "int32")
    assert warm_up(model, sizes_to(8)).notes == ()


INFLUENCES: dict[str, Function] = {
    "mean": lambda x: x - x.mean(axis=0),
    "sum": lambda x: x + x.sum(),
    "first": lambda x: x[::-1] * 1,
    "by-count": lambda x: x * len(x),
    "width-by-count": lambda x: np.ones((len(x), len(x)), x.dtype),
    "width-twice-the-count": lambda x: np.ones((len(x), 2 * len(x)), x.dtype),
    "running-total": lambda x: x.cumsum(axis=0),
    "largest": lambda x: x - x.max(axis=0),
    "ranks": lambda x: np.argsort(x, axis=0),
    "nan-in-company": lambda x: x if len(x) == 1 else x * np.nan,
}


@pytest.mark.parametrize("name", INFLUENCES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_that_influence_each_other_are_found(name: str, dtype: str) -> None:
    warm = warm_up(FakeModel(INFLUENCES[name], (None, 3), dtype), sizes_to(8))
    why = "output 'y' of a row alone differs from that of the same row in a batch"
    assert warm.signatures["f"].alone == why
    assert warm.notes == (f"requests for signature 'f' run alone: {why}",)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "int64"])
def test_rows_of_one_integer_that_influence_each_other_are_found(dtype: str) -> None:
    model = FakeModel(lambda x: x * 2 - x.max(), (None, 1), dtype)
    assert not warm_up(model, sizes_to(8)).signatures["f"].batchable


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda x: x.sum(), "()"),
        (lambda x: x.sum(axis=0), "(3,)"),
        (lambda x: x[:1], "(1, 3)"),
        (lambda x: np.concatenate([x, x]), "(4, 3)"),
    ],
)
def test_an_output_of_unknown_rank_without_the_rows_is_found(
    function: Function, shape: str
) -> None:
    warm = warm_up(FakeModel(function), sizes_to(8))
    assert warm.signatures["f"].alone == f"output 'y' has the shape {shape} for 2 rows"


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * 2,
        lambda x: x * (1 + 1e-6 * len(x)),
        lambda x: x * np.nan,
        lambda x: x.astype("int64"),
        lambda x: x > 0.5,
        lambda x: x.sum(axis=1),
        lambda x: np.zeros((len(x), 0)),
    ],
)
def test_rows_on_their_own_may_share_a_batch(function: Function) -> None:
    warm = warm_up(FakeModel(function), sizes_to(8))
    assert warm.signatures["f"].batchable
    assert warm.notes == ()


def test_the_tolerance_lies_between_rounding_and_influence() -> None:
    def off_by(relative: float) -> Function:
        return lambda x: (x + 1) * (1 + relative * (len(x) > 1))

    assert warm_up(FakeModel(off_by(TOLERANCE / 10)), sizes_to(2)).signatures["f"].batchable
    assert not warm_up(FakeModel(off_by(TOLERANCE * 10)), sizes_to(2)).signatures["f"].batchable


def test_batches_of_one_row_need_no_comparison() -> None:
    assert warm_up(FakeModel(lambda x: x - x.mean(axis=0)), sizes_to(1)).signatures["f"].batchable


@pytest.mark.parametrize("shape", [(), (4,), (4, 2), None])
def test_a_signature_that_runs_alone_is_run_once_in_its_own_shape(
    shape: tuple[int, ...] | None,
) -> None:
    model = FakeModel(lambda x: x, shape)
    warm = warm_up(model, sizes_to(8))
    assert model.shapes == [shape or ()]
    assert warm.signatures["f"].alone == model.signatures["f"].alone
    assert len(warm.notes) == 1
    assert "no batch dimension" in warm.notes[0]


def accepts(width: int) -> Function:
    """A function that refuses all rows but those of this width."""

    def function(x: Any) -> Any:
        if x.shape[-1] != width:
            msg = f"width must be {width}"
            raise InputRejected(msg)
        return x

    return function


@pytest.mark.parametrize(("width", "tried"), [(1, [1]), (32, [1, 32]), (224, [1, 32, 224])])
def test_unknown_dimensions_are_tried_in_turn(width: int, tried: list[int]) -> None:
    model = FakeModel(accepts(width), (None, None))
    warm = warm_up(model, sizes_to(4))
    assert warm.notes == ()
    assert [shape[-1] for shape in model.shapes[: len(tried)]] == tried
    assert {shape[-1] for shape in model.shapes[len(tried) :]} == {width}
    assert {len(array) for array in model.seen} == {1, 2, 4}


def test_what_refuses_the_made_up_input_is_noted_and_serves_one_request_at_a_time() -> None:
    model = FakeModel(accepts(7), (None, None))
    warm = warm_up(model, sizes_to(4))
    assert not warm.signatures["f"].batchable
    refused, alone = warm.notes
    assert refused == "signature 'f' refused the input made up to warm it up: width must be 7"
    assert "could not see whether its rows are independent" in alone
    assert [shape[-1] for shape in model.shapes] == [1, 32, 224]


def test_a_refusal_of_many_lines_is_noted_in_one() -> None:
    def refuse(_: Any) -> Any:
        msg = "first\nsecond"
        raise RuntimeError(msg)

    note, _ = warm_up(FakeModel(refuse), sizes_to(4)).notes
    assert note.endswith(": first")


def test_a_refused_signature_that_runs_alone_still_does() -> None:
    warm = warm_up(FakeModel(accepts(7), (2, 3)), sizes_to(4))
    assert not warm.signatures["f"].batchable
    assert len(warm.notes) == 2
