"""Completion: what real bash offers for what was typed, and click's protocol for zsh and fish."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from server.config import LOG_LEVELS

ROOT = Path(__file__).parents[2]

COMMANDS = ["client", "completion", "convert", "inspect", "load", "monitoring", "serve", "token"]

# Outside of its own calls bash has no `compopt`; what it is asked for is told instead.
DRIVER = r"""
compopt() { printf 'compopt %s %s\n' "$@"; }
source "$1"
COMP_LINE=$2 COMP_POINT=${#2} COMPREPLY=()
_batcher_server_completion batcher-server
(( ${#COMPREPLY[@]} == 0 )) || printf '%s\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="session")
def shims(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PATH with a `batcher-server` that runs these sources."""
    folder = tmp_path_factory.mktemp("bin")
    shim = folder / "batcher-server"
    shim.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m server "$@"\n')
    shim.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def script(shims: Path) -> Path:
    """What `completion bash` prints."""
    file = shims / "completion.bash"
    printed = subprocess.run(
        [shims / "batcher-server", "completion", "bash"], capture_output=True, check=True
    )
    assert printed.stderr == b""
    file.write_bytes(printed.stdout)
    return file


Offers = Callable[[str], list[str]]


@pytest.fixture
def offers(shims: Path, script: Path, tmp_path: Path) -> Offers:
    """What bash offers at the end of a line, beginning with what it is told to do itself."""
    (tmp_path / "models" / "half").mkdir(parents=True)
    (tmp_path / "models" / "hälf").mkdir()
    (tmp_path / "scan.json").write_text("{}")

    def offers(line: str) -> list[str]:
        done = subprocess.run(
            ["bash", "--norc", "-c", DRIVER, "bash", script, line],
            env={**os.environ, "PATH": f"{shims}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        return done.stdout.splitlines()

    return offers


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        # Options, with `serve` named or not.
        ("batcher-server --max-batch", ["--max-batch-size"]),
        ("batcher-server serve --max-batch", ["--max-batch-size"]),
        ("batcher-server models/half --max-batch", ["--max-batch-size"]),
        ("batcher-server --port 0 --no-c", ["--no-cors"]),
        ("batcher-server inspect --max", ["--max-batch-size"]),
        ("batcher-server load http://127.0.0.1:8501 --mo", ["--model"]),
        # Names of subcommands come first only.
        ("batcher-server ", ["compopt -o default", *COMMANDS]),
        ("batcher-server ins", ["compopt -o default", "inspect"]),
        ("batcher-server --cors ins", ["compopt -o default"]),
        ("batcher-server serve ins", ["compopt -o default"]),
        # Values.
        ("batcher-server --log-level ", list(LOG_LEVELS)),
        ("batcher-server --log-level=e", ["error"]),
        ("batcher-server load --protocol oip-", ["oip-binary"]),
        ("batcher-server load --protocol=oip-", ["oip-binary"]),
        ("batcher-server completion ", ["bash", "zsh", "fish"]),
        # Paths: bash's own, but behind a name.
        ("batcher-server models/h", ["compopt -o default"]),
        ("batcher-server --config ", ["compopt -o default"]),
        ("batcher-server --model-root ", ["compopt -o dirnames"]),
        ("batcher-server convert models/", ["compopt -o default"]),
        ("batcher-server --model x=models/ha", ["compopt -o nospace", "models/half/"]),
        ("batcher-server --model=x=models/ha", ["compopt -o nospace", "models/half/"]),
        ("batcher-server --model x=models/hä", ["compopt -o nospace", "models/hälf/"]),
        ("batcher-server --model x=sc", ["scan.json"]),
        ("batcher-server --model x=/no/such/", []),
        # Models that the line names.
        ("batcher-server --set digits.device", ["compopt -o nospace", "digits.device="]),
        ("batcher-server --model half=m --set half.dev", ["compopt -o nospace", "half.device="]),
        ("batcher-server --model half=m --label ha", ["compopt -o nospace", "half:"]),
        # TensorFlow Serving's flags, for who has begun one.
        ("batcher-server --rest_api_p", ["--rest_api_port"]),
        ("batcher-server --rest_api_port=1 --max-batch", ["--max-batch-size"]),
        ("batcher-server --no_such_flag=1 --max-batch", ["--max-batch-size"]),
    ],
)
def test_bash_offers(offers: Offers, line: str, offered: list[str]) -> None:
    assert [each for each in offers(line) if each] == offered


def test_a_tab_completes_in_an_interactive_bash(shims: Path, script: Path, tmp_path: Path) -> None:
    command = ["bash", "--norc", "--noprofile", "-i"]
    main, terminal = pty.openpty()
    environment = {"PATH": f"{shims}:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TERM": "xterm"}

    shell = subprocess.Popen(
        command,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**environment, "HISTFILE": "", "PS1": "$ "},
        cwd=tmp_path,
        start_new_session=True,
    )
    os.close(terminal)
    os.write(main, f"source {script}\n".encode())
    os.write(main, b"batcher-server inspect --nam\tx --hel\t >seen; exit\n")
    shown = b""
    try:
        while part := os.read(main, 4096):
            shown += part
    except OSError:
        # Linux says so when the last one who had the terminal has gone.
        pass
    os.close(main)
    assert shell.wait() == 0, shown.decode()
    assert (tmp_path / "seen").read_text().startswith("Usage: batcher-server inspect"), shown


def ask(shell: str, words: str, at: str) -> list[str]:
    """What the program tells another shell's script."""
    done = subprocess.run(
        [sys.executable, "-m", "server"],
        env={
            **os.environ,
            "_BATCHER_SERVER_COMPLETE": f"{shell}_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": at,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_zsh_and_fish_are_told_as_their_scripts_expect() -> None:
    assert ask("zsh", "batcher-server --max-batch", "1") == [
        *("plain", "--max-batch-size", "Most rows that run together.  [default: 64]")
    ]
    assert ask("zsh", "batcher-server load --protocol oip-", "3") == ["plain", "oip-binary", "_"]
    (line,) = ask("fish", "batcher-server --max-batch", "--max-batch")
    assert line.startswith("plain,--max-batch-size\tMost rows that run together.")
    told = ask("fish", "batcher-server ", "")
    assert told == ["file,", *(f"plain,{command}" for command in COMMANDS)]


@pytest.mark.parametrize(("shell", "words"), [("zsh", "#compdef"), ("fish", "complete --no-files")])
def test_other_shells_have_scripts(
    run: Callable[..., tuple[int, str, str]], shell: str, words: str
) -> None:
    code, printed, errors = run("completion", shell)
    assert (code, errors) == (0, "")
    assert words in printed
    assert "_BATCHER_SERVER_COMPLETE" in printed


def test_no_other_shell(run: Callable[..., tuple[int, str, str]]) -> None:
    code, printed, errors = run("completion", "tcsh")
    assert (code, printed) == (2, "")
    assert "'bash', 'zsh', 'fish'" in errors
