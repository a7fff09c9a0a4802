"""What a loaded model is to the server, whatever its format. Runs on the model thread."""

from collections.abc import Mapping
from typing import Protocol

from server.signature import Signature, Tensors


class InputRejected(ValueError):
    """The model itself refused its input, of a valid dtype and shape: the client's mistake."""


class WrongOutput(TypeError):
    """The model gave something else than its signature says: a defect of the model."""


class Model(Protocol):
    """A model in memory. `run` is called on the model thread only."""

    @property
    def platform(self) -> str:
        """Its format, as the Open Inference Protocol names it: "tensorflow_savedmodel"."""

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Its functions by name; batchable as far as their shapes tell."""

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        """Run one signature on tensors that were validated against it.

        InputRejected; WrongOutput; MemoryError where fewer rows might do.
        """
