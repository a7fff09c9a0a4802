"""`batcher-server serve`: the options of a server. Main thread."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from server.cli.completion import flags_of_tfserving, path_or_command, without_flags
from server.cli.console import EXAMPLES, HELP, PROGRAM
from server.cli.options import options, typed
from server.interrupts import leaving_at_once

if TYPE_CHECKING:
    from server.configuration.tfserving_flags import Flags


class _ServeCommand(click.Command):
    """Calls itself by the name of the program; understands TensorFlow Serving's flags as well."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        name = info_name if parent is None else parent.info_name
        if extra.get("resilient_parsing"):
            context = super().make_context(name, without_flags(args), None, **extra)
            context.meta.update(parent.meta if parent else {})
            return context
        with leaving_at_once():
            from server.configuration.tfserving_flags import split  # noqa: PLC0415 - it takes time
        rest, flags = split(args)
        return super().make_context(name, rest, None, obj=flags, **extra)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list["CompletionItem[str]"]:
        return [*super().shell_complete(ctx, incomplete), *flags_of_tfserving(incomplete)]


@click.command(
    cls=_ServeCommand,
    help="""Serve TensorFlow models over HTTP with dynamic batching.

    PATH is a model, a base folder with numbered version folders, or a Python function as
    module:function. Without any model, a bundled one that reads handwritten digits is served.

    Each option may also be an environment variable, such as BATCHER_MAX_BATCH_SIZE, or stand in
    the file of --config, as max_batch_size. TensorFlow Serving's own flags are understood.
    """,
    context_settings=HELP,
    epilog=EXAMPLES
    + """
  batcher-server
  batcher-server /models/half_plus_two --max-batch-size 128
  batcher-server --model half=/models/half_plus_two --model tagger:app --port 8501
  batcher-server --config batcher.toml --print-config

\b
Other commands, each with --help:
  inspect PATH            what a model takes, and how to ask it
  convert SOURCE TARGET   to TensorFlow Lite, and what that costs and gains
  load [URL]              how fast and how well a running server answers
  client URL              ask a running server, with files, pictures or values
  monitoring WHAT         a dashboard for Grafana, alerts for Prometheus
  token NAME              make a bearer token
  completion SHELL        completion of commands and options in a shell

\b
Exit codes: 0 after a drain; 2 if it cannot start as it was told to, with one line that says why;
130 if interrupted before it began to load models, or twice.""",
)
@click.argument("path", required=False, shell_complete=path_or_command)
@options
@click.version_option(version("batcher"), prog_name=PROGRAM)
@click.pass_obj
def serve(flags: "Flags", /, *, print_config: bool, **given: Any) -> None:
    """Make the Config and run until a signal."""
    with leaving_at_once():
        # Other commands, and completion, need none of this.
        from server.cli import running  # noqa: PLC0415 - see above
    running.run(typed(given), flags, print_config=print_config)
