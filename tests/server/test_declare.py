"""Functions declare what they take and give; a declaration that makes no sense is told at once."""

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.declare import declared, signature
from server.signature import Array

ROW = {"x": "float32[-1,2]"}
SUM = {"total": "float32[-1]"}


@pytest.mark.parametrize(
    ("text", "dtype", "shape"),
    [
        ("float32[-1,784]", "float32", (None, 784)),
        ("string[-1]", "string", (None,)),
        ("bfloat16[-1,-1,3]", "bfloat16", (None, None, 3)),
        ("int64[]", "int64", ()),
        ("uint8[3]", "uint8", (3,)),
        ("float64[-1,0]", "float64", (None, 0)),
        ("complex64[...]", "complex64", None),
        (" bool [ -1 , 2 ] ", "bool", (None, 2)),
    ],
)
def test_dtype_and_shape_are_read_from_their_text(
    text: str, dtype: str, shape: tuple[int | None, ...] | None
) -> None:
    @signature({"x": text}, {"y": text})
    def same(x: Array) -> Array:
        return x

    declaration = declared(same)
    assert declaration is not None
    for specs in (declaration.inputs, declaration.outputs):
        (spec,) = specs.values()
        assert (spec.dtype, spec.shape) == (dtype, shape)
    assert list(declaration.outputs) == ["y"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("float32", 'expected a dtype and a shape: "float32[-1,784]"'),
        ("[-1]", "expected a dtype and a shape"),
        ("float32(-1)", "expected a dtype and a shape"),
        ("float[-1]", "dtype is not known; known are bfloat16, bool"),
        ("float32[-2]", "sizes are numbers from 0 on, or -1"),
        ("float32[-1,]", "sizes are numbers"),
        ("float32[1.5]", "sizes are numbers"),
        ("float32[-1,...]", "sizes are numbers"),
        ("float32[--1]", "sizes are numbers"),
    ],
)
def test_a_text_that_is_wrong_is_quoted(text: str, told: str) -> None:
    with pytest.raises(ValueError, match="input 'x' is declared as") as wrong:
        signature({"x": text}, SUM)
    assert repr(text) in str(wrong.value)
    assert told in str(wrong.value)
    with pytest.raises(ValueError, match="output 'y' is declared as"):
        signature(ROW, {"y": text})


def test_an_output_is_needed_and_names_are_not_empty() -> None:
    with pytest.raises(ValueError, match="at least one output"):
        signature(ROW, {})
    with pytest.raises(ValueError, match="input '' is declared"):
        signature({"": "float32[-1]"}, SUM)


def test_a_declared_function_stays_as_it_is() -> None:
    def total(x: Array) -> Array:
        return np.asarray(x.sum(axis=1))

    assert signature(ROW, SUM)(total) is total
    assert inspect.isfunction(total)
    assert total(np.ones((1, 2))).tolist() == [2.0]


def test_other_callables_are_wrapped_and_left_alone() -> None:
    class Doubler:
        def double(self, x: Array) -> Array:
            return x * 2

    doubler = Doubler()
    wrapped = signature(ROW, SUM)(doubler.double)
    assert declared(wrapped) is not None
    assert declared(doubler.double) is None
    assert wrapped(np.ones(1)).tolist() == [2.0]


def test_a_function_may_have_two_signatures() -> None:
    def same(x: Array) -> Array:
        return x

    first = signature({"x": "float32[-1]"}, SUM)(same)
    second = signature({"x": "float64[-1]"}, SUM)(same)
    for function, dtype in ((first, "float32"), (second, "float64")):
        declaration = declared(function)
        assert declaration is not None
        assert declaration.inputs["x"].dtype == dtype


@pytest.mark.parametrize(("given", "told"), [([], "list"), (dict, "class"), (None, "NoneType")])
def test_only_functions_have_signatures(given: Any, told: str) -> None:
    with pytest.raises(TypeError, match=f"not of a {told}: name a method of it"):
        signature(ROW, SUM)(given)


def test_nothing_else_is_declared() -> None:
    class Anything:
        def __getattr__(self, name: str) -> str:
            return name

    assert declared(Anything()) is None
    assert declared(len) is None


def test_it_brings_no_framework_along() -> None:
    heavy = ["tensorflow", "aiohttp", "sklearn", "structlog", "batcher", "server.models"]
    program = f"import sys, server.declare; print(*[n for n in {heavy} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == []
