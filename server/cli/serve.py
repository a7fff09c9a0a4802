"""`batcher-server`: options to a Config, logging, signals, and uvloop. Main thread."""

import asyncio
import signal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import uvloop

from server.config import Config, ConfigError, ModelConfig
from server.demo import DIGITS
from server.logs import start_logging
from server.repository import default_name

DEFAULTS = Config()
MODEL_DEFAULTS = DEFAULTS.models[0]


@click.command(
    help="""Serve TensorFlow models over HTTP with dynamic batching.

    PATH is a SavedModel, or a base folder with numbered version folders, of which the highest is
    served. Without any model, a bundled one that reads handwritten digits is served.
    """,
    epilog="Example: batcher-server --model half=/models/half_plus_two --port 8501",
)
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option(
    "--model", "models", multiple=True, metavar="NAME=PATH", help="A model to serve; repeatable."
)
@click.option("--host", default=DEFAULTS.host, show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULTS.port,
    show_default=True,
    help="Port to listen on; 0 picks a free one and prints it.",
)
@click.option(
    "--max-batch-size",
    type=click.IntRange(min=1),
    default=MODEL_DEFAULTS.max_batch_size,
    show_default=True,
    help="Most rows that run together.",
)
@click.option(
    "--batch-timeout-ms",
    type=click.FloatRange(min=0),
    default=MODEL_DEFAULTS.batch_timeout * 1000,
    show_default=True,
    help="How long a request may wait for company while the model is idle.",
)
@click.option(
    "--max-queue-size",
    type=click.IntRange(min=1),
    default=MODEL_DEFAULTS.max_queue_size,
    show_default=True,
    help="Most rows that may wait; beyond it clients are answered 503.",
)
@click.option(
    "--max-body-size",
    type=click.IntRange(min=1),
    default=DEFAULTS.max_body_size,
    show_default=True,
    help="Most bytes of a request's body; beyond it clients are answered 413.",
)
@click.option(
    "--drain-delay",
    type=click.FloatRange(min=0),
    default=DEFAULTS.drain_delay,
    show_default=True,
    help="Seconds after SIGTERM in which new requests are answered 503, before the port closes.",
)
@click.option(
    "--drain-timeout",
    type=click.FloatRange(min=0),
    default=DEFAULTS.drain_timeout,
    show_default=True,
    help="Seconds that accepted requests have to finish after SIGTERM.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default=DEFAULTS.log_level,
    show_default=True,
    help="The least important log entries to write.",
)
@click.version_option(version("batcher"), prog_name="batcher-server")
def serve(
    path: Path | None,
    models: tuple[str, ...],
    max_batch_size: int,
    batch_timeout_ms: float,
    max_queue_size: int,
    **server_wide: Any,
) -> None:
    """Build the Config and run until a signal."""
    named = [_named(text) for text in models]
    if path is not None:
        named.insert(0, (default_name(path), path))
    if not named:
        named = [(MODEL_DEFAULTS.name, DIGITS)]
    config = Config(
        tuple(
            ModelConfig(name, place, max_batch_size, batch_timeout_ms / 1000, max_queue_size)
            for name, place in named
        ),
        **server_wide,
    )
    start_logging(config.log_level)
    uvloop.run(_serve_until_signal(config))


def _named(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        msg = f"--model takes NAME=PATH, not {text!r}"
        raise ConfigError(msg)
    return name, Path(path)


async def _serve_until_signal(config: Config) -> None:
    from server import lifecycle  # noqa: PLC0415 - wrong options are told before aiohttp is loaded

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_interrupt() -> None:
        # A second Ctrl-C does what it does to any program; supervisors may well send SIGTERM twice.
        loop.remove_signal_handler(signal.SIGINT)
        stop.set()

    loop.add_signal_handler(signal.SIGINT, on_interrupt)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await lifecycle.serve(config, stop, lambda url: _announce(config, url))


def _announce(config: Config, url: str) -> None:
    names = ", ".join(model.name for model in config.models)
    click.echo(f"batcher-server serves {names} on {url}")
