"""`batcher-server convert`: the file answers as its model does, and the table says how nearly."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from server.cli.convert import convert
from server.config import ConfigError
from server.conversion import comparison
from server.demo import DIGITS
from server.demo.scans import held_out, training
from server.errors import StartupError
from server.models import load
from server.models.notes import silence
from server.models.tensorflow_runtime import tf
from tests.server import old_saved_models, saved_models, tflite_files
from tests.server.process import run_to_end


def converted(*arguments: object) -> str:
    """What the command writes to standard output; its errors are raised."""
    result = CliRunner().invoke(
        convert, [*map(str, arguments), "--sizes", "2"], standalone_mode=False
    )
    if result.exception:
        raise result.exception
    return result.stdout


def told(*arguments: object) -> str:
    """The one line of its error."""
    with pytest.raises((ConfigError, StartupError)) as error:
        converted(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files with rows."""
    folder = tmp_path_factory.mktemp("rows")
    random = np.random.default_rng(0)
    np.save(folder / "pairs.npy", random.normal(size=(50, 2)))
    np.save(folder / "triples.npy", random.normal(size=(50, 3)))
    np.save(folder / "few.npy", random.normal(size=(3, 2)))
    np.save(folder / "one.npy", np.float32(1))
    np.save(folder / "words.npy", np.array([["a", "b"]]))
    np.save(folder / "labels.npy", np.arange(50))
    np.savez(folder / "both.npz", a=random.normal(size=(50, 2)), b=random.normal(size=(50, 2)))
    (folder / "text.npy").write_text("1, 2, 3")
    return folder


@pytest.fixture(autouse=True)
def _measure_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "SECONDS", 0.0)


