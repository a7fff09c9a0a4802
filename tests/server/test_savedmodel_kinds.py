"""SavedModels of every age are served; of a damaged one a line says which file is at fault."""

import gc
import shutil
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format

from server.config import Config, ModelConfig
from server.demo import DIGITS
from server.models import load
from server.models.tensorflow_runtime import saved_model_pb2, tf
from server.runtime import Runtime
from tests.server import old_saved_models
from tests.server.conftest import Served
from tests.server.loaded import assert_answers_as_trained, line_of

Change = Callable[[Any], None]

KINDS = ["tensorflow_1", "optimizer"]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """SavedModels of the same trained reader of digits."""
    folder = tmp_path_factory.mktemp("old")
    return {
        "tensorflow_1": old_saved_models.of_tensorflow_1(folder / "tensorflow_1"),
        "optimizer": old_saved_models.with_an_optimizer(folder / "optimizer"),
    }


@pytest.fixture(scope="module")
def digits(old: dict[str, Path]) -> Iterator[Served]:
    """All of them in one server."""
    served = Served(Config(tuple(ModelConfig(name, path) for name, path in old.items())))
    yield served
    served.close()


@pytest.mark.parametrize("name", KINDS)
def test_an_old_model_is_served_as_it_answers_itself(digits: Served, name: str) -> None:
    assert_answers_as_trained(digits, name)


def test_tensorflow_itself_cannot_load_the_objects_of_an_optimizer(old: dict[str, Path]) -> None:
    with pytest.raises(AttributeError, match="'_UserObject' object has no attribute 'add_slot'"):
        tf.saved_model.load(str(old["optimizer"]))


def test_all_signatures_of_a_graph_are_there(old: dict[str, Path]) -> None:
    model = load(old["tensorflow_1"])
    assert model.platform == "tensorflow_savedmodel"
    told = {
        name: [{key: str(spec) for key, spec in specs.items()} for specs in (s.inputs, s.outputs)]
        for name, s in model.signatures.items()
    }
    assert told == {
        "serving_default": [{"scan": "float32[-1,8,8]"}, {"digits": "float32[-1,10]"}],
        "words": [{"text": "string[-1]"}, {"place": "int64[-1]"}],
        "same": [{"text": "string[-1]"}, {"text": "string[-1]"}],
        "sparse": [
            {"x_indices": "int64[-1,2]", "x_values": "float32[-1]", "x_dense_shape": "int64[2]"},
            {
                "dense": "float32[-1,-1]",
                "same_indices": "int64[-1,2]",
                "same_values": "float32[-1]",
                "same_dense_shape": "int64[2]",
            },
        ],
    }
    scan = model.signatures["serving_default"].inputs["scan"]
    assert (scan.tensor_name, model.signatures["words"].batchable) == ("scan:0", True)


def test_tables_are_filled_from_assets_where_the_model_is_now(
    old: dict[str, Path], tmp_path: Path
) -> None:
    model = load(shutil.copytree(old["tensorflow_1"], tmp_path / "moved"))
    words = np.array([b"two", b"none", b"zero"], object)
    assert model.run("words", {"text": words})["place"].tolist() == [2, -1, 0]
    assert model.run("same", {"text": words})["text"].tolist() == words.tolist()


def test_a_sparse_tensor_is_three_tensors(old: dict[str, Path]) -> None:
    parts = {
        "x_indices": np.array([[0, 1]]),
        "x_values": np.array([5], np.float32),
        "x_dense_shape": np.array([1, 3]),
    }
    outputs = load(old["tensorflow_1"]).run("sparse", parts)
    assert outputs["dense"].tolist() == [[0, 5, 0]]
    assert outputs["same_indices"].tolist() == [[0, 1]]


def test_a_graph_without_variables_or_tables(tmp_path: Path) -> None:
    model = load(old_saved_models.simply_saved(tmp_path / "m"))
    assert model.run("serving_default", {"x": np.array([[1]], np.float32)})["y"].tolist() == [[2.5]]


def tagged(folder: Path, tags: list[list[str]]) -> Path:
    """A SavedModel with the same graph under each of these sets of tags."""
    path = old_saved_models.simply_saved(folder / "m")
    file = path / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    graph = saved.meta_graphs.pop()
    for each in tags:
        graph.meta_info_def.tags[:] = each
        saved.meta_graphs.append(graph)
    file.write_bytes(saved.SerializeToString())
    return path


@pytest.mark.parametrize(
    "tags",
    [
        [["serve"], ["serve", "tpu"]],
        [["train"], ["serve"]],
        [["serve", "gpu"]],
        [["train"], ["gpu", "serve"]],
    ],
    ids=str,
)
def test_the_graph_to_serve_is_found_among_others(tmp_path: Path, tags: list[list[str]]) -> None:
    assert "serving_default" in load(tagged(tmp_path, tags)).signatures


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ([["train"]], "no graph in it with the tag 'serve', where one was expected"),
        ([["train", "gpu"], ["tpu"]], "tags of its graphs: gpu+train, tpu"),
        ([["serve", "gpu"], ["serve", "tpu"]], "2 graphs in it with the tag 'serve'"),
        ([["serve", "gpu"], ["serve", "tpu"]], "tags of its graphs: gpu+serve, serve+tpu"),
    ],
)
def test_tags_that_leave_no_choice_or_too_much_are_told(
    tmp_path: Path, tags: list[list[str]], told: str
) -> None:
    assert told in line_of(tagged(tmp_path, tags))


