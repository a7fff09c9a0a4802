"""Load on a running server: so many clients, each sending its next request when it is answered."""

import asyncio
import collections
import contextlib
import json
import pathlib
import signal
import sys
import time
from typing import Any, Final, NamedTuple

import click
import uvloop

from bench.client import Answer, Client
from bench.options import json_option
from bench.record import write_json
from bench.screen import screen, stopwatch
from bench.tally import Tally
from bench.target import Target

DEFAULT_URL: Final = "http://127.0.0.1:8501/v1/models/digits:predict"

SCAN: Final = (
    (0, 0, 5, 13, 9, 1, 0, 0),
    (0, 0, 13, 15, 10, 15, 5, 0),
    (0, 3, 15, 2, 0, 11, 8, 0),
    (0, 4, 12, 0, 0, 8, 8, 0),
    (0, 5, 8, 0, 0, 9, 8, 0),
    (0, 4, 11, 0, 1, 12, 7, 0),
    (0, 2, 14, 5, 10, 12, 0, 0),
    (0, 0, 6, 13, 10, 0, 0, 0),
)
"""A handwritten 0: the first scan of scikit-learn's digits."""

TICK: Final = 0.25
"""Seconds between looks at the clock."""

RETRY: Final = 0.2
"""Seconds before a client connects again."""

BUSY: Final = 0.9
"""Share of a core beyond which this program is what limits the rate."""


class Settings(NamedTuple):
    """What to do."""

    target: Target
    body: bytes
    clients: int
    seconds: float
    warmup: float
    timeout: float


class Result(NamedTuple):
    """What came of it; `rate` is of good answers a second, `busy` the share of a core it took."""

    tally: Tally
    seconds: float
    rate: float
    busy: float
    interrupted: bool


class Load:
    """Keeps all clients connected and busy; `tally` may be changed for a new one at any time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._request = settings.target.post(settings.body)
        self._connected: set[Client] = set()
        self._goes_on = True
        self._stopped = asyncio.Event()
        self.tally = Tally()

    def interrupt(self) -> None:
        """Stop at once; what is on its way does not count."""
        self._stopped.set()

    async def run(self) -> Result:
        """Warm up, measure, and wait for the last answers."""
        clients = [asyncio.create_task(self._keep_busy()) for _ in range(self._settings.clients)]
        try:
            await self._watch(self._settings.warmup, "warming up")
            self.tally = Tally()
            began, cpu_began = time.perf_counter(), time.process_time()
            await self._watch(self._settings.seconds, "")
            elapsed = time.perf_counter() - began
            busy = (time.process_time() - cpu_began) / elapsed
            rate = self.tally.good / elapsed
            await self._finish(clients)
        finally:
            for client in clients:
                client.cancel()
        return Result(self.tally, elapsed, rate, busy, self._stopped.is_set())

    async def _watch(self, duration: float, word: str) -> None:
        """Let time pass; show how it goes, and end what takes too long."""
        began = shown = time.perf_counter()
        good = self.tally.good
        with stopwatch() as progress:
            bar = progress.add_task(word, total=duration)
            while not self._stopped.is_set() and (left := began + duration - shown) > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopped.wait(), min(TICK, left))
                self._end_overdue()
                now, before = time.perf_counter(), good
                good = self.tally.good
                told = f"{(good - before) / (now - shown):,.0f} requests/s {word}"
                if self.tally.failed:
                    told += f", {self.tally.failed:,} failed"
                progress.update(bar, completed=min(now - began, duration), description=told)
                shown = now

    async def _finish(self, clients: list["asyncio.Task[None]"]) -> None:
        """Send nothing more; answers on their way count, and so do those that never come."""
        self._goes_on = False
        timeout = self._settings.timeout
        answered = asyncio.create_task(asyncio.wait(clients))
        stopped = asyncio.create_task(self._stopped.wait())
        waits: set[asyncio.Future[Any]] = {answered, stopped}
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        for client in clients:
            if client.done():
                client.result()
        for connected in self._connected:
            if not self._stopped.is_set():
                self.tally.failures[_late(timeout)] += 1
            connected.end(None)

    async def _keep_busy(self) -> None:
        """One client: connect, and again when the connection has failed."""
        target = self._settings.target
        loop = asyncio.get_running_loop()
        while self._goes_on:
            try:
                _, client = await loop.create_connection(
                    lambda: Client(self._request, self._answered), target.host, target.port
                )
            except OSError as error:
                failure: str | None = f"cannot connect: {error.strerror or error}"
            else:
                self._connected.add(client)
                failure = await client.ended
                self._connected.discard(client)
            if failure is not None:
                self.tally.failures[failure] += 1
                await asyncio.sleep(RETRY)

    def _answered(self, answer: Answer) -> bool:
        self.tally.add(answer)
        return self._goes_on

    def _end_overdue(self) -> None:
        """Give up on requests that have no answer within the timeout."""
        timeout = self._settings.timeout
        earliest = time.perf_counter() - timeout
        for client in list(self._connected):
            if client.sent_at <= earliest:
                client.end(_late(timeout))


@click.command(
    epilog="""\b
