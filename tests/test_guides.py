"""Guides keep their word: Python compiles, commands are understood, the index lists every page.

What a page shows is run where that page has a test of its own.
"""

import re
from pathlib import Path

import click
import pytest

from server.cli import _subcommands
from server.cli.options import typed
from server.configuration.configure import configure
from tests.blocks import DOCS, PAGES, ROOT, blocks, commands

CALLS = [(page, words) for page in PAGES for words in commands(page, "batcher-server")]
READS = {"config", "tokens", "admin_tokens", "print_config", "path"}
"""Options of `serve` that name files of the reader, or are not settings."""


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_python_compiles(page: Path) -> None:
    for text in blocks(page, "python"):
        compile(text, str(page), "exec")


@pytest.mark.parametrize("words", [words for _, words in CALLS], ids=[name(p) for p, _ in CALLS])
def test_commands_are_understood(words: list[str]) -> None:
    command = _subcommands.get_command(click.Context(_subcommands), next(iter(words), ""))
    if command is not None:
        command.make_context("batcher-server", words[1:])
        return
    context = _subcommands.commands["serve"].make_context("batcher-server", words)
    given = {option: value for option, value in context.params.items() if option not in READS}
    flags = {flag: value for flag, value in (context.obj or {}).items() if "file" not in flag}
    configure(typed(given), flags, {})


def test_the_index_lists_every_page() -> None:
    index = DOCS / "README.md"
    listed = re.findall(r"^\| \[[^\]]+\]\(([^)#]+)\)", index.read_text(), re.MULTILINE)
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} - {"README.md"}
    assert sorted(listed) == sorted(pages)
