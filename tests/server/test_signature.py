"""What a signature lets in, what it knows about batches, and the trailing ones it forgives."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from server.errors import InvalidArgument
from server.signature import (
    Shape,
    Signature,
    Tensors,
    TensorSpec,
    remove_added,
    shape_text,
    validate,
    why_alone,
)


def zeros(*shape: int, dtype: str = "float32") -> NDArray[Any]:
    return np.zeros(shape, dtype)


def specs(**shapes: Shape | None) -> dict[str, TensorSpec]:
    return {name: TensorSpec(name, "float32", shape) for name, shape in shapes.items()}


def signature(inputs: dict[str, TensorSpec], outputs: dict[str, TensorSpec]) -> Signature:
    return Signature("s", inputs, outputs, alone=why_alone(inputs, outputs))


def taking(shape: Shape | None) -> Signature:
    """One input `x` of this shape."""
    return signature(specs(x=shape), specs(y=(None,)))


@pytest.mark.parametrize(
    ("dtype", "numpy_name"),
    [
        ("float32", "float32"),
        ("bool", "bool"),
        ("uint64", "uint64"),
        ("float16", "float16"),
        ("string", "object"),
        ("bfloat16", "bfloat16"),
        ("qint8", "object"),
        ("resource", "object"),
    ],
)
def test_a_spec_knows_the_dtype_of_its_arrays(dtype: str, numpy_name: str) -> None:
    assert TensorSpec("x", dtype, ()).numpy_dtype == np.dtype(numpy_name)


@pytest.mark.parametrize(
    ("shape", "text", "has_batch_dimension"),
    [
        ((None, 2), "float32[-1,2]", True),
        ((None,), "float32[-1]", True),
        ((3, None), "float32[3,-1]", False),
        ((), "float32[]", False),
        (None, "float32 of any rank", False),
    ],
)
def test_a_spec_is_told_as_tensorflow_serving_does(
    shape: Shape | None, text: str, *, has_batch_dimension: bool
) -> None:
    spec = TensorSpec("x", "float32", shape)
    assert str(spec) == text
    assert spec.has_batch_dimension is has_batch_dimension
    assert text == f"float32{shape_text(shape)}"


@pytest.mark.parametrize(
    ("inputs", "outputs", "why"),
    [
        ({"x": (None, 2)}, {"y": (None,)}, ""),
        ({"x": (None, 2)}, {"y": None}, ""),
        ({"x": (None,), "z": (None, None)}, {"y": (None,), "w": (None, 5)}, ""),
        ({}, {"y": (None,)}, "it has no inputs"),
        ({"x": ()}, {"y": (None,)}, "input 'x' has no batch dimension: float32[]"),
        ({"x": (3, 2)}, {"y": (None,)}, "input 'x' has no batch dimension: float32[3,2]"),
        ({"x": None}, {"y": (None,)}, "input 'x' has no batch dimension: float32 of any rank"),
        ({"x": (None,), "k": ()}, {"y": (None,)}, "input 'k' has no batch dimension: float32[]"),
        ({"x": (None,)}, {"y": ()}, "output 'y' has no batch dimension: float32[]"),
        ({"x": (None,)}, {"y": (1, None)}, "output 'y' has no batch dimension: float32[1,-1]"),
    ],
)
def test_shapes_tell_why_requests_cannot_share_a_batch(
    inputs: dict[str, Shape | None], outputs: dict[str, Shape | None], why: str
) -> None:
    made = signature(specs(**inputs), specs(**outputs))
    assert made.alone == why
    assert made.batchable is (why == "")


def test_a_signature_can_be_told_to_run_alone() -> None:
    made = taking((None, 2))
    alone = made.running_alone("because")
    assert (made.batchable, alone.batchable, alone.alone) == (True, False, "because")
    assert alone.inputs == made.inputs
    assert alone.running_alone("").batchable


@pytest.mark.parametrize(
    ("shapes", "one"),
    [
        ({"x": (None, 2)}, True),
        ({"x": (None,), "z": (None, 3, 4)}, True),
        ({"x": (None, None)}, False),
        ({"x": (None, 2), "z": (None, 2, None)}, False),
        ({"x": None}, False),
    ],
)
def test_a_signature_knows_whether_all_rows_have_the_same_shapes(
    shapes: dict[str, Shape | None], *, one: bool
) -> None:
    assert signature(specs(**shapes), specs(y=(None,))).has_one_layout is one


@pytest.mark.parametrize(
    ("declared", "came", "rows"),
    [
        ((None, 2), (3, 2), 3),
        ((None,), (4,), 4),
        ((None, None), (2, 7), 2),
        ((None, None), (2, 0), 2),
        ((None, 1), (5, 1), 5),
    ],
)
def test_tensors_of_the_declared_shape_pass_untouched(
    declared: Shape, came: tuple[int, ...], rows: int
) -> None:
    array = zeros(*came)
    fitted, counted, added = validate(taking(declared), {"x": array})
    assert fitted["x"] is array
    assert (counted, added) == (rows, 0)


@pytest.mark.parametrize(
    ("declared", "came"),
    [((), ()), ((3,), (3,)), ((2, 2), (2, 2)), (None, (7, 3)), (None, ())],
)
def test_a_signature_that_runs_alone_counts_as_one_row(
    declared: Shape | None, came: tuple[int, ...]
) -> None:
    fitted, rows, added = validate(taking(declared), {"x": zeros(*came)})
    assert (fitted["x"].shape, rows, added) == (came, 1, 0)


@pytest.mark.parametrize(
    ("declared", "came", "told"),
    [
        ((None, 2), (3, 3), "[3,3]"),
        ((None, 2), (2,), "[2]"),
        ((None, 2), (1, 2, 1), "[1,2,1]"),
        ((None, 2), (), "[]"),
        ((None, 1), (), "[]"),
        ((None, None), (3,), "[3]"),
        ((None, 96, 96, 3), (1, 27648), "[1,27648]"),
        ((None, 96, 96, 3), (1, 96, 96), "[1,96,96]"),
        ((None, 96, 96, 3), (27648,), "[27648]"),
        ((None,), (), "[]"),
        ((), (1,), "[1]"),
        ((1,), (), "[]"),
        ((3,), (2,), "[2]"),
    ],
)
def test_another_shape_is_refused_and_both_are_told(
    declared: Shape, came: tuple[int, ...], told: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        validate(taking(declared), {"x": zeros(*came)})
    assert str(refused.value) == f"input 'x' is float32{shape_text(declared)}, got the shape {told}"


@pytest.mark.parametrize(
    ("declared", "came"),
    [
        ((None, 2), (0, 2)),
        ((None, 1), (0,)),
        ((None, 96, 96, 3), (0, 96, 96, 3)),
        (None, (0, 3)),
    ],
)
def test_no_rows_are_refused(declared: Shape | None, came: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgument, match="'x' has no rows"):
        validate(taking(declared), {"x": zeros(*came)})


@pytest.mark.parametrize("dtype", ["float64", "int32", "bool", "object"])
def test_another_dtype_is_refused(dtype: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"'x' is float32\[-1,2\], got {dtype}"):
        validate(taking((None, 2)), {"x": zeros(1, 2, dtype=dtype)})


@pytest.mark.parametrize(
    ("names", "told"), [((), "none"), (("y",), "'y'"), (("x", "y"), "'x', 'y'")]
)
def test_other_names_are_refused_and_both_lists_told(names: tuple[str, ...], told: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        validate(taking((None,)), {name: zeros(1) for name in names})
    assert str(refused.value) == f"signature 's' takes the inputs 'x', the request has {told}"


def test_inputs_must_agree_on_rows_when_they_share_batches() -> None:
    both = specs(a=(None, 2), b=(None,))
    tensors = {"a": zeros(2, 2), "b": zeros(3)}
    with pytest.raises(InvalidArgument, match="'a': 2, 'b': 3"):
        validate(signature(both, specs(y=(None,))), tensors)
    _, rows, _ = validate(signature(both, specs(y=())), tensors)
    assert rows == 1


@pytest.mark.parametrize(
    ("declared", "came", "fitted", "added"),
    [
        ((None, 1), (3,), (3, 1), 1),
        ((None, 1, 1), (3,), (3, 1, 1), 2),
        ((None, 1, 1), (3, 1), (3, 1, 1), 1),
        ((None, 5, 1), (3, 5), (3, 5, 1), 1),
        ((3, 1), (3,), (3, 1), 1),
    ],
)
def test_trailing_ones_left_out_are_added(
    declared: Shape, came: tuple[int, ...], fitted: tuple[int, ...], added: int
) -> None:
    tensors, _, count = validate(taking(declared), {"x": zeros(*came)})
    assert (tensors["x"].shape, count) == (fitted, added)


@pytest.mark.parametrize(("declared", "came"), [((None, 1, 2), (3,)), ((None, 2, 1), (3,))])
def test_dimensions_other_than_trailing_ones_are_not_added(
    declared: Shape, came: tuple[int, ...]
) -> None:
    with pytest.raises(InvalidArgument):
        validate(taking(declared), {"x": zeros(*came)})


@pytest.mark.parametrize(
    ("declared", "came", "added", "lean"),
    [
        ((None, 1), (3, 1), 1, (3,)),
        ((None, 1, 1), (3, 1, 1), 1, (3, 1)),
        ((None, 1, 1), (3, 1, 1), 2, (3,)),
        ((None, 1), (3, 1), 2, (3,)),
        ((None, 10), (3, 10), 1, (3, 10)),
        ((None, None), (3, 1), 1, (3, 1)),
        ((None,), (3,), 1, (3,)),
        ((1,), (1,), 1, (1,)),
        ((), (), 1, ()),
        (None, (3, 1), 1, (3, 1)),
    ],
)
def test_as_many_are_taken_away_as_the_output_declares(
    declared: Shape | None, came: tuple[int, ...], added: int, lean: tuple[int, ...]
) -> None:
    made = signature(specs(x=(None, 1)), specs(y=declared))
    outputs: Tensors = {"y": zeros(*came)}
    assert remove_added(made, outputs, added)["y"].shape == lean


def test_an_output_that_was_not_declared_stays_as_it_is() -> None:
    assert remove_added(taking((None, 1)), {"other": zeros(2, 1)}, 1)["other"].shape == (2, 1)
