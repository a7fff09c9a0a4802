"""The command line: arguments to a Config, and every foreseen failure to one line. Main thread.

    batcher-server [serve] [PATH] [OPTIONS]
    batcher-server token NAME
    batcher-server inspect PATH [OPTIONS]
    batcher-server convert SOURCE TARGET [OPTIONS]
    batcher-server monitoring dashboard|alerts

A file for each subcommand. Exit codes: 0 after a drain, 2 when told something impossible, 130 when
interrupted twice.
"""

import sys
from typing import NoReturn

import click

from server.cli.convert import convert
from server.cli.inspect import inspect
from server.cli.monitoring import monitoring
from server.cli.serve import serve
from server.cli.token import token
from server.config import ConfigError
from server.errors import StartupError
from server.memory import use_one_heap


class _Subcommands(click.Group):
    """Whatever does not begin with the name of a subcommand is for `serve`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = args[:1] and args[0] in self.commands
        return super().parse_args(ctx, args if named else ["serve", *args])


_subcommands = _Subcommands(
    commands={
        "serve": serve,
        "token": token,
        "inspect": inspect,
        "convert": convert,
        "monitoring": monitoring,
    }
)


def main() -> NoReturn:
    """Run `batcher-server` and exit."""
    use_one_heap()
    try:
        _subcommands.main(standalone_mode=False, prog_name="batcher-server")
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
