"""`batcher-server load`: requests at a rate, or by clients, and what came of them. Main thread."""

from pathlib import Path

import click

from server.cli.console import EXAMPLES, HELP
from server.config import ConfigError
from server.interrupts import leaving_at_once

DEFAULT_URL = "http://127.0.0.1:8501"
CLIENTS = 64

MOST_CLIENTS = 16384
"""Each has a connection of its own."""


@click.command(
    help="""Send requests to a running server, and tell how fast and how well it answers.

    URL is a server's address: this server, TensorFlow Serving, Triton, or another that speaks one
    of the protocols. Requests are made from the model's metadata, or taken from --body.

    With --rate requests come at random times, as they do from many people, whether or not the
    server has answered those before (an open loop): latency counts from when a request was due, so
    a stall is seen by all who would have waited. With --clients each sends its next request when it
    has its answer (a closed loop): that tells the most that a server answers. Load only servers
    that are yours. Ctrl-C shows what came so far.

    Exit code 1 if any request failed otherwise than by being refused for load (429, 503), or if
    none was answered.
    """,
    context_settings=HELP,
    epilog=EXAMPLES
    + """
  batcher-server load
  batcher-server load --rate 500 --seconds 30
  batcher-server load --rates auto --model half --protocol oip-binary
  batcher-server load http://127.0.0.1:8501 --clients 8 --body scan.json --json result.json""",
)
@click.argument("url", default=DEFAULT_URL)
@click.option("--model", default="", metavar="NAME", help="Needless where only one is served.")
@click.option(
    "--protocol",
    type=click.Choice(["tfserving", "oip", "oip-binary"]),
    default="tfserving",
    show_default=True,
    help="TensorFlow Serving REST, or the Open Inference Protocol in JSON or binary.",
)
@click.option("--signature", default="", metavar="NAME", help="A signature other than the default.")
@click.option(
    "--rows",
    type=click.IntRange(1, 65536),
    default=1,
    show_default=True,
    help="Rows in each request.",
)
@click.option(
    "--body",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="What to send instead: JSON, .npy or .npz.",
)
@click.option(
    "--header",
    multiple=True,
    metavar="NAME:VALUE",
    help="A header to send, such as X-Request-Timeout-Ms:100; repeatable.",
)
@click.option("--token", default="", help="Sent as Authorization: Bearer TOKEN.")
@click.option(
    "--clients",
    type=click.IntRange(1, MOST_CLIENTS),
    help=f"How many ask at the same time.  [default: {CLIENTS}, without a rate]",
)
@click.option("--rate", type=float, metavar="R", help="Requests a second, whatever is answered.")
@click.option(
    "--rates",
    metavar="R,R,...",
    help="One after the other, until it is too much; auto: find what is.",
)
@click.option(
    "--arrivals",
    type=click.Choice(["poisson", "constant"]),
    default="poisson",
    show_default=True,
    help="Times at random, or evenly spaced.",
)
@click.option(
    "--seconds",
    type=float,
    default=10.0,
    show_default=True,
    help="How long, for each rate.",
)
@click.option(
    "--warmup",
    type=float,
    default=1.0,
    show_default=True,
    help="Seconds before, which do not count.",
)
@click.option(
    "--timeout",
    type=float,
    default=10.0,
    show_default=True,
    help="Seconds after which a request is given up.",
)
@click.option(
    "--connections",
    type=click.IntRange(1, MOST_CLIENTS),
    default=256,
    show_default=True,
    help="Most connections for a rate.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the random times."
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the results there as well; - is standard output, in place of the table.",
)
@click.pass_context
def load(ctx: click.Context, /, **given: object) -> None:
    """Make the plans, offer them, show what came."""
    # Other commands need none of this, which takes its time to be loaded.
    with leaving_at_once():
        from server.cli import load_run, load_wishes  # noqa: PLC0415 - see above

    try:
        wishes = load_wishes.read(given)
        load_wishes.check_folder(wishes.json_file)
    except ValueError as wrong:
        raise ConfigError(str(wrong)) from None
    ctx.exit(load_run.run(wishes))
