"""Guides keep their word: Python compiles, commands are understood, indices list every page.

What a page shows is run where that page has a test of its own.
"""

import re
from pathlib import Path

import click
import numpy as np
import pytest

from server.cli import _subcommands
from server.cli.options import typed
from server.configuration.configure import configure
from server.declare import declared
from tests.blocks import DOCS, PAGES, ROOT, blocks, commands, run_block

CALLS = [(page, words) for page in PAGES for words in commands(page, "batcher-server")]
METRIC = re.compile(r"`(batcher_[a-z_]+)`")
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


def test_metrics_are_those_of_the_guide_to_monitoring() -> None:
    known = set(METRIC.findall((DOCS / "monitoring.md").read_text()))
    for page in PAGES:
        for metric in METRIC.findall(page.read_text()):
            assert metric in known, page


def test_the_model_to_try_tuning_with_runs() -> None:
    function = run_block(DOCS / "tuning.md", "def sleepy")["sleepy"]
    assert declared(function) is not None
    assert function(np.ones((2, 4), "float32")).tolist() == [4.0, 4.0]


def test_indices_list_every_page_once() -> None:
    indices = [page for page in PAGES if page.name == "README.md" and page.is_relative_to(DOCS)]
    listed = [
        index.parent / link
        for index in indices
        for link in re.findall(r"^\| \[[^\]]+\]\(([^)#]+)\)", index.read_text(), re.MULTILINE)
    ]
    assert sorted(listed) == sorted({*DOCS.rglob("*.md")} - {DOCS / "README.md"})
