"""Model formats: how each is recognised, and what loads it. Any thread.

A new format is a module with `load(path) -> Model`, and a line in `FORMATS`.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from server.errors import StartupError
from server.model import Model


@dataclass(frozen=True, slots=True)
class Format:
    """A model format: the file in a model's folder that gives it away, and its module.

    The module is imported when first needed: it brings its framework along.
    """

    name: str
    marker: str
    module: str


FORMATS: Final = (Format("SavedModel", "saved_model.pb", "server.models.savedmodel"),)

MARKERS: Final = " or ".join(known.marker for known in FORMATS)
"""What a folder must hold to be a model, for messages."""


def detect(path: Path) -> Format | None:
    """The format of the model in this folder, None if there is none."""
    return next((known for known in FORMATS if (path / known.marker).is_file()), None)


def load(path: Path) -> Model:
    """Load the model in this folder. StartupError, saying which and why."""
    known = detect(path)
    if known is None:
        msg = f"{path} holds no model: expected {MARKERS} in it"
        raise StartupError(msg)
    try:
        model: Model = importlib.import_module(known.module).load(path)
    except Exception as error:
        first_line = str(error).strip().partition("\n")[0]
        msg = f"cannot load the {known.name} in {path}: {type(error).__name__}: {first_line}"
        raise StartupError(msg) from error
    return model
