"""Completion in a shell: `batcher-server completion`, and what to choose from. Main thread.

click asks the program itself, run anew for each TAB with the line in its environment. Two things it
does not know: that `serve` is meant where no subcommand is named, and that bash takes a word apart
at `=` and `:`, so that NAME=PATH and http://HOST:PORT are several words to it.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from server.cli.console import EXAMPLES, HELP, PROGRAM

IMPLIED: Final = "batcher-server.implied"
"""In the `meta` of a context: the subcommands that the line could still begin with."""

_VARIABLE: Final = "_BATCHER_SERVER_COMPLETE"

_SHELLS: Final = ("bash", "zsh", "fish")

_BREAKS: Final = "=:"
"""Where bash takes words apart, of what occurs in ours."""

_OPEN_ENDS: Final = (".", "=", ":", "/")
"""What is completed up to there goes on."""

_BUNDLED: Final = "digits"

Item: TypeAlias = "CompletionItem[str]"
Complete = Callable[[click.Context, click.Parameter, str], list[Item]]


@click.command(
    help="""Print a script that lets a SHELL complete commands, options, paths and names of models.

    It works once the shell has read it, and asks batcher-server itself: a newer version needs no
    newer script.
    """,
    context_settings=HELP,
    epilog=EXAMPLES
    + """
  source <(batcher-server completion bash)     # in ~/.bashrc
  source <(batcher-server completion zsh)      # in ~/.zshrc, after compinit
  batcher-server completion fish > ~/.config/fish/completions/batcher-server.fish""",
)
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(ctx: click.Context, /, *, shell: str) -> None:
    """Print the script."""
    kind = get_completion_class(shell)
    assert kind is not None
    assert isinstance(ctx.parent, click.Context)
    click.echo(kind(ctx.parent.command, {}, PROGRAM, _VARIABLE).source())


# ------------------------------------------------------------------------- what to choose from


def path_or_command(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[Item]:
    """A path; or a subcommand, where none was named and nothing else either."""
    # The path comes first: bash forgets what comes before it, and offers paths if nothing fits.
    return [
        CompletionItem(incomplete, type="file"),
        *_fitting(ctx.meta.get(IMPLIED, ()), incomplete),
    ]


def by_metavar(metavar: str) -> Complete:
    """What the value of an option may be, by the word that stands for it in the help."""
    if metavar in ("FILE", "PATH"):
        return lambda _, __, incomplete: [CompletionItem(incomplete, type="file")]
    if metavar == "FOLDER":
        return lambda _, __, incomplete: [CompletionItem(incomplete, type="dir")]
    words = metavar.strip("[]").split("|") if metavar.startswith("[") else []
    return lambda _, __, incomplete: _fitting(words, incomplete)


def named_path(_: click.Context, __: click.Parameter, incomplete: str) -> list[Item]:
    """The path of NAME=PATH; nobody knows the name before it is given."""
    name, equals, path = incomplete.partition("=")
    return [CompletionItem(f"{name}={found}") for found in _paths(path)] if equals else []


def setting_of_model(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[Item]:
    """MODEL.SETTING=, of models that are named on the line."""
    from server.configuration.settings import OF_A_MODEL  # noqa: PLC0415 - few ask for it

    return _fitting((f"{m}.{name}=" for m in _models(ctx) for name in OF_A_MODEL), incomplete)


def label_of_model(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[Item]:
    """MODEL:, of models that are named on the line."""
    return _fitting((f"{model}:" for model in _models(ctx)), incomplete)


def flags_of_tfserving(incomplete: str) -> list[Item]:
    """TensorFlow Serving's flags, for who has begun to write one: they have underscores."""
    if "_" not in incomplete:
        return []
    from server.configuration.tfserving_flags import FLAGS  # noqa: PLC0415 - it takes time

    return _fitting((f"--{name}" for name in FLAGS), incomplete)


def without_flags(args: list[str]) -> list[str]:
    """An unfinished line without TensorFlow Serving's flags, right or wrong."""
    from server.config import ConfigError  # noqa: PLC0415 - see below

    if not any(word.startswith("-") and "_" in word for word in args):
        return args
    from server.configuration.tfserving_flags import split  # noqa: PLC0415 - it takes time

    try:
        return split(args)[0]
    except ConfigError:
        return []


def _models(ctx: click.Context) -> list[str]:
    given = ctx.params.get("model") or ()
    named = [name for name, equals, _ in (each.partition("=") for each in given) if equals]
    return named or [_BUNDLED]


def _fitting(words: Iterator[str] | tuple[str, ...] | list[str], incomplete: str) -> list[Item]:
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def _paths(begun: str) -> Iterator[str]:
    """The files and folders, with a slash, whose path begins so."""
    folder, name = os.path.split(begun)
    try:
        found = sorted(Path(folder or ".").iterdir())
    except OSError:
        return
    for path in found:
        if path.name.startswith(name) and (name or not path.name.startswith(".")):
            # As it was begun: a Path would forget "./" and what else stands there.
            yield begun[: len(begun) - len(name)] + path.name + ("/" if path.is_dir() else "")


# --------------------------------------------------------------------------------- the shells


class _Bash(BashComplete):
    """Takes the line whole, and gives back what bash takes for its last word."""

    source_template = """\
%(complete_func)s() {
    local IFS=$'\\n' response completion type value
    response=$(env COMP_LINE="$COMP_LINE" COMP_POINT="$COMP_POINT" \\
        %(complete_var)s=bash_complete "$1")
    for completion in $response; do
        type=${completion%%%%,*}
        value=${completion#*,}
        case $type in
            dir) COMPREPLY=(); compopt -o dirnames ;;
            file) COMPREPLY=(); compopt -o default ;;
            open) COMPREPLY+=("$value"); compopt -o nospace ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    def get_completion_args(self) -> tuple[list[str], str]:
        text = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])]
        words = split_arg_string(text)
        if not text or text[-1].isspace():
            words.append("")
        return words[1:-1], words[-1]

    def get_completions(self, args: list[str], incomplete: str) -> list[Item]:
        found = super().get_completions(args, incomplete)
        if incomplete.startswith("--") and "=" in incomplete:
            # Of an option with its value behind "=", click gives the value alone.
            incomplete = incomplete.partition("=")[2]
        at = max(incomplete.rfind(mark) for mark in _BREAKS) + 1
        for item in found:
            if item.type == "plain":
                item.value = item.value[at:]
                item.type = "open" if item.value.endswith(_OPEN_ENDS) else "plain"
        return found


add_completion_class(_Bash, "bash")
