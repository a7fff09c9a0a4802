"""Classification and regression of serialized examples, whatever protocol asks for them. Pure.

Written after tensorflow/serving (servables/tensorflow/classifier.cc, regressor.cc). A signature
classifies or regresses when it takes nothing but serialized `tensorflow.Example`s under the name
"inputs", and gives

    to classify   one or two outputs, among them "classes" (string), "scores" (float32) or both,
                  [examples, classes] each
    to regress    one output, "outputs" (float32), [examples] or [examples, 1]

As TensorFlow Serving by default, this asks nothing of the method name: what TensorFlow 2 exports
says "predict" there, whatever it does.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from server.errors import InvalidArgument
from server.signature import Array, Signature, Tensors, TensorSpec, names_text, shape_text

INPUTS: Final = "inputs"
CLASSES: Final = "classes"
SCORES: Final = "scores"
OUTPUTS: Final = "outputs"

_MOST_OUTPUTS: Final = 2
_MATRIX: Final = 2
"""The rank of what a classification gives."""


def examples_input(signature: Signature) -> TensorSpec:
    """The one input, of serialized examples: string, [n]. InvalidArgument if there is no such."""
    if list(signature.inputs) != [INPUTS]:
        msg = (
            f"signature {signature.name!r} takes no examples: its only input must be {INPUTS!r},"
            f" it has {names_text(signature.inputs)}"
        )
        raise InvalidArgument(msg)
    spec = signature.inputs[INPUTS]
    if spec.dtype != "string" or (spec.shape is not None and len(spec.shape) != 1):
        msg = (
            f"signature {signature.name!r} takes no examples: its input {INPUTS!r} is {spec},"
            " expected serialized examples, string[-1]"
        )
        raise InvalidArgument(msg)
    return spec


def check_classifies(signature: Signature) -> None:
    """Whether a signature is one to classify with, as far as it declares. InvalidArgument."""
    examples_input(signature)
    names = signature.outputs.keys()
    if len(names) > _MOST_OUTPUTS or not names & {CLASSES, SCORES}:
        msg = (
            f"signature {signature.name!r} does not classify: it must have one or two outputs and"
            f" {CLASSES!r} or {SCORES!r} among them, it has {names_text(names)}"
        )
        raise InvalidArgument(msg)


def check_regresses(signature: Signature) -> None:
    """Whether a signature is one to regress with, as far as it declares. InvalidArgument."""
    examples_input(signature)
    if list(signature.outputs) != [OUTPUTS]:
        msg = (
            f"signature {signature.name!r} does not regress: its only output must be {OUTPUTS!r},"
            f" it has {names_text(signature.outputs)}"
        )
        raise InvalidArgument(msg)


def examples_tensor(serialized: Sequence[bytes]) -> Array:
    """Serialized examples as the tensor that a signature takes: object, [n]. InvalidArgument."""
    if not serialized:
        msg = "there are no examples, expected at least one"
        raise InvalidArgument(msg)
    tensor = np.empty(len(serialized), object)
    tensor[:] = serialized
    return tensor


def classifications(
    signature: Signature, outputs: Tensors, examples: int | None = None
) -> list[list[tuple[bytes, float]]]:
    """For each example its classes: label (b"" if the model gives none) and score (0.0 likewise).

    InvalidArgument when the outputs are not what a classification of so many examples has.
    """
    classes, scores = classes_and_scores(signature, outputs, examples)
    if classes is None:
        assert scores is not None
        return [[(b"", score) for score in row] for row in scores.tolist()]
    if scores is None:
        return [[(label, 0.0) for label in row] for row in classes.tolist()]
    rows = zip(classes.tolist(), scores.tolist(), strict=True)
    return [list(zip(labels, numbers, strict=True)) for labels, numbers in rows]


def classes_and_scores(
    signature: Signature, outputs: Tensors, examples: int | None = None
) -> tuple[Array | None, Array | None]:
    """The labels (object of bytes) and scores (float32), [examples, classes] each; None if absent.

    InvalidArgument as for `classifications`.
    """
    check_classifies(signature)
    classes, scores = outputs.get(CLASSES), outputs.get(SCORES)
    for name, array, dtype in ((CLASSES, classes, "object"), (SCORES, scores, "float32")):
        if array is not None and (array.ndim != _MATRIX or array.dtype != dtype):
            wanted = f"{'string' if dtype == 'object' else dtype}[examples,classes]"
            raise _unlike(signature, name, array, wanted)
        if array is not None:
            _check_count(signature, name, array, examples)
    if classes is not None and scores is not None and classes.shape != scores.shape:
        msg = (
            f"signature {signature.name!r} disagrees with itself: {CLASSES!r} is"
            f" {shape_text(classes.shape)}, {SCORES!r} is {shape_text(scores.shape)}"
        )
        raise InvalidArgument(msg)
    return classes, scores


def regressions(signature: Signature, outputs: Tensors, examples: int | None = None) -> list[float]:
    """For each example its value.

    InvalidArgument when the output is not what a regression of so many examples has.
    """
    values: list[float] = regressed(signature, outputs, examples).tolist()
    return values


def regressed(signature: Signature, outputs: Tensors, examples: int | None = None) -> Array:
    """The values, float32, [examples]. InvalidArgument as for `regressions`."""
    check_regresses(signature)
    values = outputs[OUTPUTS]
    if values.dtype != "float32" or not values.ndim or values.shape[1:] not in ((), (1,)):
        raise _unlike(signature, OUTPUTS, values, "float32[examples] or float32[examples,1]")
    _check_count(signature, OUTPUTS, values, examples)
    return values.reshape(-1)


def _check_count(signature: Signature, name: str, array: Array, examples: int | None) -> None:
    """Whether an output has a row for each example. Only a signature that runs alone may not."""
    if examples is not None and len(array) != examples:
        raise _unlike(signature, name, array, f"a row for each of the {examples} examples")


def _unlike(signature: Signature, name: str, array: Array, wanted: str) -> InvalidArgument:
    came = "string" if array.dtype == object else array.dtype
    return InvalidArgument(
        f"output {name!r} of signature {signature.name!r} is {came}{shape_text(array.shape)},"
        f" expected {wanted}"
    )
