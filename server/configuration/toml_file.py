"""The layer of a TOML file: settings at its top, and a table for each model. Main thread.

    port = 9000

    [models.half]
    path = "models/half_plus_two"   # relative to this file
    labels = { stable = 3 }

What stands there is taken as if it had been typed, so that there is one check for all. Arrays are
several values, or one with commas; tables too.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from server.config import ConfigError
from server.configuration.files import text_of
from server.configuration.layers import Given, Layer, nearest
from server.configuration.settings import GLOBAL, OF_A_MODEL, Setting
from server.configuration.typed import not_of_a_model

MODELS: Final = "models"

_NAMES: Final[Mapping[type, str]] = {
    bool: "true or false",
    str: "a text",
    int: "a number",
    float: "a number",
    list: "an array",
    dict: "a table",
}


def from_file(file: Path) -> Layer:
    """What a file gives. ConfigError names the file and the table and key, or line and column."""
    try:
        # So that an error in the last line is told with its line.
        tables = tomllib.loads(f"{text_of(file)}\n")
    except RecursionError:
        msg = f"{file}: it is nested too deeply"
        raise ConfigError(msg) from None
    except ValueError as error:
        # A TOMLDecodeError; or a number of thousands of digits, which Python does not read.
        msg = f"{file}: {error}"
        raise ConfigError(msg) from None
    layer = Layer()
    models = tables.pop(MODELS, {})
    for key, value in tables.items():
        setting = GLOBAL.get(key)
        if setting is None:
            msg = f"{file}: {_unknown(key)}"
            raise ConfigError(msg)
        layer.server[key] = _given(file, "", setting, value)
    if not isinstance(models, dict):
        msg = f"{file}: {MODELS}: expected tables [{MODELS}.NAME], not {models!r}"
        raise ConfigError(msg)
    for name, table in models.items():
        layer.models[name] = _of_model(file, f"[{MODELS}.{name}]", table)
    return layer


def _unknown(key: str) -> str:
    if key in OF_A_MODEL:
        return f"{key} is a setting of one model: it stands in a table [{MODELS}.NAME]"
    return f"there is no setting {key!r}{nearest(key, [*GLOBAL, MODELS])}"


def _of_model(file: Path, name: str, table: Any) -> dict[str, Given]:
    if not (isinstance(table, dict) and table):
        msg = f"{file}: {name}: expected a table of settings, not {table!r}"
        raise ConfigError(msg)
    model = {}
    for key, value in table.items():
        setting = OF_A_MODEL.get(key)
        if setting is None:
            msg = f"{file}: {name}: {not_of_a_model(key)}"
            raise ConfigError(msg)
        model[key] = _given(file, f"{name} ", setting, value)
    return model


def _given(file: Path, table: str, setting: Setting, value: Any) -> Given:
    place = f"{file}: {table}{setting.name}"
    if setting.repeatable:
        values = value if isinstance(value, list) else [value]
        texts = tuple([_typed(place, setting, each) for each in values])
    else:
        texts = (_typed(place, setting, value),)
    return Given(texts, f"file {file}", place, file.absolute().parent)


def _typed(place: str, setting: Setting, value: Any) -> str:
    """A value as one would type it. ConfigError if it is not of a type that one would take for it.

    So 8.5 is no whole number, and true no number at all.
    """
    if type(value) not in (str, *setting.kind.natural):
        told = _NAMES.get(type(value), "a time")
        msg = f"{place}: expected {setting.kind.expected}, not {told}: {_scalar(value)}"
        raise ConfigError(msg)
    if isinstance(value, list):
        return ",".join([_scalar(each) for each in value])
    if isinstance(value, dict):
        return ",".join([f"{key}={_scalar(each)}" for key, each in value.items()])
    return _scalar(value)


def _scalar(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