@pytest.mark.parametrize("name", [*KINDS, "tensorflow_2"])
def test_a_graph_in_text_is_the_same(old: dict[str, Path], tmp_path: Path, name: str) -> None:
    path = shutil.copytree(old.get(name, DIGITS / "1"), tmp_path / "text")
    file = path / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    (path / "saved_model.pbtxt").write_text(text_format.MessageToString(saved))
    as_binary = load(path).signatures
    file.unlink()
    assert load(path).signatures == as_binary


def test_a_session_runs_on_the_device_of_its_model(old: dict[str, Path]) -> None:
    model: Any = load(old["tensorflow_1"], Runtime(device="cpu"))
    nodes = model._kept.graph.as_graph_def().node
    assert {node.device for node in nodes if node.op == "MatMul"} == {"/device:CPU:0"}


@pytest.mark.parametrize("name", [*KINDS, "tensorflow_2"])
def test_nothing_of_a_dropped_model_stays(old: dict[str, Path], name: str) -> None:
    model: Any = load(old.get(name, DIGITS / "1"))
    kept = [weakref.ref(each) for each in (model, model._kept)]
    if name == "tensorflow_2":
        (function,) = model._kept.signatures.values()
        kept += [weakref.ref(each) for each in (function, *function.variables)]
        del function
    else:
        kept.append(weakref.ref(model._kept.graph))
    del model
    gc.collect()
    assert [reference() for reference in kept if reference() is not None] == []


def damaged(path: Path, name: str) -> Path:
    """A copy of a SavedModel with this done to it."""
    variables = path / "variables"
    shard = variables / "variables.data-00000-of-00001"
    if name == "no variables":
        shutil.rmtree(variables)
    elif name == "no index":
        (variables / "variables.index").unlink()
    elif name == "cut index":
        cut(variables / "variables.index")
    elif name == "no shard":
        shard.unlink()
    elif name == "cut shard":
        cut(shard)
    elif name == "flipped bit":
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 1
        shard.write_bytes(content)
    elif name == "one shard of two":
        shard.rename(variables / "variables.data-00000-of-00002")
    return path


def cut(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no variables", "variables/variables.index is missing"),
        ("no index", "variables/variables.index is missing"),
        ("cut index", "variables/variables.index is damaged or cut short: "),
        ("no shard", "variables/variables.data-00000-of-00001 is missing"),
        ("one shard of two", "variables/variables.data-00001-of-00002 is missing"),
        ("cut shard", "variables/variables.data-00000-of-00001 is damaged or cut short: "),
        ("flipped bit", "variables/variables.data-00000-of-00001 is damaged or cut short: "),
    ],
)
@pytest.mark.parametrize("kind", [*KINDS, "tensorflow_2"])
def test_the_damaged_file_of_variables_is_named(
    old: dict[str, Path], tmp_path: Path, kind: str, name: str, told: str
) -> None:
    path = damaged(shutil.copytree(old.get(kind, DIGITS / "1"), tmp_path / "m"), name)
    assert f"{path}/{told}" in line_of(path)


def test_a_missing_asset_is_named(old: dict[str, Path], tmp_path: Path) -> None:
    path = shutil.copytree(old["tensorflow_1"], tmp_path / "m")
    (path / "assets" / "words.txt").unlink()
    assert f"{path}/assets/words.txt is missing" in line_of(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("saved_model.pb", b"not a protobuf"),
        ("saved_model.pbtxt", b"meta_graphs { hello: 1 }"),
        ("saved_model.pbtxt", b"\xff\xfe"),
    ],
)
def test_a_damaged_graph_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert f"{tmp_path / name} is damaged or cut short: " in line_of(tmp_path)


def edited(source: Path, path: Path, change: Change) -> Path:
    """A copy of a SavedModel with another graph."""
    shutil.copytree(source, path)
    file = path / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    change(saved.meta_graphs[0])
    file.write_bytes(saved.SerializeToString())
    return path


def unknown_operation(graph: Any) -> None:
    functions = [function.node_def for function in graph.graph_def.library.function]
    for nodes in (graph.graph_def.node, *functions):
        for node in nodes:
            if node.op == "MatMul":
                node.op = "Mine>MatMul"


@pytest.mark.parametrize("kind", [*KINDS, "tensorflow_2"])
def test_an_unknown_operation_is_named(old: dict[str, Path], tmp_path: Path, kind: str) -> None:
    path = edited(old.get(kind, DIGITS / "1"), tmp_path / "m", unknown_operation)
    assert "the operation 'Mine>MatMul', which TensorFlow does not know" in line_of(path)


def test_a_graph_without_signatures_is_told(old: dict[str, Path], tmp_path: Path) -> None:
    path = edited(old["tensorflow_1"], tmp_path / "m", lambda graph: graph.signature_def.clear())
    assert "it has no signatures to call" in line_of(path)
