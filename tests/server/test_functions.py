"""Python functions as models: how they are called, what they may return, and whom it touches."""

from typing import Any

import numpy as np
import pytest

from server.model import InputRejected, WrongOutput
from server.models.function import PythonModel
from server.signature import DEFAULT_SIGNATURE, Array, Tensors
from tests.server.user_modules import UserModules

TWO_ROWS: Tensors = {"x": np.array([[1, 2], [3, 4]], "float32")}

DECLARED = """
@signature({{"x": "float32[-1,2]"}}, {outputs})
def f(x):
    return {returned}
"""
ONE = '{"y": "float32[-1]"}'
WIDE = '{"y": "float32[-1,2]"}'
TWO = '{"sum": "float32[-1]", "first": "float32[-1]"}'
INTEGERS = '{"y": "int8[-1]"}'
WORDS = '{"y": "string[-1]"}'


def run(model: PythonModel, inputs: Tensors, signature: str = DEFAULT_SIGNATURE) -> dict[str, Any]:
    """The outputs as lists."""
    outputs = model.run(signature, inputs)
    for name, spec in model.signatures[signature].outputs.items():
        assert type(outputs[name]) is np.ndarray
        assert outputs[name].dtype == spec.numpy_dtype
    return {name: array.tolist() for name, array in outputs.items()}


def returning(modules: UserModules, outputs: str, returned: str) -> PythonModel:
    return modules.loaded(DECLARED.format(outputs=outputs, returned=returned))


# --------------------------------------------------------------------------------- what it returns


@pytest.mark.parametrize(
    ("outputs", "returned", "expected"),
    [
        pytest.param(ONE, "x.sum(axis=1)", {"y": [3, 7]}, id="array"),
        pytest.param(ONE, "{'y': x[:, 0]}", {"y": [1, 3]}, id="dict"),
        pytest.param(ONE, "(x[:, 0],)", {"y": [1, 3]}, id="tuple-of-one"),
        pytest.param(TWO, "(x.sum(axis=1), x[:, 0])", {"sum": [3, 7], "first": [1, 3]}, id="tuple"),
        pytest.param(TWO, "[x.sum(axis=1), x[:, 0]]", {"sum": [3, 7], "first": [1, 3]}, id="list"),
        pytest.param(ONE, "[float(row.sum()) for row in x]", {"y": [3, 7]}, id="list-of-rows"),
        pytest.param(ONE, "[row[0] for row in x]", {"y": [1, 3]}, id="list-of-scalars"),
        pytest.param(ONE, "[1, 2]", {"y": [1, 2]}, id="integers-as-floats"),
        pytest.param(WIDE, "list(x)", {"y": [[1, 2], [3, 4]]}, id="list-of-arrays"),
        pytest.param(WIDE, "x.view(np.recarray)", {"y": [[1, 2], [3, 4]]}, id="subclass"),
        pytest.param(INTEGERS, "[-128, 127]", {"y": [-128, 127]}, id="narrow-integers"),
        pytest.param('{"y": "uint64[-1]"}', "[2**64 - 1, 2**63]",
                     {"y": [2**64 - 1, 2**63]}, id="widest"),
        pytest.param('{"y": "bool[-1]"}', "[True, False]", {"y": [True, False]}, id="booleans"),
        pytest.param('{"y": "bfloat16[-1]"}', "[1.5, 2]", {"y": [1.5, 2]}, id="bfloat16"),
        pytest.param('{"y": "complex64[-1]"}', "[1j, 2]", {"y": [1j, 2]}, id="complex"),
        pytest.param('{"y": "float32[-1,0]"}', "[[], []]", {"y": [[], []]}, id="nothing-in-rows"),
        pytest.param(WORDS, "['é', b'\\xff']", {"y": ["é".encode(), b"\xff"]}, id="text-and-bytes"),
        pytest.param(WORDS, "np.array(['a', 'bc'])", {"y": [b"a", b"bc"]}, id="fixed-text"),
        pytest.param(WORDS, "np.array([b'a\\0', b''], object)", {"y": [b"a\0", b""]}, id="objects"),
        pytest.param('{"y": "float32[-1,-1]"}', "x", {"y": [[1, 2], [3, 4]]}, id="any-width"),
        pytest.param('{"y": "float32[...]"}', "x[None].swapaxes(0, 1)[:, 0]",
                     {"y": [[1, 2], [3, 4]]}, id="any-rank"),
    ],
)  # fmt: skip
def test_the_forms_that_outputs_may_have(
    user_modules: UserModules, outputs: str, returned: str, expected: dict[str, Any]
) -> None:
    assert run(returning(user_modules, outputs, returned), TWO_ROWS) == expected