Examples:
  python -m bench load
  python -m bench load --clients 256 --seconds 30 --rows 16
  python -m bench load http://127.0.0.1:8501/v1/models/mlp:predict --body mlp.json"""
)
@click.argument("url", default=DEFAULT_URL)
@click.option("--clients", type=click.IntRange(1, 4096), default=64, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.1, 600), default=10.0, show_default=True)
@click.option(
    "--body",
    "body_file",
    type=click.Path(exists=True, dir_okay=False, path_type=pathlib.Path),
    help="JSON to send instead of a handwritten digit.",
)
@click.option("--rows", type=click.IntRange(1, 4096), help="Digits in one request.  [default: 1]")
@click.option(
    "--warmup",
    type=click.FloatRange(0, 60),
    default=1.0,
    show_default=True,
    help="Seconds of load before those that count.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 600),
    default=30.0,
    show_default=True,
    help="Seconds to wait for an answer.",
)
@json_option
def command(
    *,
    url: str,
    clients: int,
    seconds: float,
    body_file: pathlib.Path | None,
    rows: int | None,
    warmup: float,
    timeout: float,
    json_file: pathlib.Path | None,
) -> None:
    """Keep a running server busy, and tell how it did.

    URL is where to POST; it must be on this machine. The default asks the digits model that comes
    with the server. Each client sends its next request when it has its answer (a closed loop): so a
    server that stalls gets fewer requests meanwhile, and percentiles tell little of the stall. Look
    at the maximum, or use `rates`, which is an open loop. Ctrl-C shows what was measured so far.
    Exit status 1 if any request failed.
    """
    try:
        target = Target.of(url)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="URL") from error
    if body_file is not None and rows is not None:
        msg = "--body and --rows exclude each other"
        raise click.UsageError(msg)
    body = body_file.read_bytes() if body_file else digits(rows or 1)
    settings = Settings(target, body, clients, seconds, warmup, timeout)
    result = uvloop.run(_measure(settings))
    _show(settings, result)
    if json_file is not None:
        _write(json_file, settings, result)
    if result.tally.failed or not result.tally.good:
        sys.exit(1)
    if result.interrupted:
        sys.exit(128 + signal.SIGINT)


def _late(timeout: float) -> str:
    return f"no answer within {timeout:g} s"


def digits(rows: int) -> bytes:
    """The body of a request with so many handwritten digits."""
    return json.dumps({"instances": [SCAN] * rows}).encode()


async def _measure(settings: Settings) -> Result:
    await _check_reachable(settings.target)
    load = Load(settings)
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, load.interrupt)
    return await load.run()


async def _check_reachable(target: Target) -> None:
    """A mistake in the port should not take all the time to tell."""
    try:
        _, writer = await asyncio.open_connection(target.host, target.port)
    except OSError as error:
        msg = f"nobody listens at {target.authority} ({error.strerror or error}): is it running?"
        raise click.ClickException(msg) from error
    writer.close()


def _show(settings: Settings, result: Result) -> None:
    """Print the figures, what failed, and the histogram."""
    console = screen()
    tally = result.tally
    size, word = len(settings.body), ", interrupted" if result.interrupted else ""
    lines = [
        str(settings.target),
        f"clients     {settings.clients:,}, {size:,} bytes a request, {result.seconds:.1f} s{word}",
        f"rate        {result.rate:,.1f} requests/s",
        f"answers     {_told(tally.statuses)}; {tally.received:,} bytes",
        f"failures    {_told(tally.failures)}",
    ]
    if found := tally.latencies():
        told = ", ".join(f"{name} {value:,.2f}" for name, value in found.items())
        lines.append(f"latency     {told} ms")
    if tally.failed and tally.good:
        lines.append("            (rate and latency are of the answers with status 200)")
    if result.busy > BUSY and result.seconds > TICK:
        lines.append(f"            (this client took {result.busy:.0%} of a core: it is the limit)")
    if tally.first_error_body:
        lines.append(f"first error {tally.first_error_body}")
    for line in [*lines, "", *tally.bars()]:
        console.print(line, markup=False, soft_wrap=True)


def _told(counts: collections.Counter[Any]) -> str:
    return ", ".join(f"{what}: {count:,}" for what, count in counts.most_common()) or "none"


def _write(path: pathlib.Path, settings: Settings, result: Result) -> None:
    told = settings._asdict() | {"target": str(settings.target), "body": len(settings.body)}
    results = {
        "seconds": result.seconds,
        "requests_per_second": result.rate,
        "client_busy": result.busy,
        "interrupted": result.interrupted,
        **result.tally.plain(),
    }
    write_json(path, "load", told, results)
