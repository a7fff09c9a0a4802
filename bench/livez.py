"""How long `/livez` takes while clients send bodies of megabytes: how long the loop is held up."""

import contextlib
import json
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import click

from bench.models import cached
from bench.options import cache_option, json_option
from bench.record import ROOT, write_json
from bench.screen import show_table, stopwatch
from bench.servers import Server, running

PATH: Final = "/v1/models/wide:predict"
FEATURES: Final = 27_648
"""Numbers in a row of the model, as in a picture of 96 x 96 pixels."""

SEED: Final = 20240607

PROBE: Final = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
PAUSE: Final = 0.02
"""Seconds from one probe to the next, whether or not the first is answered by then."""

SETTLE: Final = 5.0
"""Seconds of load before probes count."""

COLUMNS: Final = ("load", "probes", "p50 ms", "p99 ms", "max ms", "requests/s", "MB/s")

BELOW: Final = """\
A probe's time begins when it is due, even if the one before it is not answered yet. Clients, probe
and server share this machine's CPUs: so the probe waits for its turn there, too.\
"""


class Load(NamedTuple):
    """So many clients, each of which sends its body of so many rows again when it is answered."""

    name: str
    clients: int
    body: bytes


class Outcome(NamedTuple):
    """The times of the probes in milliseconds, and the rate of the load."""

    load: str
    times: list[float]
    rate: float
    megabytes: float

    def quantile(self, share: float) -> float:
        """The time that so many of the probes did not exceed."""
        return sorted(self.times)[min(int(share * len(self.times)), len(self.times) - 1)]


@click.command(
    epilog="""\b
Examples:
  python -m bench livez
  python -m bench livez --clients 16 --megabytes 40 --seconds 60"""
)
@click.option("--clients", type=click.IntRange(1, 1024), default=64, show_default=True)
@click.option(
    "--megabytes",
    type=click.FloatRange(0.1, 60),
    default=10.0,
    show_default=True,
    help="Size of a body.",
)
@click.option("--seconds", type=click.FloatRange(1, 600), default=20.0, show_default=True)
@cache_option
@json_option
def command(
    *,
    clients: int,
    megabytes: float,
    seconds: float,
    cache: pathlib.Path,
    json_file: pathlib.Path | None,
) -> None:
    """Probe the server's health while clients send it JSON of megabytes.

    One body has few long lists of numbers with all their digits; the other, numbers of one digit
    each, of which there are many more to read. Exit status 1 if any request failed.
    """
    model = cached("wide", cache)
    arguments = ["server", "--model", f"wide={model}", "--port", "0", "--log-level", "warning"]
    loads = _loads(clients, round(megabytes * 1e6))
    with running("ours", arguments) as server:
        alone = Outcome("none", _probe(server, seconds / 4), 0.0, 0.0)
        outcomes = [alone, *[_measure(server, load, seconds) for load in loads]]
    show_table(f"/livez beside {clients} clients", COLUMNS, [map(_row, outcomes)], below=BELOW)
    if json_file is not None:
        settings = {"clients": clients, "megabytes": megabytes, "seconds": seconds}
        write_json(json_file, "livez", settings, {"loads": [_plain(o) for o in outcomes]})


def _loads(clients: int, size: int) -> Iterator[Load]:
    chance = random.Random(SEED)
    floats = [repr(chance.random()) for _ in range(FEATURES)]
    digits = [str(chance.randrange(10)) for _ in range(FEATURES)]
    for name, numbers in (("all digits", floats), ("one digit", digits)):
        row = ",".join(numbers)
        rows = max(1, size // (len(row) + len("[],")))
        body = f'{{"instances":[{",".join([f"[{row}]"] * rows)}]}}'.encode()
        yield Load(f"{name}, {rows} rows", clients, body)


def _measure(server: Server, load: Load, seconds: float) -> Outcome:
    """Probe during a stretch of load. ClickException if a request fails."""
    with tempfile.TemporaryDirectory() as folder:
        body, result = pathlib.Path(folder, "body"), pathlib.Path(folder, "result")
        body.write_bytes(load.body)
        options = {
            "--body": body,
            "--clients": load.clients,
            "--seconds": seconds + SETTLE,
            "--warmup": 0,
            "--timeout": 600,
            "--json": result,
        }
        command = [sys.executable, "-m", "bench", "load", server.url(PATH)]
        command += [str(word) for option in options.items() for word in option]
        with _beside(command) as process:
            time.sleep(SETTLE)
            times = _probe(server, seconds)
            told, _ = process.communicate()
        if process.returncode:
            msg = f"the load failed:\n{told}"
            raise click.ClickException(msg)
        rate = json.loads(result.read_text())["requests_per_second"]
    return Outcome(load.name, times, rate, rate * len(load.body) / 1e6)


@contextlib.contextmanager
def _beside(command: Sequence[str]) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def _probe(server: Server, seconds: float) -> list[float]:
    """Ask at a steady pace; milliseconds from when each question was due to its answer."""
    times = []
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = due = time.perf_counter()
        with stopwatch() as progress:
            bar = progress.add_task("", total=seconds)
            while due < began + seconds:
                time.sleep(max(0.0, due - time.perf_counter()))
                connection.sendall(PROBE)
                _read_answer(connection)
                now = time.perf_counter()
                times.append((now - due) * 1000)
                progress.update(bar, completed=now - began, description=f"{max(times):.1f} ms")
                due += PAUSE
    return times


def _read_answer(connection: socket.socket) -> None:
    received = b""
    while not received.endswith(b"alive\n"):
        part = connection.recv(4096)
        received += part
        if not part or not received.startswith(b"HTTP/1.1 200"[: len(received)]):
            msg = f"/livez was answered {received[:200]!r}"
            raise click.ClickException(msg)


def _row(outcome: Outcome) -> list[str]:
    return [
        outcome.load,
        f"{len(outcome.times):,}",
        f"{outcome.quantile(0.5):.1f}",
        f"{outcome.quantile(0.99):.1f}",
        f"{max(outcome.times):.1f}",
        f"{outcome.rate:.1f}",
        f"{outcome.megabytes:.0f}",
    ]


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {
        "load": outcome.load,
        "probes": len(outcome.times),
        "p50_ms": outcome.quantile(0.5),
        "p99_ms": outcome.quantile(0.99),
        "max_ms": max(outcome.times),
        "requests_per_second": outcome.rate,
        "megabytes_per_second": outcome.megabytes,
    }
