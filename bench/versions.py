"""Versions of one small model, y = x * 0.5 + version, copied to where a server looks for them.

One SavedModel is made, and cached; a version differs in the one number of its graph, so no process
needs TensorFlow to write it.
"""

import asyncio
import pathlib
import shutil
import struct
from collections.abc import Sequence
from typing import Final

import click

from bench.models import VERSION, cached

PART: Final = 256 * 1024
"""Most bytes that are written at a time."""

FILES: Final = (
    "saved_model.pb",
    "variables/variables.index",
    "variables/variables.data-00000-of-00001",
)
"""In this order: so a half-copied folder looks like a model for as long as possible."""


class Versions:
    """Brings versions into a base folder, each of which needs so many megabytes."""

    def __init__(self, base: pathlib.Path, megabytes: int, cache: pathlib.Path) -> None:
        self.base = base
        model = cached(f"versioned-{megabytes}", cache) / "1"
        self._files = [(name, (model / name).read_bytes()) for name in FILES]

    def folder(self, number: int) -> pathlib.Path:
        """Where a version is, or will be."""
        return self.base / str(number)

    async def bring(self, number: int, folder: pathlib.Path, seconds: float) -> None:
        """Write a version into a folder, part by part in so many seconds, over what is there."""
        parts = [
            (folder / name, at, content[at : at + PART])
            for name, content in self._of(number)
            for at in range(0, len(content), PART)
        ]
        for place, (file, at, part) in enumerate(parts):
            if place:
                await asyncio.sleep(seconds / (len(parts) - 1))
            await asyncio.to_thread(_write, file, at, part)

    async def remove(self, number: int) -> None:
        """Take a version away."""
        await asyncio.to_thread(shutil.rmtree, self.folder(number), ignore_errors=True)

    def _of(self, number: int) -> Sequence[tuple[str, bytes]]:
        """Names and contents of the files of a version."""
        mark, its = struct.pack("<f", VERSION), struct.pack("<f", number)
        (name, graph), *others = self._files
        if graph.count(mark) != 1:
            msg = f"the graph of the cached model has its version {graph.count(mark)} times, not 1"
            raise click.ClickException(msg)
        return [(name, graph.replace(mark, its)), *others]


def _write(file: pathlib.Path, at: int, part: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab" if at else "wb") as opened:
        opened.write(part)
