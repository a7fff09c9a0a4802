"""TensorFlow's SavedModel format: every signature, resident in memory. Model thread."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.model import InputRejected, Model
from server.models.tensorflow_runtime import tf
from server.signature import Signature, Tensors, TensorSpec, why_alone


def load(path: Path) -> Model:
    """Load a SavedModel from its folder. What TensorFlow raises; ValueError if it is empty."""
    return SavedModel(tf.saved_model.load(str(path), tags=["serve"]))


class SavedModel:
    """The functions of one SavedModel, and the object that keeps their variables alive."""

    def __init__(self, loaded: Any) -> None:
        self._loaded = loaded
        self._functions: dict[str, Any] = dict(loaded.signatures)
        if not self._functions:
            msg = "it has no signatures to call"
            raise ValueError(msg)
        self._signatures = {
            name: _signature(name, function) for name, function in self._functions.items()
        }

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Its signatures by name."""
        return self._signatures

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        """Call one signature."""
        # A numpy array would be held against the declared shape more strictly than a tensor is.
        tensors = {name: tf.constant(array) for name, array in inputs.items()}
        try:
            outputs = self._functions[signature](**tensors)
        except (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError) as error:
            raise InputRejected(_told(error)) from error
        return {name: tensor.numpy() for name, tensor in outputs.items()}


def _told(error: Any) -> str:
    """Which node of the graph failed. What it said may quote tensors, of other clients too."""
    node = re.search(r"\{\{node ([^}]*)\}\}", error.message)
    return type(error).__name__ + (f" in node {node[1]!r}" if node else "")


def _signature(name: str, function: Any) -> Signature:
    inputs = _specs(function.structured_input_signature[1])
    outputs = _specs(function.structured_outputs)
    return Signature(name, inputs, outputs, alone=why_alone(inputs, outputs))


def _specs(tensors: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec(
            name,
            tensor.dtype.name,
            None if tensor.shape.rank is None else tuple(tensor.shape.as_list()),
        )
        for name, tensor in sorted(tensors.items())
    }