@pytest.mark.parametrize(
    ("outputs", "returned", "told"),
    [
        pytest.param(ONE, "None", "a NoneType, expected an array", id="nothing"),
        pytest.param(ONE, "(row.sum() for row in x)", "a generator, expected", id="generator"),
        pytest.param(ONE, "[[1.0], [1.0, 2.0]]", "a list that is no array", id="ragged"),
        pytest.param(ONE, "x.sum(axis=1)[:1]", "[1] for 2 rows", id="fewer-rows"),
        pytest.param(ONE, "np.ones(3, 'float32')", "[3] for 2 rows", id="more-rows"),
        pytest.param('{"y": "float32[...]"}', "x[:1]", "[1,2] for 2 rows", id="fewer-any-rank"),
        pytest.param('{"y": "float32[...]"}', "x[0, 0]", "[] for 2 rows", id="scalar-any-rank"),
        pytest.param(ONE, "1.0", "shape [], expected float32[-1]", id="scalar"),
        pytest.param(WIDE, "x.sum(axis=1)", "shape [2], expected float32[-1,2]", id="rank"),
        pytest.param(WIDE, "x[:, :1]", "shape [2,1], expected float32[-1,2]", id="width"),
        pytest.param(ONE, "x.sum(axis=1).astype('float64')", "float64[2], expected float32[-1]",
                     id="wider-dtype"),
        pytest.param(ONE, "x[:, 0].astype('>f4')", ">f4[2], expected", id="byte-order"),
        pytest.param(INTEGERS, "[1.0, 2.0]", "float64[2], expected int8[-1]", id="floats"),
        pytest.param(INTEGERS, "[1, 128]", "int64[2], expected int8[-1]", id="too-large"),
        pytest.param(INTEGERS, "[True, False]", "bool[2], expected int8[-1]", id="booleans"),
        pytest.param(ONE, "['1', '2']", "<U1[2], expected float32[-1]", id="text"),
        pytest.param(ONE, "[None, 1.0]", "object[2], expected float32[-1]", id="none-in-it"),
        pytest.param(WORDS, "['a', 1]", "an element of type int, expected string[-1]",
                     id="number-in-texts"),
        pytest.param(WORDS, "None", "an element of type NoneType, expected", id="no-texts"),
        pytest.param(WORDS, "x[:, 0]", "an element of type float, expected", id="no-text"),
        pytest.param(ONE, "{'z': x[:, 0]}", "a dict of 'z', expected 'y'", id="other-name"),
        pytest.param(ONE, "{'y': x[:, 0], 3: x}", "a dict of '3', 'y', expected", id="more-names"),
        pytest.param(TWO, "{'sum': x[:, 0]}", "a dict of 'sum', expected 'first'", id="less-names"),
        pytest.param(TWO, "(x[:, 0],)", "1 outputs, expected 2", id="too-few"),
        pytest.param(TWO, "x", "one ndarray, expected 2: 'first', 'sum'", id="one-for-two"),
        pytest.param(ONE, "(x[:, 0], x)", "2 outputs, expected 1: 'y'", id="too-many"),
    ],
)  # fmt: skip
def test_a_wrong_return_is_an_error_never_an_answer(
    user_modules: UserModules, outputs: str, returned: str, told: str
) -> None:
    model = returning(user_modules, outputs, returned)
    with pytest.raises(WrongOutput) as wrong:
        model.run(DEFAULT_SIGNATURE, TWO_ROWS)
    message = str(wrong.value)
    assert message.startswith("written:f, signature 'serving_default', returned ")
    assert told in message


