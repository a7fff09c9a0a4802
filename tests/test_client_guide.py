"""The guide to the client keeps its word: its programs and commands do what it prints."""

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.process import ServerProcess

GUIDE = Path(__file__).parents[1] / "server" / "docs" / "client.md"
TEXT = GUIDE.read_text()
# Block by block: one that prints nothing must not be taken together with the next.
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
BLOCKS = BLOCK.findall(TEXT)
EXAMPLES = [
    (language, example, printed)
    for (language, example), (kind, printed) in itertools.pairwise(BLOCKS)
    if kind == "text"
]

ADDRESS = "127.0.0.1:8501"
COMMAND = "batcher-server client localhost:8501"
ZERO = re.compile(r"ZERO = (\[.*?^\])", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def address(digits_server: ServerProcess) -> str:
    """Host and port of a server of the bundled model."""
    return digits_server.url.removeprefix("http://")


def test_it_is_short() -> None:
    assert len(TEXT.split()) < 1300


def test_every_example_is_run() -> None:
    assert TEXT.count("```python") == sum(language == "python" for language, _, _ in EXAMPLES)
    # All but the installation.
    assert TEXT.count("```sh") == 1 + sum(language == "sh" for language, _, _ in EXAMPLES)
    for language, example, _ in EXAMPLES:
        assert ADDRESS in example if language == "python" else example.startswith(COMMAND)


@pytest.mark.parametrize(("language", "example", "printed"), EXAMPLES)
def test_an_example_does_what_is_printed(
    language: str, example: str, printed: str, address: str, tmp_path: Path
) -> None:
    (zero,) = ZERO.findall(TEXT)
    scan = json.loads(re.sub(r",(\s*\])", r"\1", zero))
    (tmp_path / "scan.json").write_text(json.dumps(scan))
    if language == "python":
        command = [sys.executable, "-c", example.replace(ADDRESS, address)]
    else:
        # Nothing else of a guide is for a test to run, such as an installation.
        assert example.startswith(COMMAND)
        ours = f"{sys.executable} -m server client {address}"
        command = ["sh", "-c", example.replace(COMMAND, ours)]
    environment = os.environ | {"PYTHONPATH": str(GUIDE.parents[2])}
    ran = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    assert ran.stderr == ""
    assert ran.stdout == printed
