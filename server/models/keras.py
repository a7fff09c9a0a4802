"""Keras's own files, `.keras` and whole models in HDF5, in safe mode. Runs on the model thread.

A model is served as `model.export()` would export it: one signature, its inputs and outputs named
the same, in inference mode. No code in a file ever runs: see `keras_config` for what is refused.
"""

import re
import tempfile
from pathlib import Path
from typing import Any, Final

from server.model import Model
from server.models.keras_config import ROOMS, refuse
from server.models.keras_file import config_of, is_archive
from server.models.tensorflow_model import TensorFlowModel, call_of, signature_of
from server.models.tensorflow_runtime import on, placed, tf
from server.runtime import Runtime
from server.signature import DEFAULT_SIGNATURE, names_text

keras: Final = tf.keras
"""Keras as TensorFlow finds it, which has started quietly by now."""

OLDEST: Final = (3, 11, 3)
"""Releases of Keras before this one run code that is in a HDF5 file, safe mode or not."""


REASONS: Final = ("Exception encountered:", "Example error message for object")
"""What stands before a reason in the errors of Keras."""

LONGEST_REASON: Final = 300


def load(path: Path, runtime: Runtime) -> Model:
    """Load a model from its file. ValueError, saying why not; what else Keras raises."""
    model, function = with_function(path, runtime)
    return TensorFlowModel(
        "keras",
        {DEFAULT_SIGNATURE: signature_of(DEFAULT_SIGNATURE, function)},
        {DEFAULT_SIGNATURE: placed(call_of(function), runtime)},
        model,
    )


def with_function(path: Path, runtime: Runtime) -> tuple[Any, Any]:
    """The model in a file, and its concrete function: of named tensors, to a dict of them."""
    _require_keras(keras.__version__, keras.backend.backend())
    refuse(config_of(path), _is_known)
    with on(runtime):
        model = _loaded(path)
        return model, _function(model)


def _require_keras(version: str, backend: str) -> None:
    """ValueError for a Keras that is too old to load a file safely, or does not run TensorFlow."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    if numbers < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        msg = f"Keras {version} does not load files safely: Keras {oldest} or newer is needed"
        raise ValueError(msg)
    if backend != "tensorflow":
        msg = f"Keras runs on {backend} here: set KERAS_BACKEND to tensorflow"
        raise ValueError(msg)


def _is_known(name: str) -> bool:
    return name == "Functional" or any(hasattr(getattr(keras, room, None), name) for room in ROOMS)


def _loaded(path: Path) -> Any:
    """The model in a file, by a link that ends as Keras expects it for what is in the file."""
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / ("model.keras" if is_archive(path) else "model.h5")
        link.symlink_to(path.absolute())
        try:
            model = keras.models.load_model(link, compile=False, safe_mode=True)
        except (TypeError, ValueError) as error:
            raise ValueError(_reason(error)) from error
    if not isinstance(model, keras.Model):
        msg = f"it holds a {type(model).__name__}, not a model"
        raise ValueError(msg)  # noqa: TRY004 - the file is at fault, not a caller of ours
    if not model.built:
        msg = "its model does not know its input shape: call it once, and save it again"
        raise ValueError(msg)
    return model


def _reason(error: Exception) -> str:
    """What is wrong, in the long text of Keras, which quotes whole configurations before it."""
    text = " ".join(str(error).split())
    for introduction in REASONS:
        text = text.rpartition(introduction)[2].strip()
    return text[:LONGEST_REASON]


def _function(model: Any) -> Any:
    """The model as a function of named tensors that returns a dict: what an export would have."""
    structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    inputs = tf.nest.flatten(structure)
    names = [_input_name(tensor.name) for tensor in inputs]
    if len(set(names)) < len(names):
        msg = f"its inputs must differ in their names, which are {names_text(names)}"
        raise ValueError(msg)
    specs = {
        name: tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, name)
        for name, tensor in zip(names, inputs, strict=True)
    }

    def serve(**tensors: Any) -> dict[str, Any]:
        ordered = [tensors[name] for name in names]
        return _named(model(tf.nest.pack_sequence_as(structure, ordered), training=False))

    return tf.function(serve, autograph=False).get_concrete_function(**specs)


def _input_name(name: str) -> str:
    """A name as an export has it: what could not be a parameter of a function is replaced."""
    name = re.sub(r"\W", "_", name)
    return name if name[0].isalpha() else f"arg_{name}"


def _named(outputs: Any) -> dict[str, Any]:
    """Outputs under the names that an export gives them. ValueError for nested ones."""
    if not isinstance(outputs, dict):
        several = outputs if isinstance(outputs, list | tuple) else [outputs]
        outputs = {f"output_{place}": output for place, output in enumerate(several)}
    for name, output in outputs.items():
        if not tf.is_tensor(output):
            msg = f"its output {name!r} is no tensor but holds some, which a signature cannot"
            raise ValueError(msg)
    return dict(outputs)
