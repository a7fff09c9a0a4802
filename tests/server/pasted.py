"""Runs the commands of a sample as a shell would, against a front without sockets."""

import argparse
import contextlib
import io
import shlex
from pathlib import Path
from urllib.parse import urlsplit

from server.exchange import Answer
from tests.server.conftest import Served

_CURL = argparse.ArgumentParser()
_CURL.add_argument("-s", action="store_true")
_CURL.add_argument("url")
_CURL.add_argument("-H", action="append", default=[])
_CURL.add_argument("-d")
_CURL.add_argument("--data-binary")
_CURL.add_argument("-o")


def paste(text: str, served: Served) -> Answer:
    """The answer to the only curl of a sample; python3 writes to it or to the current folder."""
    piped = b""
    for command in commands(text):
        if command[:2] == ["python3", "-c"]:
            piped = run_python(command[2])
            continue
        asked = _CURL.parse_args(command[1:])
        sent = asked.d or asked.data_binary
        if sent.startswith("@"):
            body = piped if sent == "@-" else Path(sent[1:]).read_bytes()
            if asked.d:
                body = body.replace(b"\n", b"")
        else:
            body = sent.encode()
        headers = dict(header.split(": ", 1) for header in asked.H)
        return served.ask("POST", urlsplit(asked.url).path, body, headers)
    raise AssertionError(text)


def commands(text: str) -> list[list[str]]:
    """The words of each command, as a shell understands them."""
    found: list[list[str]] = []
    for word in shlex.split(text.replace("\\\n", " ")):
        if word in {"python3", "curl"}:
            found.append([])
        if word != "|":
            found[-1].append(word)
    return found


def run_python(program: str) -> bytes:
    """What a program writes to standard output."""
    written = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with contextlib.redirect_stdout(written):
        exec(compile(program, "sample", "exec"), {"__name__": "__main__"})
    written.flush()
    buffer = written.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue()
