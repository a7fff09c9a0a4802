"""What was given for settings, layer over layer, and which of it counts. Main thread."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from server.config import ConfigError
from server.configuration.settings import MODEL_PLACE, Setting
from server.models import detect


@dataclass(frozen=True, slots=True)
class Given:
    """What was given for a setting, as one would type it, once or several times.

    `origin` says where, in a few words, `place` says it in front of what is wrong with it. Relative
    paths begin at `base`; in the current folder without one. `contents` says that the text is what
    otherwise stands in a file.
    """

    texts: tuple[str, ...]
    origin: str
    place: str
    base: Path | None = None
    contents: bool = False


@dataclass(frozen=True, slots=True)
class Layer:
    """All that was given in one place: for the whole server, and for models by name."""

    server: dict[str, Given] = field(default_factory=dict)
    models: dict[str, dict[str, Given]] = field(default_factory=dict)

    def of_model(self, name: str) -> dict[str, Given]:
        """What was given for a model, to be read or added to."""
        return self.models.setdefault(name, {})


@dataclass(frozen=True, slots=True)
class Value:
    """What a setting has come to, and where from."""

    value: Any
    origin: str


def strongest(setting: Setting, layers: Iterable[Mapping[str, Given]]) -> Given:
    """What counts of all that was given for a setting, strongest layer first."""
    for layer in layers:
        if setting.name in layer:
            return layer[setting.name]
    texts = () if setting.repeatable else (setting.default,)
    return Given(texts, "default", setting.option)


def read(setting: Setting, given: Given) -> Value:
    """The value of what was given. ConfigError says where, what was expected and what came."""
    values = [_read(setting, given, text) for text in given.texts]
    return Value(tuple(values) if setting.repeatable else values[-1], given.origin)


def _read(setting: Setting, given: Given, text: str) -> Any:
    try:
        value = setting.kind.read(text)
    except ConfigError as error:
        msg = f"{given.place}: {error}"
        raise ConfigError(msg) from None
    except ValueError:
        msg = f"{given.place}: expected {setting.kind.expected}, not {text!r}"
        raise ConfigError(msg) from None
    if isinstance(value, Path) and not (setting is MODEL_PLACE and is_function(value)):
        return (given.base or Path.cwd()) / value
    return value


def is_function(path: Path) -> bool:
    """Whether it names a Python function, which is in no folder."""
    try:
        return not path.exists() and detect(path) is not None
    except (OSError, ValueError):
        # Whoever loads it will say what is wrong with it.
        return False


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about a name that is not known: what may have been meant."""
    close = difflib.get_close_matches(name, sorted(known), 1)
    return f"; did you mean {close[0]}?" if close else ""