def test_arrays_of_other_frameworks_are_taken_off_their_devices(user_modules: UserModules) -> None:
    model = user_modules.loaded("""
        class Tensor:
            def __init__(self, array, done=()):
                self.array, self.done = array, done
            def detach(self):
                return Tensor(self.array, (*self.done, "detach"))
            def cpu(self):
                return Tensor(self.array, (*self.done, "cpu"))
            def numpy(self):
                assert self.done == ("detach", "cpu")
                return self.array

        class OnDevice:
            dtype = "whatever"
            def __init__(self, array):
                self.array = array
            def __array__(self, dtype=None, copy=None):
                return self.array

        @signature({"x": "float32[-1,2]"}, {"torch": "float32[-1,2]", "jax": "float32[-1,2]"})
        def f(x):
            return {"torch": Tensor(x), "jax": OnDevice(x)}
    """)
    rows = TWO_ROWS["x"].tolist()
    assert run(model, TWO_ROWS) == {"torch": rows, "jax": rows}


# ------------------------------------------------------------------------------- how it is called


@pytest.mark.parametrize(
    "function",
    [
        "def f(b, a): return a - b",
        "def f(*, a, b): return a - b",
        "def f(**inputs): return inputs['a'] - inputs['b']",
        "def f(b, a, more=0): return a - b + more",
    ],
)
def test_inputs_are_passed_by_name(user_modules: UserModules, function: str) -> None:
    model = user_modules.loaded(f"""
@signature({{"a": "int64[-1]", "b": "int64[-1]"}}, {{"y": "int64[-1]"}})
{function}
    """)
    assert run(model, {"b": np.array([1]), "a": np.array([5])}) == {"y": [4]}


@pytest.mark.parametrize(
    "function",
    [
        "def f(rows): return rows + 1",
        "def f(x, step=1): return x + step",
        "def f(step=1, *, x): return x + step",
        "def f(rows, /): return rows + 1",
        "def f(*rows): return rows[0] + 1",
        "def f(**inputs): return inputs['x'] + 1",
    ],
)
def test_an_only_input_may_have_any_name(user_modules: UserModules, function: str) -> None:
    source = f'@signature({{"x": "int64[-1]"}}, {{"y": "int64[-1]"}})\n{function}'
    assert run(user_modules.loaded(source), {"x": np.array([1])}) == {"y": [2]}


def test_what_does_not_tell_its_parameters_gets_an_only_input_by_place(
    user_modules: UserModules,
) -> None:
    source = 'f = signature({"x": "int64[-1,1]"}, {"y": "int64[-1]"})(max)'
    assert run(user_modules.loaded(source), {"x": np.array([[7]])}) == {"y": [7]}


def test_a_function_without_inputs_runs_alone(user_modules: UserModules) -> None:
    model = user_modules.loaded('@signature({}, {"y": "int64[]"})\ndef f(): return 3')
    assert model.signatures[DEFAULT_SIGNATURE].alone == "it has no inputs"
    assert run(model, {}) == {"y": 3}


def test_what_may_not_be_batched_runs_alone_and_may_return_any_number_of_rows(
    user_modules: UserModules,
) -> None:
    model = user_modules.loaded("""
        @signature({"x": "float32[-1,2]"}, {"y": "float32[-1,2]"}, batchable=False)
        def f(x):
            return x[x[:, 0] > 1]
    """)
    assert model.signatures[DEFAULT_SIGNATURE].alone == "it is declared so"
    assert run(model, TWO_ROWS) == {"y": [[3, 4]]}


def test_a_mapping_holds_several_signatures(user_modules: UserModules) -> None:
    model = user_modules.loaded(
        """
        class Model:
            @signature({"x": "int64[-1]"}, {"y": "int64[-1]"})
            def add(self, x):
                return x + 1

        @signature({"x": "int64[-1]"}, {"y": "int64[-1]"})
        def double(x):
            return x * 2

        SIGNATURES = {"serving_default": double, "add": Model().add}
        """,
        "SIGNATURES",
    )
    assert model.platform == "python"
    assert run(model, {"x": np.array([3])}) == {"y": [6]}
    assert run(model, {"x": np.array([3])}, "add") == {"y": [4]}


