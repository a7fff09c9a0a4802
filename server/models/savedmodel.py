"""TensorFlow's SavedModel format: every signature, resident in memory. Runs on the model thread.

What a loaded signature does not tell any more is read from the file beside it: what the graph calls
its tensors, the signature's method name, and values for inputs that may be left out.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from server.model import InputRejected, Model
from server.models.tensorflow_runtime import on, saved_model_pb2, tf
from server.runtime import Runtime
from server.signature import Array, Signature, Tensors, TensorSpec, why_alone

TAGS: Final = ("serve",)
"""Which of the graphs in a SavedModel is the one to serve."""


def load(path: Path, runtime: Runtime) -> Model:
    """Load a SavedModel from its folder. What TensorFlow raises; ValueError if it is empty."""
    with on(runtime):
        return SavedModel(tf.saved_model.load(str(path), tags=TAGS), _definitions(path))


def _definitions(path: Path) -> Any:
    """The SignatureDefs by name, as the file of a SavedModel that was loaded holds them."""
    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    (served,) = [graph for graph in saved.meta_graphs if set(graph.meta_info_def.tags) == set(TAGS)]
    return served.signature_def


class SavedModel:
    """The functions of one SavedModel, and the object that keeps their variables alive."""

    platform: Final = "tensorflow_savedmodel"

    def __init__(self, loaded: Any, definitions: Any) -> None:
        self._loaded = loaded
        functions: dict[str, Any] = dict(loaded.signatures)
        if not functions:
            msg = "it has no signatures to call"
            raise ValueError(msg)
        self._calls = {name: _call(function) for name, function in functions.items()}
        self._signatures = {
            name: _signature(name, function, definitions[name])
            for name, function in functions.items()
        }

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Its signatures by name."""
        return self._signatures

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        """Call one signature."""
        try:
            outputs = self._calls[signature](inputs)
        except (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError) as error:
            raise InputRejected(_told(error)) from error
        except tf.errors.ResourceExhaustedError as error:
            raise MemoryError(_told(error)) from error
        except UnicodeDecodeError as error:
            # TensorFlow failed over the text of its own error, which quotes a string that is none.
            msg = "a string in it is not what it expects"
            raise InputRejected(msg) from error
        return {name: _array(tensor.numpy()) for name, tensor in outputs.items()}


def _array(value: Any) -> Array:
    """What an output is worth: its scalars come as NumPy's, those of strings as `bytes`."""
    if isinstance(value, np.ndarray):
        return value
    return np.array(value, object if isinstance(value, bytes) else None)


def _call(function: Any) -> Callable[[Tensors], Mapping[str, Any]]:
    """The cheapest way to call a signature: as the operation that it is underneath.

    The signature itself matches its arguments with the care of a public function, which takes
    longer than a small model: 355 µs a call where the operation takes 70 (`python -m bench call`).
    Where the graph does not say which of its inputs is which, the signature is called after all.
    """
    captured = list(function.captured_inputs)
    places = [_argument(tensor) for tensor in function.inputs[: -len(captured) or None]]
    names = list(function.structured_outputs)
    if sorted(filter(None, places)) != sorted(function.structured_input_signature[1]):
        return lambda inputs: dict(function(**{k: tf.constant(v) for k, v in inputs.items()}))
    dtypes = [tensor.dtype for tensor in function.outputs]
    # Flat outputs come in the order of their names, as TensorFlow flattens every dict.
    names.sort()

    def call(inputs: Tensors) -> Mapping[str, Any]:
        arguments = [inputs[name] for name in places]
        outputs = tf.raw_ops.StatefulPartitionedCall(
            args=arguments + captured, Tout=dtypes, f=function
        )
        return dict(zip(names, outputs, strict=True))

    return call


def _argument(tensor: Any) -> str:
    """What an input of a graph is called in its signature, "" if the graph does not tell."""
    try:
        return str(tensor.op.get_attr("_user_specified_name").decode())
    except ValueError:
        return ""


def _told(error: Any) -> str:
    """Which node of the graph failed. What it said may quote tensors, of other clients too."""
    node = re.search(r"\{\{node ([^}]*)\}\}", error.message)
    return type(error).__name__ + (f" in node {node[1]!r}" if node else "")


def _signature(name: str, function: Any, definition: Any) -> Signature:
    inputs = _specs(function.structured_input_signature[1], definition.inputs)
    outputs = _specs(function.structured_outputs, definition.outputs)
    defaults = {
        key: tf.make_ndarray(tensor) for key, tensor in definition.defaults.items() if key in inputs
    }
    alone = why_alone(inputs, outputs)
    return Signature(name, inputs, outputs, definition.method_name, alone, defaults)


def _specs(tensors: Mapping[str, Any], infos: Any) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec(
            name,
            tensor.dtype.name,
            None if tensor.shape.rank is None else tuple(tensor.shape.as_list()),
            infos[name].name,
        )
        for name, tensor in sorted(tensors.items())
    }
