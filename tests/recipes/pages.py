"""Pages of recipes: the files, commands and answers on them, and modules made of the files."""

import importlib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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


def printed(page: str) -> str:
    """The answer that the page prints."""
    (answer,) = blocks(page, "json")
    return answer


def asked(page: str) -> str:
    """The command with the request to paste."""
    (command,) = [block for block in blocks(page, "sh") if block.startswith("curl")]
    return command


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
