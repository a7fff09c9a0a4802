"""Small SavedModels with known answers, each made for one question."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from server.models.tensorflow_runtime import tf

Inputs: TypeAlias = Mapping[str, tuple[str, Sequence[int | None] | None]]
"""The dtypes and shapes of the inputs of a signature; a shape of None: any rank."""

Function: TypeAlias = tuple[Callable[..., Any], Inputs]
"""What computes a signature, and its inputs."""


def half_plus_two(base: Path) -> Path:
    """TensorFlow Serving's own example, version 123: y = x / 2 + 2, float [-1, 1]."""
    return save(
        base,
        123,
        {"serving_default": (lambda x: {"y": x * 0.5 + 2.0}, {"x": ("float32", [None, 1])})},
    )


def two_by_two(base: Path) -> Path:
    """Two inputs, two outputs: sum and difference of rows of 2, float [-1, 2]."""
    specs = {"a": ("float32", [None, 2]), "b": ("float32", [None, 2])}
    return save(
        base, 1, {"serving_default": (lambda a, b: {"sum": a + b, "difference": a - b}, specs)}
    )


def every_dtype(base: Path) -> Path:
    """A signature that returns its input for each dtype with a JSON form, any shape of row."""
    dtypes = "bool float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16"
    return save(
        base,
        1,
        {
            dtype: (lambda x: {"y": tf.identity(x)}, {"x": (dtype, [None, None])})
            for dtype in dtypes.split()
        },
    )


def odd_ones(base: Path) -> Path:
    """Signatures that cannot be batched, and one that cannot always run.

    scalar         a number in, a number out
    static         exactly 3 rows
    total          the output has no batch dimension
    mean           each row has the mean of all rows taken away: rows influence each other
    lengths        unknown rank of the output, which does have the batch dimension
    no_negatives   refuses negative numbers from inside the graph
    """
    row = {"x": ("float32", [None, 2])}
    return save(
        base,
        1,
        {
            "scalar": (lambda x: {"y": x * 2.0}, {"x": ("float32", [])}),
            "static": (lambda x: {"y": x * 2.0}, {"x": ("float32", [3])}),
            "total": (lambda x: {"y": tf.reduce_sum(x)}, row),
            "mean": (lambda x: {"y": x - tf.reduce_mean(x, axis=0)}, row),
            "lengths": (_of_unknown_rank, row),
            "no_negatives": (_no_negatives, row),
        },
    )


def _of_unknown_rank(x: Any) -> dict[str, Any]:
    return {"y": tf.compat.v1.placeholder_with_default(x * 2.0, shape=None)}


def _no_negatives(x: Any) -> dict[str, Any]:
    with tf.control_dependencies([tf.debugging.assert_non_negative(x, message="negative")]):
        return {"y": tf.identity(x)}


def words(base: Path) -> Path:
    """Strings, and what else has a form of its own in the Open Inference Protocol.

    serving_default   strings [-1] and their lengths
    bfloat16          returns its input, any shape of row
    halves            float32 [-1, 2] as it is, as float16 and as bfloat16
    scores            floats [-1, 3], and as integers
    nothing           float32 [-1, 2] as it is, and without its columns: [-1, 0]
    imaginary         complex64 [-1], of which real and whole are outputs
    """
    row = {"x": ("float32", [None, 2])}
    three = {"x": ("float32", [None, 3])}
    return save(
        base,
        1,
        {
            "serving_default": (_texts, {"text": ("string", [None])}),
            "bfloat16": (lambda x: {"y": tf.identity(x)}, {"x": ("bfloat16", [None, None])}),
            "halves": (_halves, row),
            "scores": (lambda x: {"scores": tf.identity(x), "ids": tf.cast(x, "int32")}, three),
            "nothing": (lambda x: {"same": tf.identity(x), "nothing": x[:, :0]}, row),
            "imaginary": (
                lambda x: {"real": tf.math.real(x), "whole": tf.identity(x)},
                {"x": ("complex64", [None])},
            ),
        },
    )


def _texts(text: Any) -> dict[str, Any]:
    return {"text": tf.identity(text), "length": tf.strings.length(text)}


def _halves(x: Any) -> dict[str, Any]:
    return {"full": tf.identity(x), "half": tf.cast(x, "float16"), "brain": tf.cast(x, "bfloat16")}


def examples(base: Path) -> Path:
    """Signatures on serialized examples of a float `x` (0 if it has none).

    classify       the classes "low" and "high", with the scores -x and x
    scores         the scores alone
    labels         the classes alone
    no_text        a class that is not UTF-8
    regress        x / 2 + 2, [-1, 1]
    regress_flat   x / 2 + 3, [-1]
    wide           x twice, [-1, 2], which is no regression
    """
    names = ["classify", "scores", "labels", "no_text", "regress", "regress_flat", "wide"]
    specs = {"inputs": ("string", [None])}
    return save(base, 1, {name: (functools.partial(_from_examples, name), specs) for name in names})


def _from_examples(name: str, inputs: Any) -> dict[str, Any]:
    feature = tf.io.FixedLenFeature([1], tf.float32, default_value=[0.0])
    x = tf.io.parse_example(inputs, {"x": feature})["x"]
    scores = tf.concat([-x, x], axis=1)
    labels = tf.repeat(tf.constant([["low", "high"]]), tf.shape(x)[0], axis=0)
    return {
        "classify": {"classes": labels, "scores": scores},
        "scores": {"scores": scores},
        "labels": {"classes": labels},
        "no_text": {"classes": tf.repeat(tf.constant([[b"\xff"]]), tf.shape(x)[0], axis=0)},
        "regress": {"outputs": x * 0.5 + 2.0},
        "regress_flat": {"outputs": x[:, 0] * 0.5 + 3.0},
        "wide": {"outputs": tf.concat([x, x], axis=1)},
    }[name]


def left_out(base: Path) -> Path:
    """y = x + z, float [-1, 1]; z is 10 when it is left out."""

    def add(x: Any, z: Any = tf.constant([[10.0]])) -> dict[str, Any]:  # noqa: B008 - TensorFlow's way
        return {"y": x + z}

    specs = [tf.TensorSpec([None, 1], tf.float32, name=name) for name in "xz"]
    module = tf.Module()
    module.add = tf.function(add, input_signature=specs)
    tf.saved_model.save(module, str(base / "1"), signatures=module.add)
    return base


def save(
    base: Path,
    version: int,
    functions: dict[str, Function],
) -> Path:
    """Save functions of named tensors as signatures of a SavedModel; returns the base folder."""
    module = tf.Module()
    signatures = {}
    for name, (function, inputs) in functions.items():
        specs = {
            key: tf.TensorSpec(shape, tf.dtypes.as_dtype(dtype), name=key)
            for key, (dtype, shape) in inputs.items()
        }
        concrete = tf.function(function).get_concrete_function(**specs)
        setattr(module, f"function_{name}", concrete)
        signatures[name] = concrete
    tf.saved_model.save(module, str(base / str(version)), signatures=signatures)
    return base
