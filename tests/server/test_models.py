"""Models are recognised and loaded; whatever is wrong with one is a line that names its path."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.demo import DIGITS
from server.model import InputRejected
from server.models import detect, load
from server.models.tensorflow_model import LARGE
from server.signature import Array
from tests.server import saved_models
from tests.server.loaded import line_of


def test_a_model_is_recognised_by_its_file(tmp_path: Path) -> None:
    assert detect(tmp_path) is None
    assert detect(tmp_path / "missing") is None
    (tmp_path / "saved_model.pb").mkdir()
    assert detect(tmp_path) is None
    (tmp_path / "saved_model.pb").rmdir()
    (tmp_path / "saved_model.pb").touch()
    known = detect(tmp_path)
    assert known is not None
    assert known.format.name == "SavedModel"


@pytest.mark.parametrize("folder", [".", "missing"])
def test_no_model_is_told(tmp_path: Path, folder: str) -> None:
    assert "holds no model: expected saved_model.pb, " in line_of(tmp_path / folder)


@pytest.mark.parametrize("content", [b"not a protobuf", b"\x00\xff\xfe", b"\x0a\xff\xff\xff\x0f"])
def test_a_corrupt_model_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "saved_model.pb").write_bytes(content)
    assert "cannot load the SavedModel" in line_of(tmp_path)


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").touch()
    assert "cannot load the SavedModel" in line_of(tmp_path)


def test_a_model_whose_variables_are_gone_is_told(tmp_path: Path) -> None:
    path = shutil.copytree(DIGITS / "1", tmp_path / "digits")
    shutil.rmtree(path / "variables")
    assert "cannot load the SavedModel" in line_of(path)


def test_a_model_without_signatures_is_told(tmp_path: Path) -> None:
    path = saved_models.save(tmp_path / "empty", 1, {}) / "1"
    assert "has no signatures" in line_of(path)


def test_signatures_have_names_dtypes_and_shapes(models: dict[str, Path]) -> None:
    (signature,) = load(models["two_by_two"] / "1").signatures.values()
    assert {name: str(spec) for name, spec in signature.inputs.items()} == {
        "a": "float32[-1,2]",
        "b": "float32[-1,2]",
    }
    assert sorted(signature.outputs) == ["difference", "sum"]
    assert signature.batchable


def test_shapes_tell_which_signatures_run_alone(models: dict[str, Path]) -> None:
    signatures = load(models["odd_ones"] / "1").signatures
    alone = {name for name, signature in signatures.items() if not signature.batchable}
    assert alone == {"scalar", "static", "total"}
    assert signatures["lengths"].outputs["y"].shape is None


def test_signatures_have_the_names_of_their_graph(models: dict[str, Path]) -> None:
    signature = load(models["of_examples"] / "1").signatures["regress_x_to_y"]
    assert signature.method_name == "tensorflow/serving/regress"
    assert signature.inputs["inputs"].tensor_name == "tf_example:0"
    assert signature.outputs["outputs"].tensor_name == "y:0"
    assert not signature.defaults


def test_inputs_that_may_be_left_out_have_their_default(models: dict[str, Path]) -> None:
    (signature,) = load(models["left_out"] / "1").signatures.values()
    (name,) = signature.defaults
    assert (name, signature.defaults[name].tolist()) == ("z", [[10.0]])
    assert signature.defaults[name].dtype == signature.inputs[name].numpy_dtype


@pytest.mark.parametrize(
    "strings",
    [
        np.array(b"a\0", object),
        np.array([b"a\0", b"\xff"], object),
        np.empty((2, 0), object),
        np.array([[[b""]]], object),
    ],
    ids=["scalar", "bytes", "empty", "cube"],
)
def test_strings_are_arrays_of_bytes_both_ways(models: dict[str, Path], strings: Array) -> None:
    back = load(models["any_shape"] / "1").run("string", {"x": strings})["y"]
    assert isinstance(back, np.ndarray)
    assert back.dtype == object
    assert back.shape == strings.shape
    assert back.tolist() == strings.tolist()


def test_scalars_are_arrays_too(models: dict[str, Path]) -> None:
    total = load(models["odd_ones"] / "1").run("total", {"x": np.ones((2, 2), "float32")})["y"]
    assert isinstance(total, np.ndarray)
    assert (total.shape, total.dtype, total.item()) == ((), np.dtype("float32"), 4.0)


@pytest.mark.parametrize("serialized", [b"", b"no example", b"\xff\xfe"])
def test_what_is_no_example_is_refused_even_if_it_is_no_text(
    models: dict[str, Path], serialized: bytes
) -> None:
    model = load(models["of_examples"] / "1")
    with pytest.raises(InputRejected) as refused:
        model.run("regress_x_to_y", {"inputs": np.array([serialized], object)})
    assert "no example" not in str(refused.value)
    assert "\xff" not in str(refused.value)


def test_a_model_runs_again_after_it_has_refused(models: dict[str, Path]) -> None:
    model = load(models["odd_ones"] / "1")
    good = np.array([[1, 2]], "float32")
    with pytest.raises(InputRejected) as refused:
        model.run("no_negatives", {"x": np.array([[31337, -1]], "float32")})
    assert "31337" not in str(refused.value)
    assert "InvalidArgumentError in node" in str(refused.value)
    assert model.run("no_negatives", {"x": good})["y"].tolist() == [[1, 2]]


@pytest.mark.parametrize("length", [1, LARGE])
def test_large_graphs_answer_as_small_ones(tmp_path: Path, length: int) -> None:
    def chained(x: Any) -> dict[str, Any]:
        for _ in range(length):
            x += 1.0
        return {"y": x}

    row: saved_models.Inputs = {"x": ("float32", [None, 2])}
    path = saved_models.save(tmp_path, 1, {"serving_default": (chained, row)}) / "1"
    outputs = load(path).run("serving_default", {"x": np.array([[1, 2]], "float32")})
    assert outputs["y"].tolist() == [[1 + length, 2 + length]]
