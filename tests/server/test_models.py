"""Models are recognised and loaded; whatever is wrong with one is a line that names its path."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from server.demo import DIGITS
from server.errors import StartupError
from server.model import InputRejected
from server.models import detect, load
from tests.server import saved_models


def line_of(path: Path) -> str:
    """What an operator is told of this model."""
    with pytest.raises(StartupError) as told:
        load(path)
    message = str(told.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_a_model_is_recognised_by_its_file(tmp_path: Path) -> None:
    assert detect(tmp_path) is None
    assert detect(tmp_path / "missing") is None
    (tmp_path / "saved_model.pb").mkdir()
    assert detect(tmp_path) is None
    (tmp_path / "saved_model.pb").rmdir()
    (tmp_path / "saved_model.pb").touch()
    known = detect(tmp_path)
    assert known is not None
    assert known.name == "SavedModel"


@pytest.mark.parametrize("folder", [".", "missing"])
def test_no_model_is_told(tmp_path: Path, folder: str) -> None:
    assert "holds no model: expected saved_model.pb in it" in line_of(tmp_path / folder)


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


def test_a_model_runs_again_after_it_has_refused(models: dict[str, Path]) -> None:
    model = load(models["odd_ones"] / "1")
    good = np.array([[1, 2]], "float32")
    with pytest.raises(InputRejected) as refused:
        model.run("no_negatives", {"x": np.array([[31337, -1]], "float32")})
    assert "31337" not in str(refused.value)
    assert "InvalidArgumentError in node" in str(refused.value)
    assert model.run("no_negatives", {"x": good})["y"].tolist() == [[1, 2]]
