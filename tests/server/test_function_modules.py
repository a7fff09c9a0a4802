"""Functions are found, their modules imported anew; whatever is wrong is one line that says so."""

import sys
from typing import Any

import numpy as np
import pytest

from server.errors import StartupError
from server.model import InputRejected
from server.models.function import PythonModel
from server.signature import DEFAULT_SIGNATURE
from tests.server.user_modules import UserModules

PLUS = """
@signature({{"x": "int64[-1]"}}, {{"y": "int64[-1]"}})
def f(x):
    return x + {number}
"""


def plus(model: PythonModel) -> int:
    """What it adds."""
    return int(model.run(DEFAULT_SIGNATURE, {"x": np.array([0])})["y"][0])


def line_of(modules: UserModules, reference: str) -> str:
    """What an operator is told of this reference."""
    with pytest.raises(StartupError) as told:
        modules.load(reference)
    message = str(told.value)
    assert message.startswith(f"cannot load the Python function in {reference}: ")
    assert "\n" not in message
    return message


# ------------------------------------------------------------------------------ modules and names


@pytest.mark.parametrize("name", ["plain", "folder.inner", "folder.deep.inner"])
def test_a_module_is_imported_anew_at_each_load(user_modules: UserModules, name: str) -> None:
    user_modules.write(name, PLUS.format(number=1))
    first = user_modules.load(f"{name}:f")
    user_modules.write(name, PLUS.format(number=2))
    second = user_modules.load(f"{name}:f")
    assert (plus(first), plus(second)) == (1, 2)


@pytest.mark.parametrize(
    "broken",
    ["1 / 0", "raise SystemExit(3)", "syntax error", "f = None", "del f", "import nowhere_at_all"],
)
@pytest.mark.parametrize("name", ["plain", "folder.inner"])
def test_what_was_imported_before_is_back_when_a_load_fails(
    user_modules: UserModules, name: str, broken: str
) -> None:
    user_modules.write(name, PLUS.format(number=1))
    model = user_modules.load(f"{name}:f")
    before = sys.modules[name]
    user_modules.write(name, f"{PLUS.format(number=2)}\n{broken}")
    line_of(user_modules, f"{name}:f")
    assert sys.modules[name] is before
    package, _, last = name.rpartition(".")
    if package:
        assert getattr(sys.modules[package], last) is before
    assert plus(model) == 1


def test_a_failed_first_load_leaves_nothing(user_modules: UserModules) -> None:
    user_modules.write("plain", "f = None")
    line_of(user_modules, "plain:f")
    assert "plain" not in sys.modules
    user_modules.write("plain", PLUS.format(number=1))
    assert plus(user_modules.load("plain:f")) == 1


def test_what_the_server_runs_on_is_not_imported_again(user_modules: UserModules) -> None:
    assert "tells what numpy:tanh takes" in line_of(user_modules, "numpy:tanh")
    assert sys.modules["numpy"] is np


def test_the_working_folder_comes_first(user_modules: UserModules) -> None:
    user_modules.write("plain", PLUS.format(number=1))
    assert str(user_modules.folder) not in sys.path
    user_modules.load("plain:f")
    user_modules.load("plain:f")
    assert sys.path[0] == str(user_modules.folder)
    assert sys.path.count(str(user_modules.folder)) == 1


def test_what_a_module_prints_does_not_come_before_the_address(
    user_modules: UserModules, capsys: pytest.CaptureFixture[str]
) -> None:
    user_modules.write("plain", f"print('hello'){PLUS.format(number=1)}")
    user_modules.load("plain:f")
    assert capsys.readouterr() == ("", "hello\n")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import nowhere_at_all", "ModuleNotFoundError in {file}, line 5: No module named 'now"),
        ("from server.declare import no", "ImportError in {file}, line 5: cannot import name 'no'"),
        ("def g():\n    1 / 0\ng()", "ZeroDivisionError in {file}, line 6: division by zero"),
        ("syntax error", "SyntaxError: invalid syntax (plain.py, line 5)"),
        ("raise SystemExit(3)", "SystemExit in {file}, line 5: 3"),
        ("signature({'x': 'float'}, {})", "ValueError in "),
    ],
)
def test_an_import_that_fails_says_where(user_modules: UserModules, source: str, told: str) -> None:
    user_modules.write("plain", f"\n{source}")
    expected = told.format(file=user_modules.folder / "plain.py")
    line = line_of(user_modules, "plain:f")
    assert f"module 'plain' could not be imported: {expected}" in line


