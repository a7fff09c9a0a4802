"""SavedModels as older TensorFlow and Keras wrote them, of one trained reader of digits."""

from pathlib import Path
from typing import Any, Final

from server.models.tensorflow_runtime import tf
from tests.server.keras_files import trained

v1 = tf.compat.v1

WORDS: Final = ("zero", "one", "two")


def _weights() -> dict[str, Any]:
    names = ["kernel", "bias", "last_kernel", "last_bias"]
    variables = trained().trainable_variables
    return {name: each.numpy() for name, each in zip(names, variables, strict=True)}


def _read(scan: Any, weights: dict[str, Any]) -> Any:
    """The trained reader of digits as plain operations."""
    flat = tf.reshape(scan / 16.0, [-1, 64])
    hidden = tf.nn.relu(flat @ weights["kernel"] + weights["bias"])
    return tf.nn.softmax(hidden @ weights["last_kernel"] + weights["last_bias"])


def of_tensorflow_1(path: Path) -> Path:
    """A graph with old variables and a table filled from an asset; the same again for a TPU.

    serving_default   digits, float32 [-1, 8, 8]
    words             the places of words in a list, which is an asset
    same              its input is its output
    sparse            a sparse tensor in, dense and sparse out
    """
    words = path.parent / "words.txt"
    words.write_text("\n".join(WORDS))
    weights = _weights()
    with v1.Graph().as_default(), v1.Session() as session:
        scan = v1.placeholder(tf.float32, [None, 8, 8], name="scan")
        old = {
            name: v1.get_variable(name, initializer=tf.constant(value), use_resource=False)
            for name, value in weights.items()
        }
        asset = tf.constant(str(words))
        v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, asset)
        text = v1.placeholder(tf.string, [None], name="text")
        sparse = v1.sparse_placeholder(tf.float32, [None, 3], name="sparse")
        signatures = {
            "serving_default": _definition({"scan": scan}, {"digits": _read(scan, old)}),
            "words": _definition({"text": text}, {"place": _table(asset).lookup(text)}),
            "same": _definition({"text": text}, {"text": text}),
            "sparse": _definition(
                {"x": sparse}, {"dense": tf.sparse.to_dense(sparse), "same": sparse}
            ),
        }
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signatures,
            assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
            main_op=v1.tables_initializer(),
        )
        builder.add_meta_graph(["serve", "tpu"], signatures)
        builder.save()
    words.unlink()
    return path


def _table(asset: Any) -> Any:
    line, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    content = tf.lookup.TextFileInitializer(asset, tf.string, line, tf.int64, number)
    return tf.lookup.StaticHashTable(content, -1)


def _definition(inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
    info = v1.saved_model.build_tensor_info
    return v1.saved_model.build_signature_def(
        {name: info(tensor) for name, tensor in inputs.items()},
        {name: info(tensor) for name, tensor in outputs.items()},
        "tensorflow/serving/predict",
    )


def simply_saved(path: Path) -> Path:
    """What `simple_save` writes: half plus two, without variables."""
    with v1.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 1], name="x")
        v1.saved_model.simple_save(session, str(path), {"x": x}, {"y": x * 0.5 + 2.0})
    return path


def with_an_optimizer(path: Path) -> Path:
    """A module of TensorFlow 2 saved while it trains, with an optimizer that it cannot make again.

    Older Keras exported its models so: with the optimizer, and its slots for each variable.
    """
    module = tf.Module()
    module.weights = {name: tf.Variable(value) for name, value in _weights().items()}
    module.optimizer = v1.train.AdamOptimizer(1e-9)
    kernel = module.weights["kernel"]
    module.optimizer.minimize(lambda: tf.reduce_sum(kernel**2), var_list=[kernel])
    module.read = tf.function(
        lambda scan: {"digits": _read(scan, module.weights)},
        input_signature=[tf.TensorSpec([None, 8, 8], tf.float32, name="scan")],
    )
    tf.saved_model.save(module, str(path), signatures=module.read)
    return path
