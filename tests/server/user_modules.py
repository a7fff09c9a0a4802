"""Modules of Python functions as users write them, in a working folder of their own."""

import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

from server.models import load
from server.models.function import PythonModel

IMPORTS = """
import numpy as np
from server.declare import InputRejected, signature
"""


class UserModules:
    """Writes modules into a folder, which becomes the working folder, and loads from them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._before = set(sys.modules)
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "path", [each for each in sys.path if each != str(folder)])
        # Bytecode is told from another by seconds and size, which tests that rewrite do not change.
        monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(self, name: str, source: str) -> None:
        """Write a module after what all of them import; dots are folders."""
        path = self.folder / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(IMPORTS + textwrap.dedent(source))

    def load(self, reference: str) -> PythonModel:
        """Load `module:attribute` as the server does."""
        model = load(Path(reference))
        assert isinstance(model, PythonModel)
        return model

    def loaded(self, source: str, attribute: str = "f") -> PythonModel:
        """Write a module and load from it."""
        self.write("written", source)
        return self.load(f"written:{attribute}")

    def forget(self) -> None:
        """Take away what was imported."""
        for name in set(sys.modules) - self._before:
            if str(self.folder) in str(getattr(sys.modules[name], "__spec__", "")):
                del sys.modules[name]

    def module(self, name: str) -> ModuleType:
        """A module as it was last imported."""
        return sys.modules[name]
