"""SavedModels for what TensorFlow Serving's REST API can hold: odd tensors, serialized Examples."""

from pathlib import Path
from typing import Any

from server.models.tensorflow_runtime import tf
from tests.server.saved_models import Function, Inputs, save


def any_shape(base: Path) -> Path:
    """Signatures for what JSON may hold: of any rank or of odd outputs; most run alone therefore.

    int32, float32, float64, string   return their only input, `x`, as `y`
    bytes        strings as `text` and as `text_bytes`
    mixed        `int_tensor` of any rank, `str_tensor` [-1], `bin_tensor` []: each returned
    four         a [-1,2] and b [-1] int32, c [-1] string, d [-1] bool: each returned
    add          a + b, float32 [-1,-1]: for the graph to refuse shapes
    no_rows      two outputs without rows
    uneven       `two` outputs of 2 rows and `three` of 3
    complex64, half   such outputs
    """
    whole: Inputs = {"x": ("float32", [None])}
    text, number = ("string", [None]), ("int32", [None])
    mixed: Inputs = {
        "int_tensor": ("int32", None),
        "str_tensor": text,
        "bin_tensor": ("string", []),
    }
    four: Inputs = {"a": ("int32", [None, 2]), "b": number, "c": text, "d": ("bool", [None])}
    functions: dict[str, Function] = {
        dtype: (lambda x: {"y": tf.identity(x)}, {"x": (dtype, None)})
        for dtype in ("int32", "float32", "float64", "string")
    }
    functions |= {
        "bytes": (lambda x: {"text": x, "text_bytes": tf.identity(x)}, {"x": text}),
        "mixed": (_identities, mixed),
        "four": (_identities, four),
        "add": (lambda a, b: {"y": a + b}, dict.fromkeys("ab", ("float32", [None, None]))),
        "no_rows": (lambda x: {"y": x[:0], "z": x[:0]}, whole),
        "uneven": (lambda x: {"two": x[0] + [0.0, 1.0], "three": x[0] + [0.0, 1.0, 2.0]}, whole),
        "complex64": (lambda x: {"y": tf.complex(x, x)}, whole),
        "half": (lambda x: {"y": tf.cast(x, "float16")}, whole),
    }
    return save(base, 1, functions)


def _identities(**tensors: Any) -> dict[str, Any]:
    return {name: tf.identity(tensor) for name, tensor in tensors.items()}


def of_examples(base: Path) -> Path:
    """TensorFlow Serving's half_plus_two as TensorFlow 1 exports it, from serialized Examples.

    serving_default   y = x / 2 + 2, float32 [-1, 1], to predict
    regress_x_to_y    the same of the feature x (float, required)
    classify_x_to_y   the same as scores
    classify          the features word (string) and n (int64) as classes, x and x2 as scores
    lonely            one value to regress, however many examples there are
    """
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        serialized = {"inputs": v1.placeholder(tf.string, [None], name="tf_example")}
        features = tf.io.parse_example(
            serialized["inputs"],
            {
                "x": tf.io.FixedLenFeature([1], tf.float32),
                "x2": tf.io.FixedLenFeature([1], tf.float32, [0.0]),
                "word": tf.io.FixedLenFeature([1], tf.string, ["none"]),
                "n": tf.io.FixedLenFeature([1], tf.int64, [0]),
            },
        )
        x = tf.identity(features["x"], name="x")
        y = tf.add(x * 0.5, 2.0, name="y")
        both = {
            "classes": tf.concat([features["word"], tf.strings.as_string(features["n"])], axis=1),
            "scores": tf.concat([x, features["x2"]], axis=1),
        }
        signatures = {
            "serving_default": ("predict", {"x": x}, {"y": y}),
            "regress_x_to_y": ("regress", serialized, {"outputs": y}),
            "classify_x_to_y": ("classify", serialized, {"scores": y}),
            "classify": ("classify", serialized, both),
            "lonely": ("regress", serialized, {"outputs": tf.reduce_sum(x, axis=0)}),
        }
        definitions = {
            name: v1.saved_model.predict_signature_def(inputs, outputs)
            for name, (_, inputs, outputs) in signatures.items()
        }
        for name, (method, _, _) in signatures.items():
            definitions[name].method_name = f"tensorflow/serving/{method}"
        builder = v1.saved_model.Builder(str(base / "1"))
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=definitions)
        builder.save()
    return base
