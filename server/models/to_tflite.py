"""Converts TensorFlow's models and Keras's to TensorFlow Lite, quantized or not. Main thread.

Every signature is frozen first: its variables become constants. TensorFlow's converter takes a
SavedModel as it is too, but leaves variables of Keras 3 variable and loses their values: the file
that it writes runs, and computes with whatever is in memory (TensorFlow 2.21).
"""

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from server.conversion.quantizations import FLOAT16, INT8, NONE
from server.errors import StartupError
from server.models import detect, keras
from server.models.notes import silence
from server.models.savedmodel import INTERNAL, OBJECTS_FAILED, TAG
from server.models.tensorflow_runtime import on, tf, with_constants
from server.runtime import Runtime
from server.signature import DEFAULT_SIGNATURE, Tensors

_LACKING: Final = re.compile(r"^\s+tf\.(\w+)\((.*?)\) -> ", re.MULTILINE)
"""How the converter lists what TensorFlow Lite has no op for: with the types of its inputs."""

_OP: Final = re.compile(r"'tf\.(\w+)' op ([^\n]*)")

Rows: TypeAlias = Callable[[], Iterator[tuple[str, Tensors]]]
"""Requests of one row, each with the signature it is for."""


def convert(path: Path, quantization: str, rows: Rows | None = None) -> bytes:
    """A .tflite file of the model in a file or folder. StartupError, naming the op that it lacks.

    INT8 needs `rows`, several for each signature, such as clients will send: numbers beyond the
    range of those that came up become the least or the greatest that did.
    """
    try:
        with silence(), on(Runtime()), tempfile.TemporaryDirectory() as folder:
            kept, functions = _functions(path)
            _save_frozen(functions, folder)
            del kept
            converted: bytes = _converter(folder, quantization, rows).convert()
    except StartupError:
        raise
    except Exception as error:
        msg = f"cannot convert {path} to TensorFlow Lite ({quantization}): {_why(error)}"
        raise StartupError(msg) from error
    return converted


def _functions(path: Path) -> tuple[Any, Mapping[str, Any]]:
    """The concrete functions in a model by the name of their signature, and what they need."""
    found = detect(path)
    kind = "no model" if found is None else found.format.name
    if found is not None and found.format.module == "server.models.keras":
        model, function = keras.with_function(found.path, Runtime())
        return model, {DEFAULT_SIGNATURE: function}
    if found is None or found.format.module != "server.models.savedmodel":
        msg = f"{path} is a {kind}: only SavedModels and Keras models can be converted"
        raise StartupError(msg)
    try:
        loaded = tf.saved_model.load(str(found.path), tags=[TAG])
    except OBJECTS_FAILED as error:
        # Its graph alone can be served, but the names in it stay taken by what failed to load.
        msg = f"cannot convert {path}: save it again, without the state of an optimizer ({error})"
        raise StartupError(msg) from error
    names = [name for name in loaded.signatures if not name.startswith(INTERNAL)]
    return loaded, {name: loaded.signatures[name] for name in names}


def _save_frozen(functions: Mapping[str, Any], folder: str) -> None:
    """Save functions as a SavedModel without variables, with the same signatures."""
    module = tf.Module()
    module.functions = {name: _frozen(function) for name, function in functions.items()}
    tf.saved_model.save(module, folder, signatures=module.functions)


def _frozen(function: Any) -> Any:
    """The same function of named tensors, with its variables as constants."""
    specs = {
        name: tf.TensorSpec(spec.shape, spec.dtype, name)
        for name, spec in sorted(function.structured_input_signature[1].items())
    }

    def in_order(*tensors: Any) -> dict[str, Any]:
        results = function(**dict(zip(specs, tensors, strict=True)))
        return {key: part for name, each in results.items() for key, part in _parts(name, each)}

    # Freezing loses the names: what it gives takes and returns tensors in the order of their names.
    traced = tf.function(in_order, autograph=False).get_concrete_function(*specs.values())
    outputs = sorted(traced.structured_outputs)
    frozen = with_constants(traced)

    def by_name(**tensors: Any) -> Any:
        results = frozen(*[tensors[name] for name in specs])
        return dict(zip(outputs, tf.nest.flatten(results), strict=True))

    return tf.function(by_name, autograph=False).get_concrete_function(**specs)


def _parts(name: str, output: Any) -> Iterator[tuple[str, Any]]:
    """A tensor by its name; a sparse one as three, named as the server names them."""
    if isinstance(output, tf.SparseTensor):
        for part in ("indices", "values", "dense_shape"):
            yield f"{name}_{part}", getattr(output, part)
    else:
        yield name, output


def _converter(folder: str, quantization: str, rows: Rows | None) -> Any:
    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    if quantization != NONE:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantization == FLOAT16:
        converter.target_spec.supported_types = [tf.float16]
    if quantization == INT8:
        converter.representative_dataset = rows
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8
    return converter


def _why(error: Exception) -> str:
    """What a converter's error, of hundreds of lines, comes down to."""
    said = str(error)
    lacking = sorted(set(_LACKING.findall(said)))
    if lacking:
        return "it has no op for " + ", ".join(f"{name} of {types}" for name, types in lacking)
    if "feed_devices" in said:
        return "its variables are references, as those of TensorFlow 1: they stay variable"
    op = _OP.search(said)
    if op:
        return f"op {op[1]} {op[2]}"
    return f"{type(error).__name__}: {said.strip().partition(chr(10))[0]}"
