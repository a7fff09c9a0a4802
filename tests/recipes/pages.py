"""Pages of recipes: the files, commands and answers on them, and modules made of the files."""

import importlib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parents[2] / "server" / "docs" / "recipes"
PAGES = {path.stem: path.read_text() for path in sorted(FOLDER.glob("*.md"))}

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_NAMED = re.compile(r"# (\w+\.py)\n")


def blocks(page: str, language: str) -> list[str]:
    """The contents of all blocks of a language, in order."""
    return [content for each, content in _BLOCK.findall(PAGES[page]) if each == language]


def files(page: str) -> dict[str, str]:
    """The files on a page: blocks of Python whose first line is their name."""
    named = [(_NAMED.match(source), source) for source in blocks(page, "python")]
    return {name[1]: source for name, source in named if name}


def exchanges(page: str) -> list[tuple[str, str]]:
    """Commands to paste, each with the answer that the page prints right below it."""
    found = _BLOCK.findall(PAGES[page])
    return [
        (command, answer)
        for (first, command), (second, answer) in pairwise(found)
        if first == "sh" and second in {"json", "text"}
    ]


@contextmanager
def written(page: str, folder: Path) -> Iterator[dict[str, ModuleType]]:
    """The modules of a page, written to a folder and imported from there; by name."""
    sources = files(page)
    for name, source in sources.items():
        (folder / name).write_text(source)
    names = [name.removesuffix(".py") for name in sources]
    sys.path.insert(0, str(folder))
    try:
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(folder))
        for name in names:
            sys.modules.pop(name, None)
