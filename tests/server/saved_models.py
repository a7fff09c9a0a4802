"""Small SavedModels with known answers, each made for one question."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from server.models.tensorflow_runtime import tf


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


def save(
    base: Path,
    version: int,
    functions: dict[str, tuple[Callable[..., Any], dict[str, tuple[str, list[int | None]]]]],
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
