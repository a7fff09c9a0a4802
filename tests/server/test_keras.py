"""Files of Keras answer as the model that was saved; what a stranger hid in one does not run."""

import gc
import json
import tempfile
import weakref
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from server.config import Config, ModelConfig
from server.demo.scans import held_out
from server.models import load
from server.models.keras import _require_keras
from server.models.keras_config import refuse
from server.signature import Tensors
from tests.server import keras_files
from tests.server.conftest import Served
from tests.server.keras_files import Change, edited, edited_hdf5, keras
from tests.server.loaded import assert_answers_as_trained, line_of

FORMATS = ["keras", "h5"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The trained model, and one with several inputs and outputs, in each format."""
    folder = tmp_path_factory.mktemp("keras")
    models = {"digits": keras_files.trained(), "several": keras_files.several()}
    return {
        f"{name}.{suffix}": keras_files.save(model, folder / f"{name}.{suffix}")
        for name, model in models.items()
        for suffix in FORMATS
    }


@pytest.fixture(scope="module")
def digits(files: dict[str, Path]) -> Iterator[Served]:
    """The trained model served from each format."""
    served = Served(Config(tuple(ModelConfig(name, files[f"digits.{name}"]) for name in FORMATS)))
    yield served
    served.close()


@pytest.mark.parametrize("name", FORMATS)
def test_a_trained_model_is_served_as_it_answers_itself(digits: Served, name: str) -> None:
    assert_answers_as_trained(digits, name)


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_platform_is_keras_and_the_signature_takes_any_number_of_rows(
    files: dict[str, Path], suffix: str
) -> None:
    model = load(files[f"digits.{suffix}"])
    assert model.platform == "keras"
    ((name, signature),) = model.signatures.items()
    assert (name, signature.batchable) == ("serving_default", True)
    assert {key: str(spec) for key, spec in signature.inputs.items()} == {"scan": "float32[-1,8,8]"}
    assert {key: str(spec) for key, spec in signature.outputs.items()} == {
        "output_0": "float32[-1,10]"
    }


INPUTS: dict[str, Tensors] = {
    "digits": {"scan": held_out()[0][:3]},
    "several": {
        "left_one": np.array([[1, 2], [3, 4]], np.float32),
        "right_one": np.array([[5, 6], [7, 8]], np.float32),
        "word": np.array([b"one", b"two"], object),
    },
}


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_answers_the_requests_of_its_export_the_same(
    files: dict[str, Path], tmp_path: Path, name: str, suffix: str
) -> None:
    path = files[f"{name}.{suffix}"]
    keras_files.load_trusted(path).export(tmp_path / "exported", verbose=False)
    exported, model = load(tmp_path / "exported"), load(path)
    of_export, of_file = (each.signatures["serving_default"] for each in (exported, model))
    for theirs, ours in ((of_export.inputs, of_file.inputs), (of_export.outputs, of_file.outputs)):
        assert {key: str(spec) for key, spec in ours.items()} == {
            key: str(spec) for key, spec in theirs.items()
        }
    assert of_file.inputs.keys() == INPUTS[name].keys()
    expected = exported.run("serving_default", INPUTS[name])
    answer = model.run("serving_default", INPUTS[name])
    assert answer.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_allclose(answer[key], array, rtol=1e-5, atol=1e-7)


def test_names_do_not_depend_on_what_was_loaded_before(files: dict[str, Path]) -> None:
    keras.Sequential([keras.Input((1,))])
    once, again = (load(files["several.keras"]).signatures["serving_default"] for _ in range(2))
    assert list(once.inputs) == list(again.inputs) == ["left_one", "right_one", "word"]
    assert list(once.outputs) == list(again.outputs) == ["difference", "place"]


def test_what_a_file_is_shows_in_its_content(files: dict[str, Path], tmp_path: Path) -> None:
    for suffix in FORMATS:
        path = tmp_path / suffix / "model.bin"
        path.parent.mkdir()
        path.write_bytes(files[f"digits.{suffix}"].read_bytes())
        assert load(path.parent).platform == "keras"


@pytest.mark.parametrize("suffix", FORMATS)
def test_nothing_of_a_dropped_model_stays(files: dict[str, Path], suffix: str) -> None:
    model: Any = load(files[f"digits.{suffix}"])
    kept = [weakref.ref(each) for each in (model, model._kept, *model._kept.layers)]
    kept += [weakref.ref(variable.value) for variable in model._kept.variables]
    assert len(kept) > 8
    model.run("serving_default", INPUTS["digits"])
    del model
    gc.collect()
    assert [reference() for reference in kept if reference() is not None] == []


WRAPPED: dict[str, Callable[[Any], Any]] = {
    "plain": lambda layer: layer,
    "in a model": lambda layer: keras.Sequential([keras.Input((3, 2)), layer]),
    "over time": keras.layers.TimeDistributed,
}


@pytest.mark.parametrize("wrap", WRAPPED)
@pytest.mark.parametrize("suffix", FORMATS)
def test_code_in_a_file_does_not_run(tmp_path: Path, suffix: str, wrap: str) -> None:
    marker = tmp_path / "was here"
    path = tmp_path / f"model.{suffix}"
    keras_files.save(keras_files.with_code(marker, WRAPPED[wrap]), path)
    marker.unlink(missing_ok=True)
    assert "its Lambda layer holds code" in line_of(path)
    assert not marker.exists()
    keras_files.load_trusted(path)(np.zeros((1, 3, 2)))
    assert marker.exists()


def layer(name: str, module: str | None = "keras.layers", **config: Any) -> dict[str, Any]:
    return {"module": module, "class_name": name, "config": config}


def activation(module: str | None, name: str) -> dict[str, Any]:
    """A layer that calls this function."""
    function = {"module": module, "class_name": "function", "config": name}
    return layer("Activation", activation={**function, "registered_name": name})


HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "any function": (activation("os", "system"), "'os.system'"),
    "any class": (layer("Popen", "subprocess", args="true"), "'subprocess.Popen'"),
    "inner class": (layer("SavedModel", "keras.src.export.saved_model"), "'keras.src.export"),
    "download": (activation("keras.utils", "get_file"), "'keras.utils.get_file'"),
    "dotted": (activation("keras", "utils.get_file"), "'keras.utils.get_file'"),
    "safe mode": (activation("keras.config", "enable_unsafe_deserialization"), "'keras.config."),
    "top level": (activation("keras", "device"), "'keras.device'"),
    "loads": (activation("keras.models", "load_model"), "'keras.models.load_model'"),
    "no module": (activation(None, "system"), "'system'"),
    "lambda": (layer("Activation", activation=layer("__lambda__", None, code="")), "holds code"),
    "SavedModel": (layer("TFSMLayer", filepath="/tmp/model"), "its TFSMLayer layer holds code"),
    "pickle": (layer("TorchModuleWrapper", module=""), "its TorchModuleWrapper layer holds"),
    "legacy class": (layer("Popen", None, args="true"), "'Popen'"),
    "registered": ({**layer("Dense", units=1), "registered_name": "Mine>Dense"}, "not of Keras"),
    "number": ({**layer("Dense", units=1), "class_name": 3}, "not of Keras"),
    "vocabulary": (layer("StringLookup", vocabulary="/etc/hosts"), "another file: '/etc/hosts'"),
    "texts": (layer("TextVectorization", vocabulary="/etc/hosts"), "another file: '/etc/hosts'"),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("suffix", FORMATS)
def test_what_a_file_must_not_name_is_refused(
    files: dict[str, Path], tmp_path: Path, suffix: str, case: str
) -> None:
    part, told = HOSTILE[case]
    edit = edited if suffix == "keras" else edited_hdf5
    path = edit(
        files[f"digits.{suffix}"],
        tmp_path / f"model.{suffix}",
        lambda config: config["config"]["layers"].insert(1, part),
    )
    assert told in line_of(path)


def test_a_loss_of_ones_own_does_not_keep_a_model_from_being_served(
    files: dict[str, Path], tmp_path: Path
) -> None:
    def change(config: Any) -> None:
        config["compile_config"]["loss"] = layer("MyLoss", "mine")

    path = edited(files["digits.keras"], tmp_path / "model.keras", change)
    assert load(path).platform == "keras"


def test_parts_of_models_are_allowed_wherever_keras_keeps_them() -> None:
    parts = [
        layer("Dense"),
        layer("Functional", "keras.src.models.functional"),
        layer("Add", "keras.src.ops.numpy"),
        layer("Sequential", "keras"),
        layer("DTypePolicy", "keras"),
        activation("builtins", "relu"),
        activation("keras.activations", "relu"),
        {"class_name": "__tuple__", "items": [1, 2]},
        {"class_name": "Dense", "config": {"units": 1}},
    ]
    refuse({"config": {"layers": parts}}, {"relu", "Dense"}.__contains__)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_class_of_ones_own_is_told_with_what_to_do(
    files: dict[str, Path], tmp_path: Path, suffix: str
) -> None:
    part = layer("Custom>Mine", None)
    edit = edited if suffix == "keras" else edited_hdf5
    change: Change = lambda config: config["config"]["layers"].insert(1, part)  # noqa: E731 - typed
    line = line_of(edit(files[f"digits.{suffix}"], tmp_path / f"model.{suffix}", change))
    assert "'Custom>Mine'" in line
    assert "export the model as a SavedModel, with model.export(path), or serve it by" in line


def test_files_beside_the_model_cannot_leave_their_folder(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "a" / "b" / "c"
    inner.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(inner))
    path = tmp_path / "model.keras"
    path.write_bytes(files["several.keras"].read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        for name in ("../1", "assets/../../2", "assets/../../../3", str(tmp_path / "4")):
            archive.writestr(name, "out")
    assert "it holds a file that would leave its folder: '../1'" in line_of(path)
    outside = {each for each in tmp_path.rglob("*") if not each.is_relative_to(inner)}
    assert outside == {path, inner.parent, inner.parent.parent}


def test_weights_are_not_read_from_other_files(files: dict[str, Path], tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(1_000_000))
    for suffix in FORMATS:
        path = tmp_path / f"model.{suffix}"
        keras_files.with_weights_of(files[f"digits.{suffix}"], path, secret)
        assert "its weights are said to be in another file: /" in line_of(path)


def test_links_in_weights_are_refused(files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(files["digits.h5"].read_bytes())
    with h5py.File(path, "r+") as file:
        file["model_weights/more"] = h5py.ExternalLink(files["several.h5"], "/model_weights")
    assert "its weights have a link in them: /model_weights/more" in line_of(path)


def test_weights_alone_are_told(tmp_path: Path) -> None:
    path = keras_files.save(keras_files.trained(), tmp_path / "model.weights.h5")
    assert "it holds weights without their model: save the whole model" in line_of(path)


def test_what_is_no_model_is_told(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(layer("Dense", units=1)))
        archive.writestr("model.weights.h5", keras_files.no_weights())
    assert "it holds a Dense, not a model" in line_of(path)


@pytest.mark.parametrize("kept", [0.001, 0.5, 0.99])
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_cut_short_is_told(
    files: dict[str, Path], tmp_path: Path, suffix: str, kept: float
) -> None:
    whole = files[f"digits.{suffix}"].read_bytes()
    path = tmp_path / f"model.{suffix}"
    path.write_bytes(whole[: int(len(whole) * kept)])
    line = line_of(path)
    assert "cut short" in line or "truncated" in line


def test_a_model_that_does_not_know_its_inputs_is_told(tmp_path: Path) -> None:
    path = keras_files.save(keras.Sequential([keras.layers.Dense(1)]), tmp_path / "model.keras")
    assert "its model does not know its input shape: call it once" in line_of(path)


def test_outputs_that_hold_outputs_are_told(tmp_path: Path) -> None:
    x = keras.Input((2,))
    model = keras.Model(x, [x, {"inner": x + 1}])
    path = keras_files.save(model, tmp_path / "model.keras")
    assert "its output 'output_1' is no tensor" in line_of(path)


@pytest.mark.parametrize(
    ("version", "backend", "told"),
    [
        ("3.11.2", "tensorflow", "Keras 3.11.3 or newer is needed"),
        ("2.15.0", "tensorflow", "Keras 3.11.3 or newer is needed"),
        ("3.12.0", "jax", "set KERAS_BACKEND to tensorflow"),
    ],
)
def test_a_keras_that_is_not_safe_or_not_of_tensorflow_is_told(
    version: str, backend: str, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        _require_keras(version, backend)


@pytest.mark.parametrize("version", ["3.11.3", "3.12.0.dev2024", "4.0"])
def test_newer_kerases_will_do(version: str) -> None:
    _require_keras(version, "tensorflow")
