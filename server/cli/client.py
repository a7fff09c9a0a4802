"""`batcher-server client`: asks a server, and shows what it answers. Main thread."""

import asyncio
import json
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from server.cli.console import EXAMPLES, HELP, complain
from server.config import ConfigError

R = TypeVar("R")

PROTOCOLS = ("auto", "oip", "oip-json", "tfserving", "npy")
"""Those of `server.client`, which takes its time to be loaded."""


@click.command(
    help="""Ask the server at URL: for its models; with MODEL, what that takes and gives; with
    INPUTs, for answers.

    An INPUT is a file (.npy, .npz, .json, .png, .jpg ...), - for standard input, or a value in
    JSON. Each is a request of its own, and all are sent at once, so that the server may batch them.
    JSON that is a whole request of TensorFlow Serving or of the Open Inference Protocol is sent as
    it is.

    The server may be this one, or any other that speaks one of these protocols.
    """,
    context_settings=HELP,
    epilog=EXAMPLES
    + """
  batcher-server client localhost:8501
  batcher-server client localhost:8501 digits
  batcher-server client localhost:8501 digits seven.png --pixels 16:0
  batcher-server client localhost:8501 half_plus_two '[[1], [2]]' --repeat 20
  batcher-server client localhost:8501 add --input a=rows.npy --input b='[[1, 2]]' --json

\b
Exit codes: 0 answered, 1 the server refused, failed or was not there, 2 told something
impossible, 130 interrupted.""",
)
@click.argument("url")
@click.argument("model", default="")
@click.argument("inputs", nargs=-1, metavar="[INPUT]...")
@click.option(
    "--input", "named", multiple=True, metavar="NAME=INPUT", help="An input by name; repeatable."
)
@click.option(
    "--protocol",
    type=click.Choice(PROTOCOLS),
    default=PROTOCOLS[0],
    show_default=True,
    help="What to speak; auto asks the server.",
)
@click.option("--signature", default="", metavar="NAME", help="Another than the default one.")
@click.option("--version", type=click.IntRange(min=0), help="Another than the newest one.")
@click.option("--label", metavar="NAME", help="The version that has this label.")
@click.option(
    "--timeout",
    type=float,
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long each request may take, its retries included.",
)
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="How often a refused request is sent again.",
)
@click.option("--priority", type=int, help="Lower is more urgent, 0 is usual.")
@click.option(
    "--token",
    default="",
    envvar="BATCHER_CLIENT_TOKEN",
    metavar="TOKEN",
    help="A bearer token; or BATCHER_CLIENT_TOKEN.",
)
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    default=1,
    help="Send each request so often, all at once.",
)
@click.option(
    "--pixels",
    default="0:255",
    show_default=True,
    metavar="BLACK:WHITE",
    help="What black and white are to the model.",
)
@click.option(
    "--top",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="Classes to show of probabilities; 0 for the numbers.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the outputs to a .npy, .npz or .json file.",
)
@click.option("--json", "as_json", is_flag=True, help="Write all of it as one JSON object.")
def client(
    *,
    inputs: tuple[str, ...],
    named: tuple[str, ...],
    output: Path | None,
    as_json: bool,
    top: int,
    **given: Any,
) -> None:
    """Ask for what was typed, and show it."""
    # Other commands need none of this, which takes its time to be loaded.
    from server.cli import client_asking, client_json, client_text  # noqa: PLC0415 - see above

    if output is not None:
        client_json.check_target(output)
    requests = client_asking.sendings(inputs, named)
    if output is not None and not requests:
        msg = "--output takes answers: give an INPUT"
        raise ConfigError(msg)
    wanted = client_asking.Wanted.of(given)
    if not wanted.model:
        states = _answered(client_asking.list_models(wanted))
        if as_json:
            _write(client_json.models_told(states))
        else:
            client_text.show_models(states)
    elif not requests:
        about, states = _answered(client_asking.describe(wanted))
        if as_json:
            _write(client_json.metadata_told(about, states))
        else:
            client_text.show_metadata(about, states)
    else:
        answers = _answered(client_asking.ask(wanted, requests))
        if output is not None:
            client_json.write(answers, output)
        if as_json:
            _write(client_json.answers_told(wanted.model, answers))
        else:
            client_text.show_answers(answers, top)


def _answered(asking: Coroutine[Any, Any, R]) -> R:
    """What comes of it. ConfigError for what is wrong already here; else ends with exit code 1."""
    from server.client import ClientError, InvalidRequest  # noqa: PLC0415 - loaded by now

    try:
        return asyncio.run(asking)
    except ClientError as error:
        if isinstance(error, InvalidRequest) and not error.status:
            raise ConfigError(str(error)) from None
        complain(str(error))
        raise click.exceptions.Exit(1) from None


def _write(told: Mapping[str, Any]) -> None:
    click.echo(json.dumps(told, indent=2, ensure_ascii=False))
