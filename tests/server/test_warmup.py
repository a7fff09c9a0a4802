"""Warm-up runs every size once, and finds the signatures whose rows may not share a batch."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from batcher.lengths import VariableLength
from server.errors import StartupError
from server.model import InputRejected
from server.signature import Signature, Tensors, TensorSpec, why_alone
from server.warmup import MOST_RUNS, Record, batch_sizes, warm_up
from server.warmup.independence import TOLERANCE, UNSEEN
from server.warmup.rows import planned

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
        *,
        others: Mapping[str, TensorSpec] = MappingProxyType({}),
    ) -> None:
        inputs = {"x": TensorSpec("x", dtype, shape), **others}
        told = {"y": TensorSpec("y", dtype, outputs)}
        self._signature = Signature("f", inputs, told, alone=why_alone(inputs, told))
        self._function = function
        self.seen: list[Any] = []
        self.inputs: list[Tensors] = []

    @property
    def signatures(self) -> Mapping[str, Signature]:
        return {"f": self._signature}

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        assert signature == "f"
        self.seen.append(inputs["x"].copy())
        self.inputs.append(inputs)
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


def text_model(accepts: Callable[[bytes], object]) -> FakeModel:
    """Strings to themselves; refuses those that are not accepted."""

    def function(x: Any) -> Any:
        if not all(map(accepts, x.tolist())):
            msg = "no such text"
            raise InputRejected(msg)
        return x

    return FakeModel(function, (None,), "string")


@pytest.mark.parametrize(
    "accepts",
    [
        pytest.param(lambda _: True, id="words"),
        pytest.param(bytes.isdigit, id="digits"),
        pytest.param(lambda text: text in (b"", b"\n\0"), id="empty-examples"),
        pytest.param(lambda text: text.startswith(b"\x89PNG"), id="png"),
        pytest.param(lambda text: text.startswith(b"\xff\xd8\xff"), id="jpeg"),
        pytest.param(lambda text: text.startswith(b"iVBORw"), id="base64"),
        pytest.param(lambda text: len(text) > 300, id="large-pictures"),
    ],
)
def test_strings_are_made_up_until_the_model_takes_two_that_differ(
    accepts: Callable[[bytes], object],
) -> None:
    model = text_model(accepts)
    warm = warm_up(model, sizes_to(4))
    assert warm.notes == ()
    assert warm.signatures["f"].batchable
    assert [len(set(array.tolist())) for array in model.seen if len(array) == 4] == [2]


def test_the_examples_of_a_model_are_tried_after_words_and_digits() -> None:
    model = text_model(lambda text: text in (b"this", b"that"))
    assert warm_up(model, sizes_to(2), examples=[(b"this", b"that")]).notes == ()
    assert [array.tolist() for array in model.seen[1:3]] == [[b"0", b"1"], [b"this", b"that"]]


def test_a_text_output_as_wide_as_the_longest_row_is_found() -> None:
    def function(x: Any) -> Any:
        return np.zeros((len(x), max(len(text.split()) for text in x)))

    warm = warm_up(FakeModel(function, (None,), "string"), sizes_to(2))
    assert "a row alone differs" in warm.signatures["f"].alone


@pytest.mark.parametrize(
    ("accepted", "dtype"),
    [
        pytest.param(lambda x: x.min() >= 1, "int32", id="counts"),
        pytest.param(lambda x: x.min() >= 1, "float32", id="large-floats"),
    ],
)
def test_numbers_are_made_up_until_the_model_takes_two_rows_that_differ(
    accepted: Callable[[Any], Any], dtype: str
) -> None:
    warm = warm_up(FakeModel(taking(accepted), dtype=dtype), sizes_to(4))
    assert warm.notes == ()
    assert warm.signatures["f"].batchable


@pytest.mark.parametrize("only", [0, 1])
def test_a_model_that_takes_only_rows_that_are_all_the_same_runs_alone(only: int) -> None:
    warm = warm_up(FakeModel(taking(lambda x: (x == only).all()), dtype="int32"), sizes_to(4))
    assert warm.signatures["f"].alone == f"{UNSEEN}: it took no two that differ"


def test_inputs_of_one_shape_differ_from_each_other() -> None:
    model = FakeModel(lambda x: x, others={"z": TensorSpec("z", "float32", (None, 3))})
    warm_up(model, sizes_to(2))
    assert all((inputs["x"] != inputs["z"]).all() for inputs in model.inputs)


def taking(accepted: Callable[[Any], Any]) -> Function:
    """A function that refuses all but what is accepted."""

    def function(x: Any) -> Any:
        if not accepted(x):
            msg = "out of range"
            raise InputRejected(msg)
        return x

    return function


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
    assert refused == (
        "signature 'f' refused the input made up to warm it up: width must be 7;"
        " records in assets.extra/tf_serving_warmup_requests of its folder would be run instead"
    )
    assert "could not see whether its rows are independent" in alone
    assert [shape[-1] for shape in model.shapes] == [1, 32, 224] * 4


def test_a_refusal_of_many_lines_is_noted_in_one() -> None:
    def refuse(_: Any) -> Any:
        msg = "first\nsecond"
        raise RuntimeError(msg)

    note, _ = warm_up(FakeModel(refuse), sizes_to(4)).notes
    assert ": first; records" in note


def test_a_refused_signature_that_runs_alone_still_does() -> None:
    warm = warm_up(FakeModel(accepts(7), (2, 3)), sizes_to(4))
    assert not warm.signatures["f"].batchable
    assert len(warm.notes) == 2


# ------------------------------------------------------------------------------------- batches


@pytest.mark.parametrize(
    ("buckets", "sizes", "plan"),
    [
        (1, (1,), [(0, 1)]),
        (1, (1, 2, 4), [(0, 4), (0, 1), (0, 2)]),
        (2, (1, 8), [(0, 8), (1, 8), (0, 1), (1, 1)]),
        (1, (4, 8, 16), [(0, 16), (0, 4), (0, 8)]),
    ],
)
def test_the_largest_batches_come_first_and_then_the_smallest(
    buckets: int, sizes: tuple[int, ...], plan: list[tuple[int, int]]
) -> None:
    assert planned(buckets, sizes) == plan


def test_a_batch_without_memory_is_noted_and_the_others_run() -> None:
    def function(x: Any) -> Any:
        if len(x) > 4:
            raise MemoryError
        return x

    warm = warm_up(FakeModel(function), sizes_to(8))
    assert warm.signatures["f"].batchable
    assert warm.notes == ("signature 'f' has no memory for 'x' [8,3]",)


def test_a_signature_that_refuses_many_rows_runs_alone() -> None:
    warm = warm_up(FakeModel(taking(lambda x: len(x) < 5)), sizes_to(8))
    assert warm.signatures["f"].alone == "it refused 8 rows together: out of range"


def test_a_signature_that_refuses_one_row_runs_alone() -> None:
    warm = warm_up(FakeModel(taking(lambda x: len(x) > 1)), sizes_to(8))
    assert warm.signatures["f"].alone == f"{UNSEEN}: out of range"


def test_the_runs_are_counted() -> None:
    model = FakeModel(lambda x: x)
    assert warm_up(model, sizes_to(8)).runs == len(model.seen) == 8


def test_a_warm_up_that_takes_long_says_so_every_ten_seconds() -> None:
    seconds = iter(range(0, 1000, 4))
    told: list[str] = []
    warm_up(
        FakeModel(lambda x: x), sizes_to(64), tell=told.append, clock=lambda: float(next(seconds))
    )
    assert told == [
        "warming up signature 'f': 3 runs so far",
        "warming up signature 'f': 6 runs so far, 5 to go",
        "warming up signature 'f': 9 runs so far, 2 to go",
    ]


# ------------------------------------------------------------------------------------- records


def records(*arrays: Any, dtype: str = "float32") -> list[Record]:
    """A record for each array."""
    return [
        Record("f", {"x": np.array(array, dtype)}, f"record {number}")
        for number, array in enumerate(arrays, start=1)
    ]


def test_records_are_run_as_they_are_and_their_rows_in_batches() -> None:
    model = FakeModel(lambda x: x, (None, 1))
    warm = warm_up(model, (1, 2, 4), records=records([[5]], [[6], [7], [8]]))
    assert warm.notes == ()
    assert [array.ravel().tolist() for array in model.seen] == [
        *([5], [6, 7, 8, 8]),  # As they are served: three rows are padded to four.
        *([5, 6], [5], [6]),
        *([5, 6, 7, 8], [5], [5, 6]),
    ]


def test_the_rows_of_few_records_are_repeated() -> None:
    model = FakeModel(lambda x: x, (None, 1))
    warm_up(model, (8,), records=records([[5]], [[6]], [[7]]))
    assert model.seen[-1].ravel().tolist() == [5, 6, 7, 5, 6, 7, 5, 6]


def test_a_record_of_more_rows_than_a_batch_is_cut_up() -> None:
    model = FakeModel(lambda x: x, (None, 1))
    warm_up(model, (1, 2), records=records([[1], [2], [3]]))
    assert [array.ravel().tolist() for array in model.seen[:2]] == [[1, 2], [3]]


def test_each_shape_of_the_records_is_a_bucket() -> None:
    model = FakeModel(lambda x: x, (None, None))
    warm_up(model, (1, 2, 4), records=records([[1, 2]], [[1, 2, 3]], [[3, 4]]))
    assert {(size, width) for size in (1, 2, 4) for width in (2, 3)} <= set(model.shapes)


def test_rows_of_records_that_influence_each_other_are_found() -> None:
    """Made-up rows would not show it."""
    model = FakeModel(lambda x: x - x[x > 10].sum(), (None, 1))
    assert warm_up(model, (1, 2)).signatures["f"].batchable
    warm = warm_up(model, (1, 2), records=records([[20]], [[30]]))
    assert "a row alone differs" in warm.signatures["f"].alone


@pytest.mark.parametrize(
    ("shape", "row"), [((None, 2), [[5, 6]]), ((None, 1), [[5]]), ((None, 2), [[5, 5]])]
)
@pytest.mark.parametrize("name", ["mean", "largest"])
def test_a_single_row_is_compared_with_another_that_is_made_up(
    shape: tuple[int | None, ...], row: Any, name: str
) -> None:
    assert warm_up(FakeModel(lambda x: x, shape), (1, 2), records=records(row)).notes == ()
    warm = warm_up(FakeModel(INFLUENCES[name], shape), (1, 2), records=records(row))
    assert "a row alone differs" in warm.signatures["f"].alone


def test_a_single_row_that_finds_no_company_runs_alone() -> None:
    model = FakeModel(taking(lambda x: (x == 7).all()), (None, 1))
    warm = warm_up(model, (1, 2), records=records([[7]]))
    assert warm.signatures["f"].alone == f"{UNSEEN}: it took no two that differ"


def test_a_signature_with_records_runs_nothing_made_up() -> None:
    model = FakeModel(taking(lambda x: x.min() > 40), (None, 1))
    warm = warm_up(model, (1, 2), records=records([[50]], [[60]]))
    assert warm.notes == ()
    assert warm.signatures["f"].batchable


def test_a_signature_that_runs_alone_runs_its_records() -> None:
    model = FakeModel(lambda x: x, (2,))
    warm = warm_up(model, (1, 2), records=records([1, 2], [3, 4]))
    assert [array.tolist() for array in model.seen] == [[1, 2], [3, 4]]
    assert "no batch dimension" in warm.signatures["f"].alone


@pytest.mark.parametrize(
    ("array", "told"),
    [
        pytest.param([[-1, 1, 1]], "out of range", id="by-the-model"),
        pytest.param([[1, 1]], "input 'x' is float32[-1,3], got the shape [1,2]", id="shape"),
        pytest.param(np.ones((0, 3)), "input 'x' has no rows: its shape is [0,3]", id="rows"),
    ],
)
def test_a_refused_record_fails_the_warm_up(array: Any, told: str) -> None:
    model = FakeModel(taking(lambda x: x.min() >= 0))
    with pytest.raises(StartupError) as raised:
        warm_up(model, (1, 2), records=records([[1, 2, 3]], array))
    assert str(raised.value) == f"record 2: signature 'f' refused it: {told}"


def test_too_many_batches_are_cut_short_with_a_note() -> None:
    many = records(*([[0] * width] for width in range(1, MOST_RUNS + 1)))
    model = FakeModel(lambda x: x, (None, None))
    warm = warm_up(model, (1, 4), records=many)
    (note,) = warm.notes
    assert note == (
        "signature 'f' has 512 batches to warm up, 2 sizes of 256 shapes: only 256 were run,"
        " the largest first"
    )
    assert warm.signatures["f"].batchable
    assert len([array for array in model.seen if len(array) == 4]) == MOST_RUNS


# ------------------------------------------------------------------------------------- lengths

LENGTHS = VariableLength({"x": (1, -1)}, boundaries=(2, 4, 8), mask="mask")
MASK = {"mask": TensorSpec("mask", "int32", (None, None))}


def masked(function: Function = lambda x: x) -> FakeModel:
    return FakeModel(function, (None, None), others=MASK)


def test_every_boundary_is_run_at_every_size_with_its_mask() -> None:
    model = masked()
    warm = warm_up(model, (1, 2, 4), lengths=LENGTHS)
    assert warm.notes == ()
    assert warm.signatures["f"].batchable
    assert {(size, length) for size in (1, 2, 4) for length in (2, 4, 8)} == set(model.shapes)
    for inputs in model.inputs:
        assert inputs["mask"].dtype == np.int32
        assert ((inputs["x"] == -1) == (inputs["mask"] == 0)).all()


def test_rows_of_different_lengths_stand_beside_each_other() -> None:
    model = masked()
    warm_up(model, (2,), lengths=LENGTHS)
    lengths = {tuple(inputs["mask"].sum(axis=1).tolist()) for inputs in model.inputs}
    assert {(2, 1), (4, 3), (8, 5)} <= lengths


def test_rows_whose_padding_influences_others_are_found() -> None:
    model = masked(lambda x: x + (x == -1).sum())
    assert "a row alone differs" in warm_up(model, (1, 2), lengths=LENGTHS).signatures["f"].alone


def test_records_are_padded_and_the_other_boundaries_are_run_with_their_values() -> None:
    model = masked()
    warm = warm_up(model, (1, 2), lengths=LENGTHS, records=records([[5, 6, 7]]))
    assert warm.notes == ()
    assert model.inputs[0]["x"].tolist() == [[5, 6, 7, -1]]
    assert model.inputs[0]["mask"].tolist() == [[1, 1, 1, 0]]
    assert set(model.shapes) == {(size, length) for size in (1, 2) for length in (2, 4, 8)}


def test_a_record_may_bring_its_mask() -> None:
    (record,) = records([[5, 6, 7]])
    own = {**record.inputs, "mask": np.ones((1, 3), np.int32)}
    model = masked()
    warm_up(model, (1,), lengths=LENGTHS, records=[record._replace(inputs=own)])
    assert model.inputs[0]["mask"].tolist() == [[1, 1, 1, 0]]


def test_a_record_that_is_too_long_fails_the_warm_up() -> None:
    with pytest.raises(StartupError, match=r"record 1: .* 9 is above the largest boundary, 8"):
        warm_up(masked(), (1,), lengths=LENGTHS, records=records([[1] * 9]))


def test_a_boundary_that_the_model_refuses_is_noted_and_the_others_share_batches() -> None:
    model = masked(taking(lambda x: x.shape[1] < 8))
    warm = warm_up(model, (1, 2), lengths=LENGTHS)
    assert warm.signatures["f"].batchable
    assert warm.notes == ("signature 'f' refused 'x' [2,8], 'mask' [2,8]: out of range",)


def test_a_model_that_takes_only_the_longest_rows_is_run_with_those() -> None:
    warm = warm_up(masked(taking(lambda x: x.shape[1] == 8)), (1, 2), lengths=LENGTHS)
    assert warm.signatures["f"].batchable
    assert len(warm.notes) == 2


def test_a_signature_without_the_inputs_is_not_padded() -> None:
    model = FakeModel(lambda x: x)
    warm_up(model, (1, 2), lengths=VariableLength({"ids": (1, 0)}, boundaries=(16,)))
    assert {shape[1] for shape in model.shapes} == {3}
