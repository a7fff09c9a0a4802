"""`batcher-server`: options to a Config, logging, signals, and uvloop. Main thread."""

import asyncio
import functools
import signal
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import uvloop

from server.cli.batching import batching_options, take_batching
from server.cli.doors import read_by_all, tokens_from, warn_of_open_doors
from server.config import Config, ConfigError, ModelConfig
from server.demo import DIGITS
from server.logs import start_logging
from server.repository import default_name

DEFAULTS = Config()
MODEL_DEFAULTS = DEFAULTS.models[0]


class _UnnamedCommand(click.Command):
    """A command that calls itself by the name of the program: it need not be named."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        name = info_name if parent is None else parent.info_name
        return super().make_context(name, args, None, **extra)


@click.command(
    cls=_UnnamedCommand,
    help="""Serve TensorFlow models over HTTP with dynamic batching.

    PATH is a SavedModel, or a base folder with numbered version folders, of which the highest is
    served. Without any model, a bundled one that reads handwritten digits is served.
    """,
    epilog="Example: batcher-server --model half=/models/half_plus_two --port 8501."
    " To make tokens: batcher-server token NAME.",
)
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option(
    "--model", "models", multiple=True, metavar="NAME=PATH", help="A model to serve; repeatable."
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="MODEL:LABEL=VERSION",
    help="A name for a version, which clients may ask for; repeatable.",
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
    "--grpc-port",
    type=click.IntRange(0, 65535),
    default=DEFAULTS.grpc_port,
    help="Port for gRPC, which is off without it; 0 picks a free one and prints it.",
)
@batching_options
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
@click.option(
    "--cors", is_flag=True, help="Let pages of other origins use the models from a browser."
)
@click.option(
    "--tokens",
    "tokens_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Answer those who have a token in this file, besides probes; or in BATCHER_TOKENS.",
)
@click.option(
    "--admin", is_flag=True, help="Let administrators change models, logging and tracing."
)
@click.option(
    "--admin-tokens",
    "admin_tokens_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Who they are: those who have a token in this file; or in BATCHER_ADMIN_TOKENS.",
)
@click.option(
    "--allowed-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="A host name by which administrators reach this server; repeatable.",
)
@click.version_option(version("batcher"), prog_name="batcher-server")
def serve(
    *,
    path: Path | None,
    models: tuple[str, ...],
    labels: tuple[str, ...],
    tokens_file: Path | None,
    admin_tokens_file: Path | None,
    **server_wide: Any,
) -> None:
    """Build the Config and run until a signal."""
    named = [_named(text) for text in models]
    if path is not None:
        named.insert(0, (default_name(path), path))
    if not named:
        named = [(MODEL_DEFAULTS.name, DIGITS)]
    labelled = _labelled(labels, [name for name, _ in named])
    batching = take_batching(server_wide)
    config = Config(
        tuple(ModelConfig(name, place, labels=labelled[name], **batching) for name, place in named),
        tokens=tokens_from(tokens_file, "BATCHER_TOKENS"),
        admin_tokens=tokens_from(admin_tokens_file, "BATCHER_ADMIN_TOKENS"),
        **server_wide,
    )
    exposed = read_by_all(tokens_file, admin_tokens_file)
    start_logging(config.log_level)
    uvloop.run(_serve_until_signal(config, functools.partial(_announce, config, exposed)))


def _announce(config: Config, exposed: Iterable[Path], addresses: str) -> None:
    warn_of_open_doors(config, exposed)
    names = ", ".join(model.name for model in config.models)
    click.echo(f"batcher-server serves {names} on {addresses}")


def _named(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        msg = f"--model takes NAME=PATH, not {text!r}"
        raise ConfigError(msg)
    return name, Path(path)


def _labelled(texts: Iterable[str], names: Iterable[str]) -> Mapping[str, Mapping[str, int]]:
    """The labels of each model. ConfigError."""
    labels: dict[str, dict[str, int]] = {name: {} for name in names}
    for text in texts:
        place, _, version = text.rpartition("=")
        name, _, label = place.rpartition(":")
        if not (name and label and version.isascii() and version.isdigit()):
            msg = f"--label takes MODEL:LABEL=VERSION, not {text!r}"
            raise ConfigError(msg)
        if name not in labels:
            told = ", ".join(repr(known) for known in labels)
            msg = f"--label {text!r}: there is no model {name!r} to serve, only {told}"
            raise ConfigError(msg)
        if labels[name].setdefault(label, int(version)) != int(version):
            msg = f"--label {text!r}: the label has version {labels[name][label]} already"
            raise ConfigError(msg)
    return labels


async def _serve_until_signal(config: Config, announce: Callable[[str], None]) -> None:
    from server import lifecycle  # noqa: PLC0415 - wrong options are told before aiohttp is loaded

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_interrupt() -> None:
        # A second Ctrl-C does what it does to any program; supervisors may well send SIGTERM twice.
        loop.remove_signal_handler(signal.SIGINT)
        stop.set()

    loop.add_signal_handler(signal.SIGINT, on_interrupt)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await lifecycle.serve(config, stop, announce)
