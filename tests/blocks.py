"""The blocks of code in the guides: by language, or by the file that they say they are."""

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
DOCS: Final = ROOT / "server" / "docs"
PAGES: Final = (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))

_BLOCK: Final = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_FILE: Final = re.compile(r"# (\w+)\.py\n")
_SIGNS: Final = ";|&<>\n"
_SHELL: Final = frozenset(_SIGNS)


def blocks(page: Path, language: str) -> list[str]:
    """All blocks of a language, in their order."""
    return [text for found, text in _BLOCK.findall(page.read_text()) if found == language]


def named(page: Path, file: str) -> str:
    """The only Python block that begins with this file's name."""
    (text,) = [text for text in blocks(page, "python") if text.startswith(f"# {file}\n")]
    return text


def write_named(page: Path, folder: Path) -> None:
    """Write each Python block that begins with the name of a file to that file."""
    for text in blocks(page, "python"):
        if found := _FILE.match(text):
            (folder / f"{found[1]}.py").write_text(text)


def run_block(page: Path, containing: str) -> dict[str, Any]:
    """Execute the only Python block with these words; its names."""
    (text,) = [text for text in blocks(page, "python") if containing in text]
    names: dict[str, Any] = {"__name__": "block"}
    exec(compile(text, str(page), "exec"), names)
    return names


def commands(page: Path, program: str) -> Iterator[list[str]]:
    """The words behind each call of a program in shell blocks, up to where the shell takes over."""
    for text in blocks(page, "sh"):
        words = _words(text)
        for place, word in enumerate(words):
            if word.rpartition("/")[2] == program:
                yield list(itertools.takewhile(lambda word: word not in _SHELL, words[place + 1 :]))


def _words(text: str) -> list[str]:
    """The words of a script as a shell reads them; ends of lines and signs are words as well."""
    without_comments = re.sub(r"(?m)(^|\s)#.*$", "", text.replace("\\\n", " "))
    lexer = shlex.shlex(without_comments, posix=True, punctuation_chars=_SIGNS)
    lexer.whitespace = " \t"
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        words += word if set(word) <= set(_SIGNS) else [word]
    return words
