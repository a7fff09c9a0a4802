"""The options of `batcher-server`: one for each setting, and those that name files. Main thread.

What is typed stays text here: `server.configuration` reads it, as it reads all that comes from
elsewhere.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import click

from server.cli.completion import by_metavar, label_of_model, named_path, setting_of_model
from server.configuration.kinds import FLAG, NONE
from server.configuration.settings import GLOBAL, Setting

F = TypeVar("F", bound=Callable[..., Any])

_ABOUT_MODELS: Final = (
    click.option(
        "--model",
        multiple=True,
        metavar="NAME=PATH",
        help="A model to serve; repeatable.",
        shell_complete=named_path,
    ),
    click.option(
        "--set",
        multiple=True,
        metavar="MODEL.SETTING=VALUE",
        help="A setting of one model, such as half.max_batch_size=8; repeatable.",
        shell_complete=setting_of_model,
    ),
    click.option(
        "--label",
        multiple=True,
        metavar="MODEL:LABEL=VERSION",
        help="A name for a version, which clients may ask for; repeatable.",
        shell_complete=label_of_model,
    ),
    click.option(
        "--config",
        metavar="FILE",
        help="A TOML file of settings; or BATCHER_CONFIG.",
        shell_complete=by_metavar("FILE"),
    ),
    click.option(
        "--print-config",
        is_flag=True,
        help="Show each setting and where it came from, as such a file, and exit.",
    ),
)


def options(command: F) -> F:
    """Give a command these options."""
    ours = [_option(setting) for setting in GLOBAL.values()]
    for option in reversed([*_ABOUT_MODELS, *ours]):
        command = option(command)
    return command


def _option(setting: Setting) -> Callable[[F], F]:
    default = "" if setting.default in ("", NONE) else f"  [default: {setting.default}]"
    if setting.kind is FLAG:
        both = f"{setting.option}/--no-{setting.option.removeprefix('--')}"
        return click.option(both, setting.name, default=None, help=setting.help + default)
    return click.option(
        setting.option,
        setting.name,
        multiple=setting.repeatable,
        metavar=setting.metavar,
        help=setting.help + default,
        shell_complete=by_metavar(setting.metavar),
    )


def typed(parameters: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """What was typed for each option that was given."""
    return {name: _texts(value) for name, value in parameters.items() if value not in (None, ())}


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, tuple):
        return value
    return (str(value).lower() if isinstance(value, bool) else value,)