@pytest.fixture
def _among_rows(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(rows)


def test_the_bundled_model_is_converted_and_compared_by_the_command(tmp_path: Path) -> None:
    scans, labels = held_out()
    np.save(tmp_path / "training.npy", training()[0][:200])
    np.save(tmp_path / "scans.npy", scans)
    np.save(tmp_path / "labels.npy", labels)
    code, output, log = run_to_end(
        *("convert", str(DIGITS), str(tmp_path / "digits.tflite"), "--quantize", "int8"),
        *("--representative", str(tmp_path / "training.npy"), "--sizes", "1,64"),
        *("--rows", str(tmp_path / "scans.npy"), "--labels", str(tmp_path / "labels.npy")),
    )
    assert (code, log) == (0, "")
    lines = {line.partition("  ")[0].strip(): line.split() for line in output.splitlines()}
    original, smaller = (int(n.replace(",", "")) for n in lines["bytes of all files"][-3:-1])
    assert smaller < original / 3
    assert {"rows/s, 1 at a time", "rows/s, 64 at a time"} <= lines.keys()
    right, still_right = (float(n.rstrip("%")) for n in lines["accuracy, probabilities"][-3:-1])
    assert still_right >= right - 1
    assert "answers apart: 360 rows" in output
    maximum, mean, largest = map(float, lines["probabilities"][-3:])
    assert 0 < mean < maximum < 0.05 < largest
    file = load(tmp_path / "digits.tflite")
    assert (tmp_path / "digits.tflite").stat().st_size == smaller
    scores = file.run("serving_default", {"images": scans})["probabilities"]
    assert round((scores.argmax(axis=1) == labels).mean() * 100, 2) == still_right


def test_an_error_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    code, output, log = run_to_end("convert", str(tmp_path), str(tmp_path / "x.tflite"))
    assert (code, output) == (2, "")
    assert log.startswith(f"batcher-server: model path {tmp_path} holds no model")
    assert log.count("\n") == 1


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base folder: signatures of one and of two inputs that share a variable; no batch in one."""
    weights = tf.Variable([[2.0, 3.0]])
    pair = ("float32", [None, 2])
    module = tf.Module()
    module.weights = weights
    functions = {
        "times": tf.function(lambda x: {"y": x * weights}).get_concrete_function(
            x=tf.TensorSpec(pair[1], name="x")
        ),
        "minus": tf.function(lambda b, a: {"z": a - b * weights, "a": a}).get_concrete_function(
            b=tf.TensorSpec(pair[1], name="b"), a=tf.TensorSpec(pair[1], name="a")
        ),
        "fixed": tf.function(lambda f: {"y": f + weights}).get_concrete_function(
            f=tf.TensorSpec([1, 2], name="f")
        ),
    }
    module.functions = functions
    base = tmp_path_factory.mktemp("several")
    tf.saved_model.save(module, str(base / "7"), signatures=functions)
    return base


@pytest.mark.parametrize(("how", "tolerance"), [("none", 1e-6), ("int8", 0.1)])
def test_all_signatures_are_converted_with_their_names(
    several: Path, rows: Path, tmp_path: Path, how: str, tolerance: float
) -> None:
    output = converted(
        *(several, tmp_path / "x.tflite", "--quantize", how),
        *("--representative", rows / "both.npz", "--representative", f"x={rows / 'pairs.npy'}"),
        *("--representative", f"f={rows / 'pairs.npy'}"),
    )
    for name in ("times", "minus", "fixed"):
        assert f"answers apart: signature '{name}', 50 rows\n" in output
    original, file = load(several / "7"), load(tmp_path / "x.tflite")
    pairs = np.load(rows / "pairs.npy").astype("f4")
    for name, inputs in {
        "times": {"x": pairs},
        "minus": {"a": pairs, "b": pairs[::-1]},
        "fixed": {"f": pairs[:1]},
    }.items():
        assert file.signatures[name].inputs.keys() == original.signatures[name].inputs.keys()
        expected, came = original.run(name, inputs), file.run(name, inputs)
        assert came.keys() == expected.keys()
        for output_name, answer in expected.items():
            np.testing.assert_allclose(came[output_name], answer, rtol=0, atol=tolerance)


def test_a_keras_model_keeps_its_weights(tmp_path: Path) -> None:
    layers = [tf.keras.Input((3,), name="x"), tf.keras.layers.Dense(4, activation="tanh")]
    network = tf.keras.Sequential(layers)
    with silence():
        network.save(tmp_path / "dense.keras")
    output = converted(tmp_path / "dense.keras", tmp_path / "dense.tflite")
    assert "made-up rows: give --rows for real ones" in output
    (name,) = load(tmp_path / "dense.tflite").signatures["serving_default"].inputs
    values = np.random.default_rng(0).normal(size=(5, 3)).astype("f4")
    (came,) = load(tmp_path / "dense.tflite").run("serving_default", {name: values}).values()
    np.testing.assert_allclose(came, network(values).numpy(), rtol=1e-5, atol=1e-6)


def test_weights_are_kept_that_the_converter_itself_loses(tmp_path: Path) -> None:
    network = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(2)])
    module = tf.Module()
    module.network = network
    serve = tf.function(lambda x: {"y": network(x)}).get_concrete_function(
        x=tf.TensorSpec([None, 3], name="x")
    )
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"serving_default": serve})
    converted(tmp_path, tmp_path / "x.tflite")
    values = np.eye(3, dtype="f4")
    came = load(tmp_path / "x.tflite").run("serving_default", {"x": values})["y"]
    np.testing.assert_allclose(came, network(values).numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--quantize", "int8"], "--quantize int8 needs --representative"),
        (["--rows", "pairs.npy", "--labels", "pairs.npy"], "pairs.npy: expected a whole number"),
        (["--labels", "labels.npy"], "--labels needs the rows that they are for"),
        (["--rows", "x=few.npy", "--labels", "labels.npy"], "has 50 labels for 3 rows"),
        (["--rows", "nothing.npy"], "nothing.npy is no .npy or .npz file that can be read: No"),
        (["--rows", "text.npy"], "text.npy is no .npy or .npz file that can be read"),
        (["--rows", "=pairs.npy"], "--rows takes FILE or NAME=FILE, not '="),
        (["--rows", "q=pairs.npy"], "--rows has rows for input 'q', expected INPUT=FILE with"),
        (["--rows", "x=one.npy"], "one.npy: expected an array of rows, got the shape []"),
        (["--rows", "x=words.npy"], "input 'x' is float32[-1,2], its rows in the file are <U1"),
        (["--rows", "x=triples.npy"], "its rows in the file are float64[50,3]"),
        (
            ["--rows", "a=pairs.npy", "--rows", "b=few.npy"],
            "as many for each input of signature 'minus'; got 'a': 50, 'b': 3",
        ),
        (
            ["--quantize", "int8", "--representative", "x=pairs.npy"],
            "--representative must have rows for all inputs of signature 'fixed': 'f'; it has 'x'",
        ),
    ],
)
@pytest.mark.usefixtures("_among_rows")
def test_wrong_rows_are_told(
    several: Path, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    assert expected in told(several, tmp_path / "x.tflite", *arguments)
    assert not (tmp_path / "x.tflite").exists()


def test_rows_need_the_name_of_their_input_where_there_are_several(
    models: dict[str, Path], rows: Path, tmp_path: Path
) -> None:
    line = told(models["two_by_two"], tmp_path / "x.tflite", "--rows", rows / "pairs.npy")
    assert "rows without the name of their input, expected INPUT=FILE with one of 'a', 'b'" in line


def test_sizes_are_numbers(several: Path, tmp_path: Path) -> None:
    code, _, log = run_to_end("convert", str(several), str(tmp_path / "x"), "--sizes", "1,0")
    assert (code, log.count("\n")) == (2, 1)
    assert "--sizes takes whole numbers from 1 to 65,536 with commas between, not '1,0'" in log


def test_a_file_that_exists_is_replaced_only_if_told_so(
    models: dict[str, Path], tmp_path: Path
) -> None:
    target = tmp_path / "x.tflite"
    target.write_bytes(b"mine")
    assert "exists already: --force replaces it" in told(models["half_plus_two"], target)
    assert target.read_bytes() == b"mine"
    converted(models["half_plus_two"], target, "--force")
    half = load(target).run("serving_default", {"x": np.array([[1], [2]], "f4")})
    assert half["y"].tolist() == [[2.5], [3]]
    assert [each.name for each in tmp_path.iterdir()] == ["x.tflite"]


@pytest.mark.parametrize(
    ("target", "expected"),
    [(".", "is a folder, expected the name of a file"), ("no/x", "its folder does not exist")],
)
def test_a_place_that_cannot_be_written_is_told_first(
    tmp_path: Path, target: str, expected: str
) -> None:
    assert expected in told("no model either", tmp_path / target)


def test_what_is_not_tensorflows_cannot_be_converted(tmp_path: Path) -> None:
    content = tflite_files.without_signatures(lambda x: x * 2.0, ("x", [None, 2]))
    (tmp_path / "old.tflite").write_bytes(content)
    line = told(tmp_path / "old.tflite", tmp_path / "new.tflite")
    assert "is a TensorFlow Lite model: only SavedModels and Keras models can be" in line


def test_an_op_that_tensorflow_lite_does_not_have_is_named(tmp_path: Path) -> None:
    base = saved_models.save(
        tmp_path / "base",
        1,
        {"serving_default": (lambda x: {"y": tf.math.erfinv(x) * 2.0}, {"x": ("float64", [None])})},
    )
    line = told(base, tmp_path / "x.tflite")
    assert "it has no op for Erfinv of tensor<?xf64>, Mul of tensor<?xf64>, tensor<f64>" in line
    assert not (tmp_path / "x.tflite").exists()


def test_a_graph_of_tensorflow_1_is_converted_if_it_has_no_variables(tmp_path: Path) -> None:
    base = old_saved_models.of_tensorflow_1(tmp_path / "old")
    assert "its variables are references" in told(base, tmp_path / "x.tflite")
    converted(old_saved_models.simply_saved(tmp_path / "simple"), tmp_path / "y.tflite")


def test_state_of_an_optimizer_is_told(tmp_path: Path) -> None:
    base = old_saved_models.with_an_optimizer(tmp_path / "old")
    line = told(base, tmp_path / "x.tflite")
    assert "save it again, without the state of an optimizer ('_UserObject'" in line


def test_a_model_that_does_not_load_is_told(tmp_path: Path) -> None:
    broken = shutil.copytree(DIGITS / "1", tmp_path / "digits")
    shutil.rmtree(broken / "variables")
    assert f"cannot load the SavedModel in {broken}" in told(broken, tmp_path / "x.tflite")
