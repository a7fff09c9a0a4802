"""What was typed: the options of a command line, and environment variables. Main thread."""

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from server.config import ConfigError
from server.configuration.layers import Given, Layer, nearest
from server.configuration.settings import GLOBAL, MODEL_LABELS, MODEL_PLACE, OF_A_MODEL, PREFIX
from server.folders import default_name

CONFIG = f"{PREFIX}CONFIG"

OF_MODELS = ("model", "set", "label")
"""Options that each time are about one model, and name it."""


@dataclass(frozen=True, slots=True)
class _Source:
    """Where something was typed: how its place is written, by the name of a setting."""

    written: Callable[[str], str]
    kind: str

    def given(self, name: str, texts: Sequence[str], more: str = "") -> Given:
        place = self.written(name)
        return Given(tuple(texts), f"{self.kind} {place}", f"{place}{more}")


_OPTIONS = _Source(lambda name: f"--{name.replace('_', '-')}", "option")
_VARIABLES = _Source(lambda name: f"{PREFIX}{name.upper()}", "environment")


def from_options(options: Mapping[str, Sequence[str]]) -> Layer:
    """The layer of a command line: what was typed for each option by its name. ConfigError.

    A `path` is a model that nobody named.
    """
    layer = Layer()
    for path in options.get("path", ()):
        add_model(layer, _name_of(path), Given((path,), "argument PATH", "PATH"))
    return _layer(layer, options, _OPTIONS)


def _name_of(path: str) -> str:
    try:
        return default_name(Path(path))
    except (OSError, RuntimeError, ValueError) as error:
        told = (error.strerror if isinstance(error, OSError) else "") or error
        msg = f"model path {path} cannot be read: {told}"
        raise ConfigError(msg) from None


def from_environment(environment: Mapping[str, str]) -> tuple[Layer, list[str]]:
    """The layer of the environment, and notes about variables that mean nothing. ConfigError.

    Several values of one variable have blanks between, and quotes around blanks, as in a shell. An
    empty variable is none; but for one that is to hold a secret, which did not arrive.
    """
    typed: dict[str, Sequence[str]] = {}
    notes = []
    secrets: dict[str, Given] = {}
    for variable, text in sorted(environment.items()):
        if not variable.startswith(PREFIX) or variable == CONFIG:
            continue
        name = variable.removeprefix(PREFIX).lower()
        setting = GLOBAL.get(name)
        if setting is None and name not in OF_MODELS:
            known = [*GLOBAL, *OF_MODELS]
            near = nearest(variable, [f"{PREFIX}{each.upper()}" for each in known])
            notes.append(f"the environment variable {variable} means nothing{near}")
        elif setting is not None and setting.secret:
            secrets[name] = Given((text,), f"environment {variable}", variable, contents=True)
        elif text:
            several = setting is None or setting.repeatable
            typed[name] = _words(variable, text) if several else (text,)
    layer = _layer(Layer(), typed, _VARIABLES)
    layer.server.update(secrets)
    return layer, notes


def _words(variable: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        msg = f"{variable}: expected words with blanks between, not {text!r}: {error}"
        raise ConfigError(msg) from None


def _layer(layer: Layer, typed: Mapping[str, Sequence[str]], source: _Source) -> Layer:
    for name, texts in typed.items():
        if name in GLOBAL:
            layer.server[name] = source.given(name, texts)
    _add_models(layer, typed.get("model", ()), source)
    _add_settings(layer, typed.get("set", ()), source)
    _add_labels(layer, typed.get("label", ()), source)
    return layer


def _add_models(layer: Layer, texts: Iterable[str], source: _Source) -> None:
    for text in texts:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            msg = f"{source.written('model')}: expected NAME=PATH, not {text!r}"
            raise ConfigError(msg)
        add_model(layer, name, source.given("model", [path], f" {name}"))


def add_model(layer: Layer, name: str, given: Given) -> None:
    """Where a model is, which nobody may have said in this layer yet. ConfigError."""
    if MODEL_PLACE.name in layer.of_model(name):
        msg = f"{given.place}: two models are named {name!r}: names must differ"
        raise ConfigError(msg)
    layer.of_model(name)[MODEL_PLACE.name] = given


def _add_settings(layer: Layer, texts: Iterable[str], source: _Source) -> None:
    for text in texts:
        place, equals, value = text.partition("=")
        name, _, key = place.rpartition(".")
        if not (name and key and equals):
            msg = f"{source.written('set')}: expected MODEL.SETTING=VALUE, not {text!r}"
            raise ConfigError(msg)
        setting = OF_A_MODEL.get(key)
        if setting is None:
            msg = f"{source.written('set')} {text!r}: {not_of_a_model(key)}"
            raise ConfigError(msg)
        model = layer.of_model(name)
        before = model[key].texts if setting.repeatable and key in model else ()
        model[key] = source.given("set", [*before, value], f" {name}.{key}")


def not_of_a_model(key: str) -> str:
    """What is wrong with a setting that models do not have."""
    if key in GLOBAL:
        return f"{key} is a setting of the whole server, not of one model"
    return f"there is no setting {key!r} of a model{nearest(key, OF_A_MODEL)}"


def _add_labels(layer: Layer, texts: Iterable[str], source: _Source) -> None:
    labels: dict[str, list[str]] = {}
    for text in texts:
        place, _, version = text.rpartition("=")
        name, _, label = place.rpartition(":")
        if not (name and label and version.isascii() and version.isdigit()):
            msg = f"{source.written('label')}: expected MODEL:LABEL=VERSION, not {text!r}"
            raise ConfigError(msg)
        labels.setdefault(name, []).append(f"{label}={version}")
    for name, entries in labels.items():
        given = source.given("label", [",".join(entries)], f" {name}")
        layer.of_model(name)[MODEL_LABELS.name] = given
