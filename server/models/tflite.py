"""TensorFlow Lite's format, run by LiteRT: every signature of a file. Runs on the model thread.

What a file has quantized is float32 to clients (`tflite_tensors`). Rows are batched where the file
says that a first dimension may have any size, as converted models do.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from server.machine import cpus
from server.model import InputRejected, Model
from server.models.notes import notes_held_back
from server.models.tflite_interpreters import Interpreters, interpreter_class
from server.models.tflite_trial import try_in_a_child
from server.runtime import Runtime, existing_device, threads
from server.signature import Signature, Tensors, why_alone

DEVICES: Final = ("CPU:0",)
"""Where LiteRT runs models in Python."""

NOTES: Final = b"INFO: Created TensorFlow Lite"
"""How the lines begin that LiteRT writes to standard error about nothing that is wrong."""

_NODE: Final = re.compile(r"Node number (\d+) \((\w+)\) failed to (?:invoke|prepare)")
_MISSING: Final = re.compile(r"unresolved custom op: (\w+)|Node number \d+ \((Flex\w+)\)")


def load(path: Path, runtime: Runtime) -> Model:
    """Load a .tflite file. ValueError if it is corrupt or needs what LiteRT does not have here.

    ModuleNotFoundError, which says what to install, if LiteRT itself is not there.
    """
    interpreter_class()
    existing_device(runtime.device, DEVICES)
    try_in_a_child(path)
    # Read, not mapped: a mapped file that is overwritten would end the process.
    content = path.read_bytes()
    with notes_held_back(NOTES):
        return of_content(content, runtime)


def of_content(content: bytes, runtime: Runtime) -> "TFLite":
    """A model from the bytes of its file, which are trusted not to be corrupt. ValueError."""
    return TFLite(content, threads(runtime.intra_op_threads, cpus()))


class TFLite:
    """The signatures of one file; a file without any has one, of all its inputs and outputs."""

    platform: Final = "tensorflow_lite"

    def __init__(self, content: bytes, threads: int) -> None:
        self._interpreters = Interpreters(content, threads)
        self._signatures = {name: self._signature(name) for name in self._interpreters.inputs}
        for signature in self._signatures.values():
            self._check(signature)

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Its signatures by name."""
        return self._signatures

    @property
    def quantized(self) -> Mapping[str, Mapping[str, str]]:
        """How the file holds its quantized tensors, in words, by signature and name."""
        return {
            name: {
                key: str(tensor.quantization)
                for key, tensor in (*inputs.items(), *self._interpreters.outputs[name].items())
                if tensor.quantization
            }
            for name, inputs in self._interpreters.inputs.items()
        }

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        """Run one signature."""
        into = self._interpreters.inputs[signature]
        out_of = self._interpreters.outputs[signature]
        held = {name: into[name].to_file(array) for name, array in inputs.items()}
        try:
            outputs = self._interpreters.run(signature, held)
        except (RuntimeError, ValueError) as error:
            raise _told(error) from error
        return {name: out_of[name].from_file(array) for name, array in outputs.items()}

    def _signature(self, name: str) -> Signature:
        inputs = {key: each.spec for key, each in self._interpreters.inputs[name].items()}
        outputs = {key: each.spec for key, each in self._interpreters.outputs[name].items()}
        return Signature(name, inputs, outputs, alone=why_alone(inputs, outputs))

    def _check(self, signature: Signature) -> None:
        """ValueError if a signature cannot run here at all. That it refuses zeros is no reason."""
        tensors = self._interpreters.inputs[signature.name]
        zeros = {name: tensor.zeros() for name, tensor in tensors.items()}
        try:
            self._interpreters.run(signature.name, zeros)
        except ValueError:
            # It ran; what it gave for zeros is no array.
            return
        except RuntimeError as error:
            said = str(error)
            missing = _MISSING.search(said)
            if missing:
                op = missing[1] or missing[2]
                msg = f"signature {signature.name!r} needs an op that LiteRT does not have: {op}"
                raise ValueError(msg) from error
            unknown = any(None in (each.shape or ())[1:] for each in signature.inputs.values())
            if "failed to invoke" not in said and not unknown:
                msg = f"signature {signature.name!r} does not run: {said}"
                raise ValueError(msg) from error


def _told(error: Exception) -> Exception:
    """What went wrong. What LiteRT said may quote tensors, of other clients too: the node is told.

    It says nothing where memory does not suffice.
    """
    said = str(error)
    if not said:
        return MemoryError("LiteRT cannot allocate the tensors")
    nodes = _NODE.findall(said)
    if not nodes:
        return RuntimeError("LiteRT failed")
    number, op = nodes[-1]
    return InputRejected(f"LiteRT failed in node {number} ({op})")
