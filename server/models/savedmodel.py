"""TensorFlow's SavedModel format: every signature, resident in memory. Runs on the model thread.

What a loaded signature does not tell any more is read from the file beside it: what the graph calls
its tensors, the signature's method name, and values for inputs that may be left out.

A file of TensorFlow 2 holds Python objects beside its graph, and TensorFlow owns what it loads of
them. A file of TensorFlow 1 holds a graph alone, which a session owns: so the memory returns when
the model is dropped. A session is also the way out where the objects cannot be made: those of
older Keras with the state of an optimizer ("'_UserObject' object has no attribute 'add_slot'").
"""

from pathlib import Path
from typing import Any, Final

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from server.model import Model
from server.models.savedmodel_faults import better, require_assets
from server.models.savedmodel_session import assets_of, session_of, signature_in
from server.models.tensorflow_model import TensorFlowModel, call_of, signature_of
from server.models.tensorflow_runtime import on, placed, saved_model_pb2, tf
from server.runtime import Runtime

TAG: Final = "serve"
"""Which of the graphs in a SavedModel is the one to serve."""

PLATFORM: Final = "tensorflow_savedmodel"

INTERNAL: Final = "__saved_model_"
"""How signatures are named that TensorFlow keeps for itself."""

OBJECTS_FAILED: Final = (AttributeError, KeyError, TypeError, ValueError)
"""What TensorFlow raises where it cannot make the objects of a file, which is whole otherwise."""


def load(path: Path, runtime: Runtime) -> Model:
    """Load a SavedModel from its folder.

    ValueError and FileNotFoundError, naming the file and what is wrong with it; what else
    TensorFlow raises.
    """
    saved = _read(path)
    graph = _to_serve(saved)
    names = sorted(name for name in graph.signature_def if not name.startswith(INTERNAL))
    if not names:
        msg = "it has no signatures to call"
        raise ValueError(msg)
    require_assets(path, [asset.filename for asset in assets_of(graph)])
    try:
        if graph.HasField("object_graph_def") and len(saved.meta_graphs) == 1:
            return _with_objects(path, graph, names, runtime)
        return _graph_alone(path, graph, names, runtime)
    except Exception as error:
        raise better(path, error) from error


def _read(path: Path) -> Any:
    """The SavedModel message in a folder, of either form. ValueError if it is damaged."""
    file = path / "saved_model.pb"
    try:
        if file.is_file():
            return saved_model_pb2.SavedModel.FromString(file.read_bytes())
        file = path / "saved_model.pbtxt"
        return text_format.Parse(file.read_text("utf-8"), saved_model_pb2.SavedModel())
    except (DecodeError, text_format.ParseError, UnicodeDecodeError) as error:
        msg = f"{file} is damaged or cut short: {error}"
        raise ValueError(msg) from error


def _to_serve(saved: Any) -> Any:
    """The MetaGraphDef with the tag "serve" alone, or the only one that has it among others."""
    tagged = [graph for graph in saved.meta_graphs if TAG in graph.meta_info_def.tags]
    found = [graph for graph in tagged if set(graph.meta_info_def.tags) == {TAG}] or tagged
    if len(found) == 1:
        return found[0]
    told = ", ".join(_tags_text(graph) for graph in saved.meta_graphs) or "none"
    how_many = "no graph" if not found else f"{len(found)} graphs"
    msg = (
        f"{how_many} in it with the tag {TAG!r}, where one was expected; tags of its graphs: {told}"
    )
    raise ValueError(msg)


def _tags_text(graph: Any) -> str:
    return "+".join(sorted(graph.meta_info_def.tags)) or "no tag"


def _with_objects(path: Path, graph: Any, names: list[str], runtime: Runtime) -> Model:
    try:
        with on(runtime):
            loaded = tf.saved_model.load(str(path), tags=list(graph.meta_info_def.tags))
    except OBJECTS_FAILED:
        return _graph_alone(path, graph, names, runtime)
    functions = {name: loaded.signatures[name] for name in names}
    return TensorFlowModel(
        PLATFORM,
        {
            name: signature_of(name, function, graph.signature_def[name])
            for name, function in functions.items()
        },
        {name: placed(call_of(function), runtime) for name, function in functions.items()},
        loaded,
    )


def _graph_alone(path: Path, graph: Any, names: list[str], runtime: Runtime) -> Model:
    session = session_of(path, graph, runtime)
    served = {name: signature_in(session, name, graph.signature_def[name]) for name in names}
    return TensorFlowModel(
        PLATFORM,
        {name: signature for name, (signature, _) in served.items()},
        {name: call for name, (_, call) in served.items()},
        session,
    )