@pytest.mark.parametrize(
    ("reference", "missing"),
    [
        ("nowhere_at_all:f", "nowhere_at_all"),
        ("nowhere_at_all.inner:f", "nowhere_at_all"),
        ("folder.nowhere:f", "folder.nowhere"),
    ],
)
def test_a_module_that_is_not_there_is_told(
    user_modules: UserModules, reference: str, missing: str
) -> None:
    user_modules.write("folder.inner", "")
    line = line_of(user_modules, reference)
    assert f"there is no module '{missing}' in the working folder {user_modules.folder}" in line


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("plain:g", "module 'plain' has no attribute 'g'; it has InputRejected, a, f, np, signatu"),
        ("plain:a.g.h", "plain:a has no attribute 'g'; it has append, clear"),
        ("plain:a.append.x", "plain:a.append has no attribute 'x'; it has no names"),
        ("math:nothing", "module 'math' has no attribute 'nothing'; it has acos, acosh, asin, "),
    ],
)
def test_an_attribute_that_is_not_there_is_told_with_those_that_are(
    user_modules: UserModules, reference: str, told: str
) -> None:
    user_modules.write("plain", f"a = []\n{PLUS.format(number=1)}")
    line = line_of(user_modules, reference)
    assert told in line
    assert line.endswith(", ...") is (reference == "math:nothing")


# ----------------------------------------------------------------------------- what is no function


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("f = [1]", "written:f is a list, which cannot be called"),
        ("f = None", "written:f is a NoneType, which cannot be called"),
        ("f = np", "written:f is a module, which cannot be called"),
        ("class f: pass", "written:f is a class: name an object of it, or a method"),
        ("async def f(x): pass", "written:f is a coroutine function: a plain function"),
        ("def f(x): yield x", "written:f is a generator function: a plain"),
        ("async def f(x): yield x", "written:f is an asynchronous generator function: a"),
        ("class A:\n  async def __call__(self, x): pass\nf = A()", "f is a coroutine function"),
        ("f = {}", "written:f is empty: it has no signatures"),
        ("f = {1: len}", "written:f names a signature 1: names are texts"),
        ("f = {'': len}", "written:f names a signature ''"),
        ("f = {'a': []}", "written:f['a'] is a list, which cannot be called"),
    ],
)
def test_what_is_no_function_of_arrays_is_told(
    user_modules: UserModules, source: str, told: str
) -> None:
    user_modules.write("written", source)
    assert told in line_of(user_modules, "written:f")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("class f: pass", "a signature is that of a function, not of a class: name a method"),
        ("async def f(x): pass", "written:f is a coroutine function: a plain function"),
        ("def f(x): yield x", "written:f is a generator function: a plain function"),
    ],
)
def test_a_declaration_does_not_make_it_one(
    user_modules: UserModules, source: str, told: str
) -> None:
    user_modules.write("written", f"@signature({{'x': 'int8[]'}}, {{'y': 'int8[]'}})\n{source}")
    assert told in line_of(user_modules, "written:f")


@pytest.mark.parametrize(
    ("source", "declared"),
    [
        (
            "def f(a, b): pass",
            '@signature({"a": "float32[-1,4]", "b": "float32[-1,4]"}, {"output_0"',
        ),
        ("def f(a, b=1, *c, **d): pass", '@signature({"a": "float32[-1,4]"}, {"output_0": '),
        ("def f(*a): pass", '@signature({"x": "float32[-1,4]"}, {"output_0": "float32[-1,3]"})'),
        ("f = np.add", 'write served = signature({"x1": "float32[-1,4]", "x2": "float32[-1,4]"}'),
        ("f = max", 'write served = signature({"x": "float32[-1,4]"}'),
        ("f = [].append", "(f), and serve that"),
    ],
)
def test_a_function_that_tells_nothing_is_shown_how_to(
    user_modules: UserModules, source: str, declared: str
) -> None:
    user_modules.write("written", source)
    line = line_of(user_modules, "written:f")
    assert "nothing tells what written:f takes and gives: write " in line
    assert declared in line
    assert line.endswith("(from server.declare import signature)")


