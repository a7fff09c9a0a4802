"""Servers to measure: started, found by the URL they print, watched in /proc, and ended with all.

Assumptions: Linux, and a server that prints `http://127.0.0.1:PORT` once it listens.
"""

import contextlib
import http.client
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import click

from bench.family import Family
from bench.record import ROOT

START_LIMIT: Final = 120.0
"""Seconds until a server must be ready; TensorFlow alone takes ten of them on a busy machine."""

STOP_LIMIT: Final = 10.0

PAUSE: Final = 0.05

URL: Final = re.compile(r"http://127\.0\.0\.1:(\d+)")

PAGE: Final = os.sysconf("SC_PAGE_SIZE")

SHOWN_OF_LOG: Final = 3000

_ROWS: Final = re.compile(rb"^batcher_batch_rows_(sum|count)\{[^}]*\} ([0-9.e+]+)$", re.MULTILINE)


class Server:
    """A running server at a port of the loopback."""

    def __init__(self, name: str, port: int, pid: int, log: int) -> None:
        self.name = name
        self.port = port
        self._pid = pid
        self._log = log

    def url(self, path: str) -> str:
        """Where to ask it for `path`."""
        return f"http://127.0.0.1:{self.port}{path}"

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """One request on a connection of its own: status and body of the answer. OSError."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def cpu(self) -> float:
        """Seconds of CPU it has used so far, with the processes below it, to a hundredth."""
        return Family(self._pid).cpu()

    def memory(self) -> float:
        """Megabytes of it that are resident now, without the processes below it."""
        pages = int(pathlib.Path(f"/proc/{self._pid}/statm").read_text().split()[1])
        return pages * PAGE / 1e6

    def batches(self) -> tuple[float, float]:
        """Rows and batches that its models have run so far."""
        found = dict(_ROWS.findall(self.ask("GET", "/metrics")[1]))
        return float(found[b"sum"]), float(found[b"count"])

    def freeze(self) -> None:
        """Stop it where it is: it needs no CPU."""
        Family(self._pid).freeze()

    @contextlib.contextmanager
    def thawed(self) -> Iterator[None]:
        """Let it go on until the block is left."""
        Family(self._pid).thaw()
        try:
            yield
        finally:
            self.freeze()

    def said(self) -> str:
        """All that it has written so far."""
        return _read(self._log)


@contextlib.contextmanager
def running(
    name: str,
    arguments: Sequence[str],
    limit: float = START_LIMIT,
    *,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Run `python -m ...`, from when it is ready until the block is left. ClickException.

    It has `limit` seconds to get ready; `variables` are of its environment besides.
    """
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            # Into a file, a print would otherwise stay in a buffer, and the URL with it.
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield _ready(name, process, log.fileno(), limit)
        finally:
            _end(process)


def _ready(name: str, process: "subprocess.Popen[bytes]", log: int, limit: float) -> Server:
    """Wait for the URL and for /readyz."""
    until = time.monotonic() + limit
    while time.monotonic() < until and process.poll() is None:
        time.sleep(PAUSE)
        if found := URL.search(_read(log)):
            server = Server(name, int(found[1]), process.pid, log)
            with contextlib.suppress(OSError, http.client.HTTPException):
                if server.ask("GET", "/readyz")[0] == http.client.OK:
                    return server
    happened = "did not get ready" if process.poll() is None else f"ended: {process.returncode}"
    msg = f"{name} {happened}. It said:\n{_read(log)[-SHOWN_OF_LOG:]}"
    raise click.ClickException(msg)


def _read(log: int) -> str:
    """All of the log so far, without moving where its writer is."""
    return os.pread(log, os.fstat(log).st_size, 0).decode(errors="replace")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ask it to stop; end its whole process group if it does not, or leaves somebody behind."""
    process.terminate()
    Family(process.pid).thaw()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_LIMIT)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
