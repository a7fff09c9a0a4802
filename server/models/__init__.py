"""Model formats: how each is recognised, and what loads it. Any thread.

A new format is a module with `load(path, runtime) -> Model`, and a line in `FORMATS`. What a model
is shows in its content, not in its name: in a file, or in a folder that holds one.
"""

import importlib
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from server.errors import StartupError
from server.model import Model
from server.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Format:
    """A model format: what it looks like, and its module.

    `looks` is how messages tell what was expected. `recognises` says whether a path is a model of
    this format, `in_folder` whether a folder that holds one such file is one as well. The module
    is imported when first needed: it brings its framework along.
    """

    name: str
    looks: str
    recognises: Callable[[Path], bool]
    module: str
    in_folder: bool = True


@dataclass(frozen=True, slots=True)
class Found:
    """A model that was recognised, and the path for the module of its format to load."""

    format: Format
    path: Path


def _is_saved_model(path: Path) -> bool:
    return any((path / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt"))


def _is_keras(path: Path) -> bool:
    return _begins(path, b"PK\x03\x04") and _keras_config(path)


def _keras_config(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "config.json" in archive.namelist()
    except zipfile.BadZipFile:
        # Half a file: its table of contents stands at the end. What loads it will say so.
        return path.suffix == ".keras"


def _is_hdf5(path: Path) -> bool:
    return _begins(path, b"\x89HDF\r\n\x1a\n")


def _is_tflite(path: Path) -> bool:
    return _begins(path, b"TFL3", at=4)


_FUNCTION: Final = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")


def _is_function(path: Path) -> bool:
    return _FUNCTION.fullmatch(str(path)) is not None and not path.exists()


def _begins(path: Path, magic: bytes, at: int = 0) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(at + len(magic))[at:] == magic


FORMATS: Final = (
    Format("SavedModel", "saved_model.pb", _is_saved_model, "server.models.savedmodel", False),
    Format("Keras model", "a .keras file", _is_keras, "server.models.keras"),
    Format("Keras model in HDF5", "an .h5 file", _is_hdf5, "server.models.keras"),
    Format("TensorFlow Lite model", "a .tflite file", _is_tflite, "server.models.tflite"),
    Format("Python function", "module:function", _is_function, "server.models.function", False),
)

EXPECTED: Final = ", ".join(known.looks for known in FORMATS if known.looks != "module:function")
"""What a folder may hold to be a model, for messages."""


def detect(path: Path) -> Found | None:
    """The model at this path, None if there is none. OSError for what may not be read.

    ValueError for a folder that holds several files that are each a model.
    """
    for known in FORMATS:
        if known.recognises(path):
            return Found(known, path)
    if not path.is_dir():
        return None
    found = [
        Found(known, file)
        for file in sorted(path.iterdir())
        for known in FORMATS
        if known.in_folder and known.recognises(file)
    ]
    if len(found) > 1:
        told = ", ".join(each.path.name for each in found)
        msg = f"{path} holds several models, where one was expected: {told}"
        raise ValueError(msg)
    return found[0] if found else None


def load(path: Path, runtime: Runtime | None = None) -> Model:
    """Load the model at this path. StartupError, saying which and why."""
    try:
        found = detect(path)
    except (OSError, ValueError) as error:
        raise StartupError(str(error)) from error
    if found is None:
        msg = f"{path} holds no model: expected {EXPECTED}"
        raise StartupError(msg)
    name, path = found.format.name, found.path
    try:
        model: Model = importlib.import_module(found.format.module).load(path, runtime or Runtime())
    except Exception as error:
        first_line = str(error).strip().partition("\n")[0]
        msg = f"cannot load the {name} in {path}: {type(error).__name__}: {first_line}"
        raise StartupError(msg) from error
    return model
