"""The guide to commands: its help texts are what is printed, its examples run."""

import re
import shlex

import pytest

from server.cli import _subcommands
from tests.commands_guide import GUIDE, HELP, with_help
from tests.server.process import ServerProcess, run_to_end

TEXT = GUIDE.read_text()

EXAMPLES = [
    shlex.split(line)[1:]
    for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("batcher-server load --")
]


def test_each_command_has_its_help_as_it_is_printed() -> None:
    assert {command for command, _ in HELP.findall(TEXT)} == set(_subcommands.commands)
    assert with_help(TEXT) == TEXT, "python -m tests.commands_guide writes it anew"


def test_each_command_is_in_the_overview() -> None:
    overview = TEXT.partition("## ")[0]
    for command in _subcommands.commands:
        assert re.search(rf"batcher-server \[?{command}\b", overview), command


def test_the_examples_of_load_run(digits_server: ServerProcess) -> None:
    assert len(EXAMPLES) == 3
    for arguments in EXAMPLES:
        code, output, errors = run_to_end(*arguments, digits_server.url)
        assert (code, errors) == (0, ""), arguments
        assert "answered/s" in output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_that_it_tells_of_is_there(shell: str) -> None:
    assert f"batcher-server completion {shell}" in TEXT
    assert run_to_end("completion", shell)[0] == 0