@pytest.mark.parametrize(
    ("inputs", "function", "told"),
    [
        ('{"a": "int8[-1]", "b": "int8[-1]"}', "def f(a): pass",
         "f(a) cannot be called with the inputs 'a', 'b': got an unexpected keyword argument 'b'"),
        ('{"a": "int8[-1]"}', "def f(a, b): pass",
         "f(a, b) cannot be called with the inputs 'a': missing a required argument: 'b'"),
        ('{"b": "int8[-1]"}', "def f(a, b): pass", "missing a required argument: 'a'"),
        ('{"a": "int8[-1]", "b": "int8[-1]"}', "def f(a, b, /): pass", "positional"),
        ('{"a": "int8[-1]"}', "def f(): pass", "f() cannot be called with the inputs 'a': too"),
        ("{}", "def f(a): pass", "with the inputs none: missing a required argument: 'a'"),
    ],
)  # fmt: skip
def test_parameters_that_do_not_fit_the_inputs_are_told(
    user_modules: UserModules, inputs: str, function: str, told: str
) -> None:
    user_modules.write("written", f"@signature({inputs}, {{'y': 'int8[-1]'}})\n{function}")
    assert told in line_of(user_modules, "written:f")


@pytest.mark.parametrize(
    ("spec", "default"),
    [
        ("int8[-1]", "0.5"),
        ("int8[-1]", "300"),
        ("float32[-1,3]", "(1, 2)"),
        ("float32[-1,3]", "((1, 2, 3), (4, 5, 6))"),
        ("float32[-1]", "'text'"),
        ("float32[-1]", "object()"),
        ("float32[]", "[1, 2]"),
        ("string[-1]", "1"),
    ],
)
def test_a_default_that_does_not_fit_its_input_is_told(
    user_modules: UserModules, spec: str, default: str
) -> None:
    user_modules.write(
        "written",
        f"@signature({{'x': 'int8[-1]', 'z': '{spec}'}}, {{'y': 'int8[-1]'}})\n"
        f"def f(x, z={default}): return x",
    )
    assert f"the default of 'z' in written:f does not fit {spec}" in line_of(
        user_modules, "written:f"
    )


# ------------------------------------------------------------------------------ inferred signatures


FITTED = """
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

ROWS = np.random.default_rng(1).random((40, 3))
PLACES = (ROWS.sum(axis=1) > 1.5).astype(int)
line = LinearRegression().fit(ROWS, ROWS @ np.array([[1.0, 2.0], [0.0, 1.0], [0.0, 0.0]]))
classes = DecisionTreeClassifier().fit(ROWS, PLACES)
names = DecisionTreeClassifier().fit(ROWS, np.array(["low", "high"])[PLACES])
objects = DecisionTreeClassifier().fit(ROWS, np.array(["low", "high"], object)[PLACES])
pipeline = make_pipeline(StandardScaler(), DecisionTreeClassifier()).fit(ROWS, PLACES)
scaler = StandardScaler().fit(ROWS)
unfitted = DecisionTreeClassifier()
"""

BY_HAND = """
class ByHand:
    n_features_in_ = 3
    def predict(self, X):
        return [X[:, 0], X.astype("float32")]
    def total(self, X):
        return X.sum()
    def one(self, X):
        return X[:1]
    def things(self, X):
        return np.array([object() for row in X])
    def times(self, X):
        return np.zeros(len(X), "datetime64[s]")
    def extended(self, X):
        return X.astype("longdouble")
    def widening(self, X):
        return np.zeros((len(X), len(X)))
    def frame(self, X):
        return X["column"]

ROWS = np.ones((4, 3))
by_hand = ByHand()
"""


@pytest.mark.parametrize(
    ("attribute", "outputs"),
    [
        ("line", {"output_0": "float64[-1,2]"}),
        ("line.predict", {"output_0": "float64[-1,2]"}),
        ("classes", {"output_0": "int64[-1]"}),
        ("classes.predict_proba", {"output_0": "float64[-1,2]"}),
        ("names", {"output_0": "string[-1]"}),
        ("objects", {"output_0": "string[-1]"}),
        ("pipeline.predict_proba", {"output_0": "float64[-1,2]"}),
        ("scaler.transform", {"output_0": "float64[-1,3]"}),
        ("by_hand", {"output_0": "float64[-1]", "output_1": "float32[-1,3]"}),
    ],
)
def test_a_fitted_estimator_tells_its_signature(
    user_modules: UserModules, attribute: str, outputs: dict[str, str]
) -> None:
    model = user_modules.loaded(BY_HAND if attribute == "by_hand" else FITTED, attribute)
    signature = model.signatures[DEFAULT_SIGNATURE]
    assert {name: str(spec) for name, spec in signature.inputs.items()} == {"X": "float64[-1,3]"}
    assert {name: str(spec) for name, spec in signature.outputs.items()} == outputs
    assert signature.batchable

    module: Any = user_modules.module("written")
    holder, _, method = attribute.partition(".")
    direct = getattr(getattr(module, holder), method or "predict")(module.ROWS)
    parts = direct if isinstance(direct, list) else [direct]
    answered = model.run(DEFAULT_SIGNATURE, {"X": module.ROWS})
    for part, array in zip(parts, answered.values(), strict=True):
        texts = array.dtype == object
        assert ([text.decode() for text in array] if texts else array.tolist()) == part.tolist()


