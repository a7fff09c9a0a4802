"""What the value of a setting may be: read from what somebody types, written as TOML. Pure."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

from server.config import TARGET, ConfigError
from server.runtime import device_name
from server.versions import All, Latest, Policy, Specific

Padding: TypeAlias = tuple[str, tuple[int, float | int | bytes]]

NONE: Final = "none"

_TRUE: Final = ("true", "yes", "on", "1")
_FALSE: Final = ("false", "no", "off", "0")
_LATEST: Final = re.compile(r"latest(?: (\d+))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Kind:
    """What a value may be.

    `expected` says it to whoever typed something else. `read` makes the value of a text, or raises
    ValueError: a ConfigError if there is more to say than what was expected. `plain` makes of the
    value what TOML has for it, `natural` are TOML's types of it: a text is good as well.
    """

    expected: str
    read: Callable[[str], Any]
    plain: Callable[[Any], Any] = lambda value: value
    natural: tuple[type, ...] = ()


def whole(least: int | None = None, most: int | None = None) -> Kind:
    """A whole number, within bounds."""

    def read(text: str) -> int:
        number = int(text)
        if (least is not None and number < least) or (most is not None and number > most):
            raise ValueError
        return number

    bounds = "" if least is None else f" of at least {least}"
    if most is not None:
        bounds = f" from {least} to {most}"
    return Kind(f"a whole number{bounds}", read, natural=(int,))


def real(least: float = 0, *, more: bool = False) -> Kind:
    """A finite number, at least `least`, or `more` than it."""

    def read(text: str) -> float:
        number = float(text)
        if not math.isfinite(number) or number < least or (more and number == least):
            raise ValueError
        return number

    bound = f"more than {least}" if more else f"at least {least}"
    return Kind(f"a number of {bound}", read, natural=(int, float))


def choice(*words: str) -> Kind:
    """One of these words."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError
        return text

    return Kind(f"one of {', '.join(words)}", read)


def optional(kind: Kind, *words: str) -> Kind:
    """That, or None for the word `none`, or for one of these; the first is how it is written."""
    words = words or (NONE,)

    def read(text: str) -> Any:
        return None if text in words else kind.read(text)

    def plain(value: Any) -> Any:
        return words[0] if value is None else kind.plain(value)

    return replace(kind, expected=f"{kind.expected}, or {words[0]}", read=read, plain=plain)


def _flag(text: str) -> bool:
    if text.lower() not in (*_TRUE, *_FALSE):
        raise ValueError
    return text.lower() in _TRUE


def _target(text: str) -> str:
    if text and not TARGET.fullmatch(text):
        raise ValueError
    return text


def _device(text: str) -> str:
    device_name(text)
    return text


def _path(text: str) -> Path:
    if "\0" in text or not text:
        raise ValueError
    return Path(text)


def _model_path(text: str) -> Path:
    if "://" in text:
        raise ValueError
    return _path(text)


def _whole_numbers(text: str) -> tuple[int, ...]:
    return tuple([int(number) for number in text.split(",")]) if text else ()


def _versions(text: str) -> Policy:
    if text == "all":
        return All()
    if found := _LATEST.fullmatch(text):
        return Latest(int(found[1] or 1))
    return Specific(frozenset(_whole_numbers(text)))


def _plain_versions(policy: Policy) -> str | list[int]:
    return sorted(policy.versions) if isinstance(policy, Specific) else str(policy)


def _labels(text: str) -> dict[str, int]:
    labels: dict[str, int] = {}
    for entry in text.split(",") if text else ():
        label, _, version = entry.rpartition("=")
        if not (label and version.isascii() and version.isdigit()):
            raise ValueError
        if labels.setdefault(label, int(version)) != int(version):
            msg = f"label {label!r} has version {labels[label]} already"
            raise ConfigError(msg)
    return labels


def _padding(text: str) -> Padding:
    place, equals, value = text.partition("=")
    if not equals:
        raise ValueError
    name, axis = _axis(place)
    for kind in (int, float):
        try:
            return name, (axis, kind(value))
        except ValueError:
            continue
    # Neither a whole number nor another: what strings are padded with.
    return name, (axis, value.encode())


def _plain_padding(padding: Padding) -> str:
    name, (axis, value) = padding
    return f"{name}:{axis}={value.decode() if isinstance(value, bytes) else value}"


def _axis(text: str) -> tuple[str, int]:
    name, _, axis = text.rpartition(":")
    if not (name and axis.isascii() and axis.isdigit()):
        raise ValueError
    return name, int(axis)


FLAG: Final = Kind("true or false", _flag, natural=(bool,))
TEXT: Final = Kind("text", str)
DEVICE: Final = Kind("cpu, gpu or gpu:N", _device)
URL_PATH: Final = Kind("a path that begins with a slash", _target)
PATH: Final = Kind("a path", _path, str)
MODEL_PATH: Final = Kind("a path on this machine, or module:function", _model_path, str)
WHOLE_NUMBERS: Final = Kind(
    "whole numbers with commas between", _whole_numbers, list, natural=(int, list)
)
VERSIONS: Final = Kind(
    "latest, latest N, all, or numbers with commas between",
    _versions,
    _plain_versions,
    natural=(int, list),
)
LABELS: Final = Kind("LABEL=VERSION, with commas between", _labels, dict, natural=(dict,))
PADDING: Final = Kind("INPUT:AXIS=VALUE", _padding, _plain_padding)
AXIS: Final = Kind("a name and an axis, NAME:AXIS", _axis, lambda axis: f"{axis[0]}:{axis[1]}")
