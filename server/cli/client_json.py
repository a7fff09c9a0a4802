"""What `client` writes for programs: JSON, and files of arrays. Pure; main thread."""

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from server.client import ModelMetadata, ModelState, Receipt
from server.config import ConfigError
from server.protocols.npy import write_npy, write_npz
from server.protocols.tfserving_strings import BASE64
from server.signature import Array, Signature, Tensors, names_text

SUFFIXES: Final = (".npy", ".npz", ".json")


@dataclass(frozen=True, slots=True)
class Answer:
    """Of one input: what was sent, what came back, and what each time it was sent went through."""

    sent: str
    outputs: Tensors
    receipts: Sequence[Receipt]


def answers_told(model: str, answers: Iterable[Answer]) -> dict[str, Any]:
    """Everything, as one object."""
    return {"model": model, "answers": [_answer_told(answer) for answer in answers]}


def models_told(states: Iterable[ModelState]) -> dict[str, Any]:
    """Versions of models, as one object."""
    return {"models": [{**asdict(state), "ready": state.ready} for state in states]}


def metadata_told(about: ModelMetadata, states: Iterable[ModelState]) -> dict[str, Any]:
    """A model, as one object."""
    return {
        "model": about.name,
        "platform": about.platform,
        "versions": models_told(states)["models"],
        "signatures": {name: _signature_told(each) for name, each in about.signatures.items()},
    }


def check_target(target: Path) -> None:
    """Refuse a file that could not be written in the end. ConfigError."""
    if target.suffix not in SUFFIXES:
        msg = f"--output takes a file that ends in {', '.join(SUFFIXES)}, not {target}"
        raise ConfigError(msg)
    if not target.absolute().parent.is_dir():
        msg = f"cannot write {target}: there is no folder {target.absolute().parent}"
        raise ConfigError(msg)


def write(answers: Sequence[Answer], target: Path) -> None:
    """Write such a file. ConfigError."""
    content = written(answers, target)
    try:
        target.write_bytes(content)
    except OSError as error:
        msg = f"cannot write {target}: {error.strerror}"
        raise ConfigError(msg) from None


def written(answers: Sequence[Answer], target: Path) -> bytes:
    """The content of such a file: the outputs for all inputs, their rows in one. ConfigError."""
    outputs = _joined(answers)
    if target.suffix == ".json":
        told = {name: listed(array) for name, array in outputs.items()}
        return json.dumps(told, ensure_ascii=False).encode() + b"\n"
    for name, array in outputs.items():
        if array.dtype.hasobject:
            msg = f"output {name!r} is string, which has no form in {target.suffix}: use .json"
            raise ConfigError(msg)
    if target.suffix == ".npz":
        return write_npz(outputs)
    if len(outputs) != 1:
        msg = f"a .npy file holds one output, there are {names_text(outputs)}: use .npz"
        raise ConfigError(msg)
    (array,) = outputs.values()
    return write_npy(array)


def listed(array: Array) -> Any:
    """Nested lists that JSON can hold."""
    if array.dtype.hasobject:
        return _nested([text(value) for value in array.ravel().tolist()], array.shape)
    if array.dtype.kind == "c":
        return _nested([[n.real, n.imag] for n in array.ravel().tolist()], array.shape)
    if array.dtype.kind in "fV" and array.dtype.itemsize < np.dtype("float64").itemsize:
        # By the fewest digits of their own width, as the server writes them.
        return _nested([float(str(n)) for n in array.ravel()], array.shape)
    return array.tolist()


def text(value: bytes) -> Any:
    """A string, or an object that holds it in base64."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {BASE64: base64.b64encode(value).decode()}


def _nested(flat: list[Any], shape: tuple[int, ...]) -> Any:
    array = np.empty(len(flat), object)
    array[:] = flat
    return array.reshape(shape).tolist()


def _answer_told(answer: Answer) -> dict[str, Any]:
    outputs = {
        name: {"dtype": dtype(array), "shape": list(array.shape), "values": listed(array)}
        for name, array in answer.outputs.items()
    }
    return {
        "input": answer.sent,
        "outputs": outputs,
        "went_through": [asdict(receipt) for receipt in answer.receipts],
    }


def dtype(array: Array) -> str:
    """What models call the dtype of an array."""
    return "string" if array.dtype.hasobject else array.dtype.name


def _signature_told(signature: Signature) -> dict[str, Any]:
    return {
        kind: {
            name: {
                "dtype": spec.dtype,
                "shape": None
                if spec.shape is None
                else [-1 if n is None else n for n in spec.shape],
            }
            for name, spec in specs.items()
        }
        for kind, specs in (("inputs", signature.inputs), ("outputs", signature.outputs))
    }


def _joined(answers: Sequence[Answer]) -> Tensors:
    if len(answers) == 1:
        return answers[0].outputs
    try:
        return {
            name: np.concatenate([answer.outputs[name] for answer in answers])
            for name in answers[0].outputs
        }
    except ValueError as error:
        msg = f"the answers do not fit into one file: {error}"
        raise ConfigError(msg) from None
