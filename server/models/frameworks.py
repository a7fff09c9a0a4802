"""Objects of other frameworks as functions of arrays. Any thread; what they return, model thread.

    fitted estimator of scikit-learn          one of its methods, rows of float64 in
    session of ONNX Runtime                   all outputs of its graph
    module of PyTorch                         with tensors where it lies, to infer only

Each is known by what it has, not by its class: no framework is imported here.
"""

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from server.model import InputRejected
from server.models.returned import as_array
from server.signature import (
    NUMPY_DTYPES,
    Array,
    Shape,
    Signature,
    Tensors,
    TensorSpec,
    shape_text,
    why_alone,
)

Call: TypeAlias = Callable[[Tensors], Any]
"""From the inputs by name to whatever a function returns; it may write into them."""

_ONNX_DTYPES: Final = {
    f"tensor({name})": name for name in NUMPY_DTYPES - {"bfloat16"} | {"string"}
} | {"tensor(float)": "float32", "tensor(double)": "float64"}
"""The types that ONNX Runtime takes from NumPy and gives to it -> our names."""


@dataclass(frozen=True, slots=True)
class Function:
    """One signature, and what computes it."""

    signature: Signature
    call: Call


class Untold(TypeError):
    """A framework does not tell what its object takes and gives; the message says what it shows."""


# --------------------------------------------------------------------------------- scikit-learn


def fitted_columns(method: Any) -> int | None:
    """How many numbers a row has for a method of a fitted estimator; None for anything else."""
    columns = getattr(getattr(method, "__self__", None), "n_features_in_", None)
    return None if columns is None else int(columns)


def estimator(name: str, method: Any, columns: int) -> Function:
    """A method of a fitted estimator; its outputs are what it returns for made-up rows. Untold."""
    rows = np.random.default_rng(0).random((2, columns))
    try:
        two, one = _outputs(method(rows)), _outputs(method(rows[:1]))
    except Exception as error:
        msg = f"it does not take {columns} numbers a row, by which it was fitted"
        raise Untold(msg) from error
    grows = two.keys() == one.keys() and all(
        array.shape[:1] == (2,) and one[key].shape == (1, *array.shape[1:])
        for key, array in two.items()
    )
    if not grows or not all(map(_dtype, two.values())):
        came = ", ".join(f"{array.dtype}{shape_text(array.shape)}" for array in two.values())
        msg = f"it returns {came} for 2 rows"
        raise Untold(msg)
    inputs = {"X": TensorSpec("X", "float64", (None, columns))}
    outputs = {
        key: TensorSpec(key, _dtype(array), (None, *array.shape[1:])) for key, array in two.items()
    }
    return Function(Signature(name, inputs, outputs), lambda tensors: method(tensors["X"]))


def _outputs(returned: Any) -> Tensors:
    """What exports of TensorFlow and Keras call `output_0`, and so on: they have no names."""
    parts = returned if isinstance(returned, list | tuple) else [returned]
    return {f"output_{place}": as_array(part) for place, part in enumerate(parts)}


def _dtype(array: Array) -> str:
    """Our name for the dtype of what was returned, "" if there is none."""
    if array.dtype.kind in "USO":
        return "string" if all(isinstance(each, str | bytes) for each in array.flat) else ""
    return array.dtype.name if array.dtype.name in NUMPY_DTYPES else ""


# --------------------------------------------------------------------------------- ONNX Runtime


def is_session(value: Any) -> bool:
    """Whether it is a session of ONNX Runtime."""
    parts = ("get_inputs", "get_outputs", "run")
    return all(callable(getattr(value, part, None)) for part in parts)


def session(name: str, running: Any) -> Function:
    """A session of ONNX Runtime. TypeError for what no array can hold."""
    inputs = {each.name: _onnx_spec(each) for each in running.get_inputs()}
    outputs = {each.name: _onnx_spec(each) for each in running.get_outputs()}
    texts = [key for key, spec in inputs.items() if spec.dtype == "string"]

    def call(tensors: Tensors) -> Any:
        for key in texts:
            tensors[key] = _texts(tensors[key], key)
        try:
            return tuple(running.run(None, tensors))
        except Exception as error:
            if type(error).__name__ != "InvalidArgument":
                raise
            # What it says may quote tensors.
            msg = "InvalidArgument, by ONNX Runtime"
            raise InputRejected(msg) from error

    return Function(Signature(name, inputs, outputs, alone=why_alone(inputs, outputs)), call)


def _onnx_spec(told: Any) -> TensorSpec:
    dtype = _ONNX_DTYPES.get(told.type)
    if dtype is None:
        msg = f"{told.name!r} is a {told.type}, which no array can hold"
        raise TypeError(msg)
    # A rank that is not known is told as an empty shape too.
    shape: Shape = tuple(size if isinstance(size, int) else None for size in told.shape)
    return TensorSpec(told.name, dtype, shape or None)


def _texts(strings: Array, name: str) -> Array:
    """Strings as ONNX Runtime wants them, which takes no bytes. InputRejected."""
    texts = np.empty(strings.size, object)
    try:
        texts[:] = [string.decode() for string in strings.ravel()]
    except UnicodeDecodeError as error:
        msg = f"a string of input {name!r} is not UTF-8"
        raise InputRejected(msg) from error
    return texts.reshape(strings.shape)


# -------------------------------------------------------------------------------------- PyTorch


def is_module(value: Any) -> bool:
    """Whether it is a module of PyTorch, which takes tensors."""
    return hasattr(value, "state_dict") and callable(getattr(value, "forward", None))


def on_tensors(module: Any) -> Callable[..., Any]:
    """A module of PyTorch as a function of arrays: evaluated, without gradients, where it lies."""
    torch: Any = sys.modules["torch"]
    with contextlib.suppress(NotImplementedError):
        # Exported programs are ready to infer, and refuse to be told so.
        module.eval()
    device = next((parameter.device for parameter in module.parameters()), None)

    def call(*arrays: Array, **by_name: Array) -> Any:
        tensors = [torch.from_numpy(array).to(device) for array in arrays]
        named = {name: torch.from_numpy(array).to(device) for name, array in by_name.items()}
        with torch.inference_mode():
            return module(*tensors, **named)

    return call
