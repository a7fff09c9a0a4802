"""The command line: arguments to a Config, and every foreseen failure to one line. Main thread.

    batcher-server [serve] [PATH] [OPTIONS]
    batcher-server inspect PATH [OPTIONS]
    batcher-server convert SOURCE TARGET [OPTIONS]
    batcher-server load [URL] [OPTIONS]
    batcher-server client URL [MODEL] [INPUT]... [OPTIONS]
    batcher-server monitoring dashboard|alerts
    batcher-server token NAME
    batcher-server completion SHELL

A file for each subcommand. Exit codes: 0 when all is well, for a server after a drain; 1 when what
was asked for went wrong on the way; 2 when told something impossible; 130 when interrupted, a
server when interrupted twice.
"""

import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from server.cli.client import client
from server.cli.completion import IMPLIED, completion
from server.cli.console import HELP, PROGRAM, complain
from server.cli.convert import convert
from server.cli.inspect import inspect
from server.cli.load import load
from server.cli.monitoring import monitoring
from server.cli.serve import serve
from server.cli.token import token
from server.config import ConfigError
from server.configuration.layers import nearest
from server.errors import StartupError
from server.interrupts import INTERRUPTED
from server.memory import use_one_heap

_FAILED, _IMPOSSIBLE = 1, 2

_OURS = ("batcher", "server", "")
"""Packages that are always there, or not named; others are left out by who only asks."""


class _Subcommands(click.Group):
    """Whatever does not begin with the name of a subcommand is for `serve`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] in self.commands:
            return super().parse_args(ctx, args)
        if args and not args[0].startswith("-") and not ctx.resilient_parsing:
            self._check_mistyped(args[0])
        # Who completes a command line may go on with the name of a subcommand then.
        ctx.meta[IMPLIED] = [] if args else sorted(self.commands)
        return super().parse_args(ctx, ["serve", *args])

    def _check_mistyped(self, word: str) -> None:
        """A word that is no path either may have been meant for a name. UsageError."""
        meant = nearest(word, self.commands)
        if meant and not os.path.lexists(Path(word)):
            msg = f"{word!r} is neither a command nor a path{meant}"
            raise click.UsageError(msg)


_subcommands = _Subcommands(
    commands={
        "serve": serve,
        "inspect": inspect,
        "convert": convert,
        "load": load,
        "client": client,
        "monitoring": monitoring,
        "token": token,
        "completion": completion,
    },
    context_settings=HELP,
)


def main() -> NoReturn:
    """Run `batcher-server` and exit."""
    use_one_heap()
    try:
        code = _run()
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has gone, such as `head`. What is left unwritten goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = _FAILED
    sys.exit(code)


def _run() -> int:
    try:
        # With this, it returns the exit code of who asks for one, and what a command returns.
        code = _subcommands.main(standalone_mode=False, prog_name=PROGRAM)
    except click.ClickException as wrong:
        complain(" ".join(wrong.format_message().split()))  # Some come as several lines.
        return _IMPOSSIBLE
    except (ConfigError, StartupError) as wrong:
        complain(str(wrong))
        return _IMPOSSIBLE
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package in _OURS:
            raise
        complain(f"{package} is not installed: pip install 'batcher[server]'")
        return _IMPOSSIBLE
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    return code if isinstance(code, int) else 0
