"""The command line: arguments to a Config, and every foreseen failure to one line. Main thread.

Exit codes: 0 after a drain, 2 when told something impossible, 130 when interrupted twice.
"""

import sys
from typing import NoReturn

import click

from server.cli.serve import serve
from server.config import ConfigError
from server.errors import StartupError


def main() -> NoReturn:
    """Run `batcher-server` and exit."""
    try:
        serve.main(standalone_mode=False, prog_name="batcher-server")
    except click.exceptions.Exit as asked:
        sys.exit(asked.exit_code)
    except click.ClickException as wrong:
        _fail(wrong.format_message())
    except (ConfigError, StartupError) as wrong:
        _fail(str(wrong))
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    sys.exit(0)


def _fail(message: str) -> NoReturn:
    click.echo(f"batcher-server: {message}", err=True)
    sys.exit(2)
