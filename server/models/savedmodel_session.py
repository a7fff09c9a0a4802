"""The graph of a SavedModel without its Python objects, in a session. Runs on the model thread.

TensorFlow Serving runs every SavedModel so. The variables belong to the session and go with it,
where `tf.saved_model.load` leaves those of TensorFlow 1 behind for as long as the process lives.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from server.models.tensorflow_model import Call, array_of, shape_of, signature
from server.models.tensorflow_runtime import on, tf
from server.runtime import Runtime
from server.signature import Signature, Tensors, TensorSpec

INIT_OP: Final = "__saved_model_init_op"
"""The name of a signature that fills the tables, in files of TensorFlow 2."""

INIT_COLLECTIONS: Final = ("saved_model_main_op", "legacy_init_op")
"""Where files of TensorFlow 1 name what fills their tables; the newer one first."""


ASSETS: Final = "saved_model_assets"
"""Where files before TensorFlow 1.13 name their assets."""


def session_of(path: Path, meta_graph: Any, runtime: Runtime) -> Any:
    """A session with the graph in it: variables restored, tables filled."""
    with tf.Graph().as_default() as graph, on(runtime):
        saver = tf.compat.v1.train.import_meta_graph(meta_graph)
        session = tf.compat.v1.Session(graph=graph, config=_settings(runtime))
        if saver is not None:
            saver.restore(session, str(path / "variables" / "variables"))
    fill = _initializer(meta_graph)
    if fill:
        assets = {
            asset.tensor_info.name: str(path / "assets" / asset.filename)
            for asset in assets_of(meta_graph)
        }
        session.run(graph.as_graph_element(fill), feed_dict=assets)
    return session


def _settings(runtime: Runtime) -> Any:
    """What TensorFlow was told before it started, which a session has to be told again."""
    told = tf.config.threading
    return tf.compat.v1.ConfigProto(
        allow_soft_placement=True,
        intra_op_parallelism_threads=told.get_intra_op_parallelism_threads(),
        inter_op_parallelism_threads=told.get_inter_op_parallelism_threads(),
        gpu_options=tf.compat.v1.GPUOptions(allow_growth=runtime.gpu_memory_growth),
    )


def _initializer(meta_graph: Any) -> str:
    """What fills the tables, "" if nothing has to."""
    if INIT_OP in meta_graph.signature_def:
        return str(meta_graph.signature_def[INIT_OP].outputs[INIT_OP].name)
    for key in INIT_COLLECTIONS:
        if key in meta_graph.collection_def:
            return str(meta_graph.collection_def[key].node_list.value[0])
    return ""


def assets_of(meta_graph: Any) -> list[Any]:
    """The AssetFileDefs of a MetaGraphDef: which tensors are the paths of which files."""
    if meta_graph.asset_file_def or ASSETS not in meta_graph.collection_def:
        return list(meta_graph.asset_file_def)
    unpacked = type(meta_graph)()
    for asset in meta_graph.collection_def[ASSETS].any_list.value:
        unpacked.asset_file_def.add().ParseFromString(asset.value)
    return list(unpacked.asset_file_def)


def signature_in(session: Any, name: str, definition: Any) -> tuple[Signature, Call]:
    """One SignatureDef: what it takes and gives, and how to call it."""
    graph = session.graph
    inputs = {spec.name: spec for spec in _specs(graph, definition.inputs)}
    outputs = {spec.name: spec for spec in _specs(graph, definition.outputs)}
    feeds = [graph.get_tensor_by_name(spec.tensor_name) for spec in inputs.values()]
    with graph.as_default():
        # A session does not give back what it is fed.
        fetches = [
            tf.identity(graph.get_tensor_by_name(spec.tensor_name)) for spec in outputs.values()
        ]
    run = session.make_callable(fetches, feed_list=feeds)

    def call(tensors: Tensors) -> Tensors:
        arrays = run(*[tensors[name] for name in inputs])
        return {name: array_of(array) for name, array in zip(outputs, arrays, strict=True)}

    return signature(name, inputs, outputs, definition), call


def _specs(graph: Any, infos: Any) -> Iterator[TensorSpec]:
    """The inputs or outputs of a SignatureDef; of a sparse tensor its three parts, as tensors."""
    for name, info in sorted(infos.items()):
        if info.HasField("coo_sparse"):
            for part in ("indices", "values", "dense_shape"):
                of_part = graph.get_tensor_by_name(getattr(info.coo_sparse, f"{part}_tensor_name"))
                shape = shape_of(of_part.shape)
                yield TensorSpec(f"{name}_{part}", of_part.dtype.name, shape, of_part.name)
        else:
            dtype = tf.dtypes.as_dtype(info.dtype).base_dtype.name
            yield TensorSpec(name, dtype, shape_of(tf.TensorShape(info.tensor_shape)), info.name)
