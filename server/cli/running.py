"""A server from its start to its end: configuration, logging, signals, and uvloop. Main thread."""

import asyncio
import functools
import os
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
import structlog
import uvloop

from server.cli.doors import read_by_all, warn_of_few_files, warn_of_open_doors
from server.cli.rereading import reread_forever
from server.config import Config
from server.configuration.build import Configuration
from server.configuration.configure import configure
from server.configuration.show import show
from server.configuration.tfserving_flags import Flags
from server.interrupts import leaving_at_once
from server.logs import start_logging
from server.machine import open_files

log: Final = structlog.get_logger("server.cli")


def run(texts: Mapping[str, tuple[str, ...]], flags: Flags, *, print_config: bool) -> None:
    """Make the Config and run until a signal. ConfigError, StartupError."""

    def read() -> Configuration:
        return configure(texts, flags, os.environ)

    configuration = read()
    if print_config:
        # A file's name may have bytes that are no text.
        click.echo(show(configuration).encode(errors="backslashreplace"), nl=False)
        return
    exposed = read_by_all(configuration.token_files)
    start_logging(configuration.config.log_level)
    for note in configuration.notes:
        log.warning(note)
    warn_of_few_files(open_files())
    announce = functools.partial(_announce, configuration.config, exposed)
    with leaving_at_once():
        from server import lifecycle  # noqa: PLC0415 - wrong options are told first
    start = functools.partial(lifecycle.serve, configuration.config)
    rereading = functools.partial(reread_forever, configuration.config, lambda: read().config)
    uvloop.run(_until_signal(lambda stop, hangup: start(stop, announce, rereading(hangup))))


def _announce(
    config: Config, exposed: Sequence[Path], serving: Sequence[str], addresses: str
) -> None:
    warn_of_open_doors(config, exposed)
    click.echo(f"batcher-server serves {', '.join(serving)} on {addresses}")


async def _until_signal(
    serve: Callable[[asyncio.Event, asyncio.Event], Coroutine[Any, Any, None]],
) -> None:
    """Serve until the first of two events is set; at the second the configuration is read anew."""
    loop = asyncio.get_running_loop()
    stop, hangup = asyncio.Event(), asyncio.Event()

    def on_interrupt() -> None:
        # A second Ctrl-C does what it does to any program; supervisors may well send SIGTERM twice.
        loop.remove_signal_handler(signal.SIGINT)
        stop.set()

    loop.add_signal_handler(signal.SIGINT, on_interrupt)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    await serve(stop, hangup)
