"""LiteRT's interpreters of one file, kept for the shapes that they ran. Runs on the model thread.

LiteRT plans the memory of a run for the shapes of its inputs, so an interpreter belongs to those it
ran last. When all are in use, the least recently used one is planned anew, which takes microseconds
and is why a few are enough; each more of them lays out the weights for the processor once more,
which takes the memory of the whole file and for MobileNetV2 40 ms.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from server.models.tflite_tensors import Tensor, names_of, tensor_of
from server.signature import DEFAULT_SIGNATURE, Tensors

MOST: Final = 8
MOST_BYTES: Final = 64 * 2**20
"""How many interpreters a model keeps: at most so many, and so many bytes of its file in all."""

Call: TypeAlias = Callable[[Tensors], Tensors]
"""Runs a signature on one interpreter. Inputs are copied in, outputs are copied out."""

Calls: TypeAlias = Mapping[str, Call]

Described: TypeAlias = Mapping[str, Mapping[str, Tensor]]
"""The tensors of each signature by name."""


def interpreter_class() -> Any:
    """LiteRT, which not everybody has. ModuleNotFoundError, which says what to install."""
    try:
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - an extra may be absent
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("ai_edge_litert"):
            raise
        msg = "LiteRT is not installed: pip install 'batcher[tflite]'"
        raise ModuleNotFoundError(msg) from error
    return Interpreter


class Interpreters:
    """Runs the signatures of one file, on one thread at a time."""

    def __init__(self, content: bytes, threads: int) -> None:
        self._class = interpreter_class()
        self._content = content
        self._threads = threads
        self._most = max(1, min(MOST, MOST_BYTES // len(content)))
        # From signature and shapes to what ran them last; the least recently used one comes first.
        self._kept: dict[object, Calls] = {}
        first = self._interpreter()
        self.inputs, self.outputs = _described(first)
        # Has run no shapes yet.
        self._kept[None] = self._calls(first)

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        """Run one signature, in the dtypes of the file. RuntimeError; MemoryError."""
        key = (signature, *[array.shape for array in inputs.values()])
        # One that fails is not kept: its memory may be planned by half, and its errors pile up.
        calls = self._kept.pop(key, None) or self._another()
        outputs = calls[signature](inputs)
        self._kept[key] = calls
        return outputs

    def __len__(self) -> int:
        return len(self._kept)

    def _another(self) -> Calls:
        if None in self._kept or len(self._kept) >= self._most:
            return self._kept.pop(next(iter(self._kept)))
        return self._calls(self._interpreter())

    def _interpreter(self) -> Any:
        return self._class(model_content=self._content, num_threads=self._threads)

    def _calls(self, interpreter: Any) -> Calls:
        if not interpreter.get_signature_list():
            (inputs,), (outputs,) = self.inputs.values(), self.outputs.values()
            return {DEFAULT_SIGNATURE: _call_of_whole(interpreter, inputs, outputs)}
        return {name: _call_of_signature(interpreter, name) for name in self.inputs}


def _described(interpreter: Any) -> tuple[Described, Described]:
    """The inputs and the outputs of every signature; of the whole file if it has none."""
    names = list(interpreter.get_signature_list())
    if not names:
        found = interpreter.get_input_details(), interpreter.get_output_details()
        inputs, outputs = (
            dict(zip(names_of(details, kind), details, strict=True))
            for details, kind in zip(found, ("input", "output"), strict=True)
        )
        return {DEFAULT_SIGNATURE: _tensors(inputs)}, {DEFAULT_SIGNATURE: _tensors(outputs)}
    runners = {name: interpreter.get_signature_runner(name) for name in names}
    return (
        {name: _tensors(runner.get_input_details()) for name, runner in runners.items()},
        {name: _tensors(runner.get_output_details()) for name, runner in runners.items()},
    )


def _tensors(details: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Tensor]:
    return {name: tensor_of(name, each) for name, each in sorted(details.items())}


def _call_of_signature(interpreter: Any, name: str) -> Call:
    runner = interpreter.get_signature_runner(name)

    def call(inputs: Tensors) -> Tensors:
        outputs: Tensors = runner(**inputs)
        _forget(interpreter)
        return outputs

    return call


def _call_of_whole(
    interpreter: Any, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]
) -> Call:
    def call(tensors: Tensors) -> Tensors:
        for name, array in tensors.items():
            interpreter.resize_tensor_input(inputs[name].index, array.shape)
        interpreter.allocate_tensors()
        for name, array in tensors.items():
            interpreter.set_tensor(inputs[name].index, array)
        interpreter.invoke()
        given = {name: interpreter.get_tensor(tensor.index) for name, tensor in outputs.items()}
        _forget(interpreter)
        return given

    return call


def _forget(interpreter: Any) -> None:
    """Zero what recurrent layers keep for the next run: that has rows of somebody else."""
    interpreter.reset_all_variables()
