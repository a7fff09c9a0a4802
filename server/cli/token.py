"""`batcher-server token`: makes a bearer token, and shows it this once. Main thread."""

import click

from server.cli.console import EXAMPLES, HELP
from server.config import ConfigError
from server.tokens import make_token


@click.command(
    help="""Make a token for the clients of a server, or for its administrators.

    The token itself is shown once, on standard error, and kept nowhere. The line to add to the file
    of --tokens or --admin-tokens is written to standard output; it holds a hash of the token, and
    its NAME, by which the server's log calls whoever uses it.
    """,
    context_settings=HELP,
    epilog=EXAMPLES
    + """
  batcher-server token ci >> tokens
  batcher-server --tokens tokens""",
)
@click.argument("name")
def token(name: str) -> None:
    """Print a token and its line."""
    try:
        secret, kept = make_token(name)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    click.echo(f"The token {name}, shown only now:\n{secret}", err=True)
    click.echo(str(kept))
