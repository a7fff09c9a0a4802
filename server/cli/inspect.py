"""`batcher-server inspect`: shows what a model takes, and how to ask it. Main thread."""

import contextlib
import json
import os
import shlex
import sys
from pathlib import Path

import click

from server.cli.console import EXAMPLES, HELP
from server.config import Config
from server.folders import default_name
from server.interrupts import leaving_at_once

DEFAULTS = Config()

GRPC_PORT = 8500
"""TensorFlow Serving's own."""

_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


@click.command(
    help="""Show what the model at PATH takes and gives, whether its requests can share batches,
    how long they run, and a sample request for each protocol.

    PATH is what `serve` takes. The model is loaded and run, as the server would do before it is
    ready; nothing is served. Times are measured on this machine.
    """,
    context_settings=HELP,
    epilog=EXAMPLES
    + """
  batcher-server inspect /models/half_plus_two
  batcher-server inspect model.keras --signature serving_default --port 9000
  batcher-server inspect app:model --json | jq .signatures""",
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--signature", default="", metavar="NAME", help="Show only this signature.")
@click.option(
    "--max-batch-size",
    type=click.IntRange(min=1),
    default=DEFAULTS.models[0].max_batch_size,
    show_default=True,
    help="The largest batch to run.",
)
@click.option("--name", default="", help="What samples call the model; else as `serve` would.")
@click.option("--host", default=DEFAULTS.host, show_default=True, help="Whom samples ask.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=DEFAULTS.port,
    show_default=True,
    help="The port that samples ask over HTTP.",
)
@click.option(
    "--grpc-port",
    type=click.IntRange(1, 65535),
    default=GRPC_PORT,
    show_default=True,
    help="The port that samples ask over gRPC.",
)
@click.option("--json", "as_json", is_flag=True, help="Write all of it as one JSON object.")
def inspect(
    *,
    path: Path,
    signature: str,
    max_batch_size: int,
    name: str,
    host: str,
    port: int,
    grpc_port: int,
    as_json: bool,
) -> None:
    """Load, try, and show."""
    # Other commands need none of this, which takes its time to be loaded.
    with leaving_at_once():
        from server import inspection  # noqa: PLC0415 - see above
        from server.cli import inspect_json, inspect_text  # noqa: PLC0415 - see above
        from server.samples import Target  # noqa: PLC0415 - see above

    # What matters of it comes as an error; the rest is not for who looks at one model.
    os.environ.setdefault(_LOG_LEVEL, "3")
    # A Python function may print what it likes.
    with contextlib.redirect_stdout(sys.stderr):
        found = inspection.inspect(path, max_batch_size, signature, click.echo)
    target = Target(name or default_name(path), host, port, grpc_port)
    if as_json:
        click.echo(json.dumps(inspect_json.told(found, target), indent=2, ensure_ascii=False))
    else:
        model = ["--model", f"{name}={path}"] if name else [str(path)]
        ports = [] if port == DEFAULTS.port else ["--port", str(port)]
        serve = ["batcher-server", *model, *ports, "--grpc-port", str(grpc_port)]
        inspect_text.show(found, target, shlex.join(serve))