@pytest.mark.parametrize(
    ("parameter", "spec", "default"),
    [
        ("z=0.5", "float32[-1,2]", [[0.5, 0.5]]),
        ("z=(1, 2)", "float32[-1,2]", [[1, 2]]),
        ("z=((1, 2),)", "float32[-1,2]", [[1, 2]]),
        ("z=np.float32(2)", "float32[]", 2),
        ("z=7", "int8[3]", [7, 7, 7]),
        ("z='én'", "string[-1]", ["én".encode()]),
        ("z=1", "float32[-1,-1]", [[1]]),
        ("z=((1, 2, 3),)", "float32[-1,-1]", [[1, 2, 3]]),
        ("z=[[2]]", "float32[...]", [[2]]),
    ],
)
def test_defaults_of_parameters_are_those_of_inputs(
    user_modules: UserModules, parameter: str, spec: str, default: Any
) -> None:
    model = user_modules.loaded(f"""
@signature({{"x": "float32[-1,2]", "z": "{spec}"}}, {{"y": "float32[-1,2]"}})
def f(x, {parameter}): return x
    """)
    signature = model.signatures[DEFAULT_SIGNATURE]
    assert signature.defaults["z"].tolist() == default
    assert signature.defaults["z"].dtype == signature.inputs["z"].numpy_dtype
    assert list(signature.defaults) == ["z"]


def test_a_default_of_none_is_none(user_modules: UserModules) -> None:
    model = user_modules.loaded("""
@signature({"x": "float32[-1,2]", "z": "float32[-1]"}, {"y": "float32[-1,2]"})
def f(x, z=None): return x
    """)
    assert not model.signatures[DEFAULT_SIGNATURE].defaults


# -------------------------------------------------------------------------------- whom it touches


@pytest.mark.parametrize("writeable", [True, False])
def test_a_function_writes_into_arrays_of_its_own(
    user_modules: UserModules, *, writeable: bool
) -> None:
    model = user_modules.loaded("""
        @signature({"x": "float32[-1,2]"}, {"y": "float32[-1,2]"})
        def f(x):
            x *= 10
            return x
    """)
    given = np.array([[1, 2]], "float32")
    given.setflags(write=writeable)
    assert run(model, {"x": given}) == {"y": [[10, 20]]}
    assert given.tolist() == [[1, 2]]


def test_what_a_function_keeps_and_fills_again_is_not_what_was_answered(
    user_modules: UserModules,
) -> None:
    model = user_modules.loaded("""
        KEPT = np.zeros((1, 2), "float32")

        @signature({"x": "float32[-1,2]"}, {"y": "float32[-1,2]"})
        def f(x):
            np.copyto(KEPT, x)
            return KEPT
    """)
    first, second = (
        model.run(DEFAULT_SIGNATURE, {"x": np.full((1, 2), number, "float32")})["y"]
        for number in (1, 2)
    )
    assert (first.tolist(), second.tolist()) == ([[1, 1]], [[2, 2]])


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        ("InputRejected('no')", InputRejected),
        ("ValueError('no')", ValueError),
        ("MemoryError()", MemoryError),
        ("StopIteration()", StopIteration),
        # Which would not end one row, but the whole batch.
        ("SystemExit(3)", RuntimeError),
    ],
)
def test_what_a_function_raises_is_raised(
    user_modules: UserModules, raised: str, expected: type[Exception]
) -> None:
    model = user_modules.loaded(f"""
@signature({{"x": "float32[-1,2]"}}, {{"y": "float32[-1,2]"}})
def f(x): raise {raised}
    """)
    with pytest.raises(expected) as error:
        model.run(DEFAULT_SIGNATURE, TWO_ROWS)
    assert error.type is expected


def test_arrays_come_as_declared(user_modules: UserModules) -> None:
    model = user_modules.loaded("""
        SEEN = []

        @signature({"s": "string[-1]", "x": "float32[-1,2]"}, {"y": "string[-1]"})
        def f(s, x):
            SEEN.append((type(s), s.dtype, s.shape, x.dtype, x.flags.c_contiguous))
            return [text[::-1] for text in s]

        SIGNATURES = {"f": f}
    """)
    strings: Array = np.array([b"ab", b"\xff\0"], object)
    inputs = {"x": TWO_ROWS["x"].T[::-1], "s": strings}
    assert run(model, inputs) == {"y": [b"ba", b"\0\xff"]}
    (seen,) = user_modules.module("written").SEEN
    assert seen == (np.ndarray, np.dtype(object), (2,), np.dtype("float32"), True)
