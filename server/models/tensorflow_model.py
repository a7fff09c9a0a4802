"""Loaded graphs of TensorFlow: how to call them, and whose mistake an error is. Model thread."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from server.model import InputRejected
from server.models.tensorflow_runtime import tf
from server.signature import Array, Shape, Signature, Tensors, TensorSpec, why_alone

PREDICT: Final = "tensorflow/serving/predict"

LARGE: Final = 200
"""Operations of a graph, from which on a call takes milliseconds."""

Call = Callable[[Tensors], Tensors]
"""Runs one signature: all of its inputs in, all of its outputs out, by name."""


class TensorFlowModel:
    """Signatures and what to call for each, with the object that keeps their variables alive."""

    def __init__(
        self,
        platform: str,
        signatures: Mapping[str, Signature],
        calls: Mapping[str, Call],
        kept: Any,
    ) -> None:
        self.platform = platform
        self.signatures = signatures
        self._calls = calls
        self._kept = kept

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        """Call one signature."""
        try:
            return self._calls[signature](inputs)
        except (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError) as error:
            raise InputRejected(_told(error)) from error
        except tf.errors.ResourceExhaustedError as error:
            raise MemoryError(_told(error)) from error
        except UnicodeDecodeError as error:
            # TensorFlow failed over the text of its own error, which quotes a string that is none.
            msg = "a string in it is not what it expects"
            raise InputRejected(msg) from error


def _told(error: Any) -> str:
    """Which node of the graph failed. What it said may quote tensors, of other clients too."""
    node = re.search(r"\{\{node ([^}]*)\}\}", error.message)
    return type(error).__name__ + (f" in node {node[1]!r}" if node else "")


def call_of(function: Any) -> Call:
    """The cheapest way to call a concrete function: as the operation that it is underneath.

    The function takes its inputs by name and returns a dict, as signatures do. It matches its
    arguments with the care of a public function, which takes longer than a small model: 355 µs a
    call where the operation takes 70 (`python -m bench call`). Where the graph does not say which
    of its inputs is which, the function is called after all; and where the graph is large, as
    TensorFlow never forgets what it prepared for the operation: 5 MB for a MobileNet, whose calls
    take long anyway, where it forgets most of what it prepared for a function.
    """
    captured = list(function.captured_inputs)
    places = [_argument(tensor) for tensor in function.inputs[: -len(captured) or None]]
    names = list(function.structured_outputs)
    named = sorted(filter(None, places)) == sorted(function.structured_input_signature[1])
    if not named or _nodes(function) > LARGE:

        def call_by_name(inputs: Tensors) -> Tensors:
            outputs = function(**{name: tf.constant(array) for name, array in inputs.items()})
            return {name: array_of(tensor.numpy()) for name, tensor in outputs.items()}

        return call_by_name
    dtypes = [tensor.dtype for tensor in function.outputs]
    # Flat outputs come in the order of their names, as TensorFlow flattens every dict.
    names.sort()

    def call(inputs: Tensors) -> Tensors:
        arguments = [inputs[name] for name in places]
        outputs = tf.raw_ops.StatefulPartitionedCall(
            args=arguments + captured, Tout=dtypes, f=function
        )
        return {name: array_of(tensor.numpy()) for name, tensor in zip(names, outputs, strict=True)}

    return call


def _nodes(function: Any) -> int:
    """How many operations there are in its graph, with those of the functions that it calls."""
    graph = function.graph.as_graph_def()
    return len(graph.node) + sum(len(each.node_def) for each in graph.library.function)


def _argument(tensor: Any) -> str:
    """What an input of a graph is called in its signature, "" if the graph does not tell."""
    try:
        return str(tensor.op.get_attr("_user_specified_name").decode())
    except ValueError:
        return ""


def array_of(value: Any) -> Array:
    """What an output is worth: its scalars come as NumPy's, those of strings as `bytes`."""
    if isinstance(value, np.ndarray):
        return value
    return np.array(value, object if isinstance(value, bytes) else None)


def signature_of(name: str, function: Any, definition: Any = None) -> Signature:
    """The signature of a concrete function, and what only its SignatureDef tells if it has one."""
    inputs, outputs = function.structured_input_signature[1], function.structured_outputs
    if definition is None:
        return signature(name, _specs(inputs), _specs(outputs))
    return signature(
        name, _specs(inputs, definition.inputs), _specs(outputs, definition.outputs), definition
    )


def signature(
    name: str,
    inputs: Mapping[str, TensorSpec],
    outputs: Mapping[str, TensorSpec],
    definition: Any = None,
) -> Signature:
    """A signature, batchable as far as its shapes tell."""
    alone = why_alone(inputs, outputs)
    if definition is None:
        return Signature(name, inputs, outputs, PREDICT, alone)
    defaults = {
        key: tf.make_ndarray(tensor) for key, tensor in definition.defaults.items() if key in inputs
    }
    return Signature(name, inputs, outputs, definition.method_name, alone, defaults)


def _specs(tensors: Mapping[str, Any], infos: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {
        name: TensorSpec(
            name, tensor.dtype.name, shape_of(tensor.shape), infos[name].name if infos else ""
        )
        for name, tensor in sorted(tensors.items())
    }


def shape_of(shape: Any) -> Shape | None:
    """A shape of TensorFlow, None for any rank."""
    return None if shape.rank is None else tuple(shape.as_list())
