"""A configuration as a TOML file that makes it again, each value with its origin. Pure."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from server.configuration.build import Configuration, Values
from server.configuration.layers import Value
from server.configuration.settings import GLOBAL, OF_A_MODEL, Setting
from server.configuration.toml_file import MODELS

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_COLUMN: Final = 40
"""Where the origins of short values begin."""


def show(configuration: Configuration) -> str:
    """The text of the file. Where tokens came from is told, they themselves never."""
    lines = [f"# {_line(note)}" for note in configuration.notes]
    lines += _settings(configuration.server, GLOBAL)
    for name, values in configuration.models.items():
        lines += ["", f"[{MODELS}.{_key(name)}]", *_settings(values, OF_A_MODEL)]
    return "\n".join(lines) + "\n"


def _settings(values: Values, settings: Mapping[str, Setting]) -> Iterator[str]:
    for name, value in values.items():
        yield _setting(settings[name], value)


def _setting(setting: Setting, value: Value) -> str:
    written = f"{setting.name} = {literal(_plain(setting, value.value))}"
    if setting.secret and value.value is None:
        # Without a path there are no tokens, or they stand where the origin says.
        written = f"# {setting.name}"
    return f"{written:<{_COLUMN}}  # {_line(value.origin)}"


def _plain(setting: Setting, value: Any) -> Any:
    if setting.repeatable:
        return [setting.kind.plain(each) for each in value]
    return setting.kind.plain(value)


def literal(value: Any) -> str:
    """A value as TOML writes it: text, true or false, a number, an array, an inline table."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # TOML escapes as JSON does, and one character more.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(literal(each) for each in value)}]"
    if isinstance(value, dict):
        inside = ", ".join(f"{_key(key)} = {literal(each)}" for key, each in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    return str(value)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else literal(name)


def _line(text: str) -> str:
    """Words for a comment, which ends with its line."""
    return "".join(each if each.isprintable() else "?" for each in text)