@pytest.mark.parametrize(
    ("attribute", "told"),
    [
        ("scaler", "written:scaler is a StandardScaler, which cannot be called"),
        ("unfitted", "nothing tells what written:unfitted.predict takes and gives: write served ="),
        ("by_hand.total", "does not show its signature, it returns float64[] for 2 rows: write"),
        ("by_hand.one", "it returns float64[1,3] for 2 rows"),
        ("by_hand.things", "it returns object[2] for 2 rows"),
        ("by_hand.times", "it returns datetime64[s][2] for 2 rows"),
        ("by_hand.extended", "[2,3] for 2 rows"),
        ("by_hand.widening", "it returns float64[2,2] for 2 rows"),
        ("by_hand.frame", "does not take 3 numbers a row, by which it was fitted: write served ="),
        ("by_hand.frame", '"X": "float32[-1,4]"}, {"output_0": "float32[-1,3]"})(by_hand.frame)'),
    ],
)
def test_an_estimator_that_does_not_tell_has_to_declare(
    user_modules: UserModules, attribute: str, told: str
) -> None:
    user_modules.write("written", BY_HAND if attribute.startswith("by_hand") else FITTED)
    assert told in line_of(user_modules, f"written:{attribute}")


SESSION = """
class InvalidArgument(Exception):
    pass

class Tensor:
    def __init__(self, name, type, shape):
        self.name, self.type, self.shape = name, type, shape

class Session:
    kind = "tensor(float)"
    def get_inputs(self):
        return [Tensor("x", self.kind, ["N", 2]), Tensor("s", "tensor(string)", [None])]
    def get_outputs(self):
        return [Tensor("y", "tensor(double)", ["N", 2]), Tensor("t", "tensor(string)", [])]
    def run(self, names, inputs):
        if inputs["x"].min() < 0:
            raise InvalidArgument("idx=-1")
        assert names is None and all(type(text) is str for text in inputs["s"])
        return [inputs["x"].astype("float64"), inputs["s"]]

class Odd(Session):
    kind = "seq(map(int64,tensor(float)))"

session, odd = Session(), Odd()
"""


def test_a_session_tells_its_signature(user_modules: UserModules) -> None:
    model = user_modules.loaded(SESSION, "session")
    signature = model.signatures[DEFAULT_SIGNATURE]
    specs = {**signature.inputs, **signature.outputs}
    assert {name: str(spec) for name, spec in specs.items()} == {
        "x": "float32[-1,2]",
        "s": "string[-1]",
        "y": "float64[-1,2]",
        "t": "string of any rank",
    }
    assert signature.batchable
    inputs = {"x": np.ones((1, 2), "float32"), "s": np.array(["é".encode()], object)}
    outputs = model.run(DEFAULT_SIGNATURE, inputs)
    assert outputs["y"].tolist() == [[1, 1]]
    assert outputs["t"].tolist() == ["é".encode()]


@pytest.mark.parametrize(
    ("x", "s", "told"),
    [(-1, b"", "^InvalidArgument, by ONNX Runtime$"), (1, b"\xff", "input 's' is not UTF-8")],
)
def test_a_session_that_refuses_its_input_says_no_more(
    user_modules: UserModules, x: float, s: bytes, told: str
) -> None:
    model = user_modules.loaded(SESSION, "session")
    inputs = {"x": np.full((1, 2), x, "float32"), "s": np.array([s], object)}
    with pytest.raises(InputRejected, match=told):
        model.run(DEFAULT_SIGNATURE, inputs)


def test_a_session_that_fails_otherwise_fails(user_modules: UserModules) -> None:
    source = SESSION.replace("class InvalidArgument(Exception)", "class Other(ArithmeticError)")
    model = user_modules.loaded(source.replace("raise InvalidArgument", "raise Other"), "session")
    with pytest.raises(ArithmeticError):
        model.run(
            DEFAULT_SIGNATURE,
            {"x": np.full((1, 2), -1, "float32"), "s": np.array([b""], object)},
        )


def test_a_session_of_what_is_no_array_is_told(user_modules: UserModules) -> None:
    user_modules.write("written", SESSION)
    line = line_of(user_modules, "written:odd")
    assert "'x' is a seq(map(int64,tensor(float))), which no array can hold" in line
