"""The help texts in the guide to commands; `python -m tests.commands_guide` writes them anew."""

import os
import re
import subprocess
import sys
from pathlib import Path

GUIDE = Path(__file__).parents[1] / "server" / "docs" / "commands.md"

HELP = re.compile(r"<!-- help (\w+) -->\n```text\n(.*?)```\n<!-- end -->\n", re.DOTALL)


def help_of(command: str) -> str:
    """What `batcher-server COMMAND --help` prints on 80 columns."""
    done = subprocess.run(
        [sys.executable, "-m", "server", command, "--help"],
        env={**os.environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def with_help(text: str) -> str:
    """The guide with the help texts that are printed now."""
    return HELP.sub(
        lambda found: f"<!-- help {found[1]} -->\n```text\n{help_of(found[1])}```\n<!-- end -->\n",
        text,
    )


if __name__ == "__main__":
    GUIDE.write_text(with_help(GUIDE.read_text()))
