"""The command line of the benchmarks: one subcommand a file, imported when it is asked for."""

import importlib
from typing import Final

import click

COMMANDS: Final = (
    *("call", "ceiling", "codec", "compare", "connections", "device", "echo", "fairness", "growth"),
    *(
        "lengths",
        "live",
        "livez",
        "load",
        "many",
        "otel",
        "pieces",
        "rates",
        "settings",
        "submit",
        "switch",
    ),
)
"""Modules of this package, each with a `command`."""


class Benchmarks(click.Group):
    """Imports a subcommand only when it runs: each needs other packages."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All there are, imported or not."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a subcommand."""
        if cmd_name not in COMMANDS:
            return None
        try:
            module = importlib.import_module(f"bench.{cmd_name}")
        except ModuleNotFoundError as missing:
            msg = f"{missing}; install what benchmarks need: pip install -e '.[bench]'"
            raise click.ClickException(msg) from missing
        command: click.Command = module.command
        return command


@click.command(
    cls=Benchmarks,
    epilog="""\b
Examples:
  python -m bench submit
  python -m bench load --clients 256 --seconds 30
  python -m bench echo --json echo.json""",
)
def main() -> None:
    """Measure the batcher, its server, and how far both are from what is possible.

    Everything runs on this machine and talks to loopback only. Run nothing else meanwhile.
    """


if __name__ == "__main__":
    main(prog_name="python -m bench")
