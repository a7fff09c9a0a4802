"""Keras files: one trained on scans of digits, and those of strangers with something in them."""

import functools
import io
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py

from server.demo.scans import training
from server.models.tensorflow_runtime import tf

keras = tf.keras

Change = Callable[[Any], None]
"""Changes a configuration in place."""


@functools.cache
def trained() -> Any:
    """Reads digits, float32 [-1, 8, 8]; in training, part of what it sees is left out."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8), name="scan"),
            layers.Rescaling(1 / 16),
            layers.Flatten(),
            layers.Dense(32, "relu", kernel_initializer=keras.initializers.GlorotUniform(seed=0)),
            layers.Dropout(0.1, seed=0),
            layers.Dense(
                10, "softmax", kernel_initializer=keras.initializers.GlorotUniform(seed=1)
            ),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    with warnings.catch_warnings(action="ignore"):
        # NumPy has something to say about Keras.
        model.fit(*training(), batch_size=128, epochs=8, shuffle=False, verbose=0)
    return model


def several() -> Any:
    """Inputs whose names cannot be those of parameters; of words their places in a vocabulary."""
    left, right = keras.Input((2,), name="left-one"), keras.Input((2,), name="right.one")
    word = keras.Input((), dtype="string", name="word")
    place = keras.layers.StringLookup(vocabulary=["zero", "one"])(word)
    inputs = {"word": word, "right.one": right, "left-one": left}
    difference = keras.layers.Subtract()([left, right])
    return keras.Model(inputs, {"difference": difference, "place": place})


def with_code(marker: Path, wrap: Callable[[Any], Any]) -> Any:
    """A model with a Lambda layer that leaves a mark wherever its code runs."""
    code = f"lambda x: __import__('pathlib').Path({str(marker)!r}).touch() or x"
    layer = keras.layers.Lambda(eval(code), output_shape=(2,))
    return keras.Sequential([keras.Input((3, 2)), wrap(layer)])


def save(model: Any, path: Path) -> Path:
    """Save a model in the format that the name of the file stands for."""
    with warnings.catch_warnings(action="ignore"):
        # Keras has much to say about HDF5, and NumPy about Keras.
        if path.name.endswith(".weights.h5"):
            model.save_weights(path)
        else:
            model.save(path)
    return path


def load_trusted(path: Path) -> Any:
    """The model in a file, whatever runs."""
    with warnings.catch_warnings(action="ignore"):
        return keras.models.load_model(path, compile=False, safe_mode=False)


def edited(source: Path, target: Path, change: Change) -> Path:
    """A copy of a .keras file with another configuration."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                change(config)
                content = json.dumps(config).encode()
            new.writestr(name, content)
    return target


def edited_hdf5(source: Path, target: Path, change: Change) -> Path:
    """A copy of a HDF5 file with another configuration."""
    target.write_bytes(source.read_bytes())
    with h5py.File(target, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        change(config)
        file.attrs["model_config"] = json.dumps(config)
    return target


def with_weights_of(source: Path, target: Path, other: Path) -> Path:
    """A copy of a file that says of weights that they are in another file."""
    if h5py.is_hdf5(source):
        target.write_bytes(source.read_bytes())
        _point_to(target, other)
        return target
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = io.BytesIO(old.read(name))
            if name.endswith(".h5"):
                _point_to(content, other)
            new.writestr(name, content.getvalue())
    return target


def no_weights() -> bytes:
    """A HDF5 file with nothing in it."""
    content = io.BytesIO()
    h5py.File(content, "w").close()
    return content.getvalue()


def _point_to(weights: Path | io.BytesIO, other: Path) -> None:
    with h5py.File(weights, "r+") as file:
        found: list[str] = []
        file.visititems(
            lambda name, each: found.append(name) if isinstance(each, h5py.Dataset) else None
        )
        for name in found:
            shape, dtype = file[name].shape, file[name].dtype
            del file[name]
            elsewhere = [(str(other), 0, h5py.h5f.UNLIMITED)]
            file.create_dataset(name, shape, dtype, external=elsewhere)
