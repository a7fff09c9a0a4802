"""`batcher-server`: arguments to a Config, logging, signals, and uvloop. Main thread."""

import asyncio
import functools
import os
import signal
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import structlog
import uvloop

from server.cli.doors import read_by_all, warn_of_few_files, warn_of_open_doors
from server.cli.options import options, typed
from server.cli.rereading import reread_forever
from server.config import Config
from server.configuration.build import Configuration
from server.configuration.configure import configure
from server.configuration.show import show
from server.configuration.tfserving_flags import Flags, split
from server.logs import start_logging
from server.machine import open_files

log = structlog.get_logger("server.cli")


class _ServeCommand(click.Command):
    """Calls itself by the name of the program; understands TensorFlow Serving's flags as well."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        name = info_name if parent is None else parent.info_name
        rest, flags = split(args)
        return super().make_context(name, rest, None, obj=flags, **extra)


@click.command(
    cls=_ServeCommand,
    help="""Serve TensorFlow models over HTTP with dynamic batching.

    PATH is a model, a base folder with numbered version folders, or a Python function as
    module:function. Without any model, a bundled one that reads handwritten digits is served.

    Each option may also be an environment variable, such as BATCHER_MAX_BATCH_SIZE, or stand in
    the file of --config, as max_batch_size. TensorFlow Serving's own flags are understood.
    """,
    epilog="""\b
Examples:
  batcher-server --model half=/models/half_plus_two --port 8501
  batcher-server inspect /models/half_plus_two
Other commands: inspect PATH, convert SOURCE TARGET, token NAME; each with --help.""",
)
@click.argument("path", required=False)
@options
@click.version_option(version("batcher"), prog_name="batcher-server")
@click.pass_obj
def serve(flags: Flags, /, *, print_config: bool, **given: Any) -> None:
    """Make the Config and run until a signal."""
    texts = typed(given)

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
    uvloop.run(_serve_until_signal(configuration.config, announce, lambda: read().config))


def _announce(
    config: Config, exposed: Sequence[Path], serving: Sequence[str], addresses: str
) -> None:
    warn_of_open_doors(config, exposed)
    click.echo(f"batcher-server serves {', '.join(serving)} on {addresses}")


async def _serve_until_signal(
    config: Config, announce: Callable[[Sequence[str], str], None], reread: Callable[[], Config]
) -> None:
    from server import lifecycle  # noqa: PLC0415 - wrong options are told before aiohttp is loaded

    loop = asyncio.get_running_loop()
    stop, hangup = asyncio.Event(), asyncio.Event()

    def on_interrupt() -> None:
        # A second Ctrl-C does what it does to any program; supervisors may well send SIGTERM twice.
        loop.remove_signal_handler(signal.SIGINT)
        stop.set()

    loop.add_signal_handler(signal.SIGINT, on_interrupt)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    await lifecycle.serve(config, stop, announce, reread_forever(config, reread, hangup))
