"""Triton's trace and logging settings, told and changed as its clients know them. Pure.

Settings for logging are typed. Settings for traces are strings, or lists of strings; null takes one
back to what holds without it. Files are never named by a request. What is wrong is refused before
anything is changed: InvalidArgument, PermissionDenied for files, NotFound for the model.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from server.errors import InvalidArgument, PermissionDenied
from server.inference import ModelAddress
from server.protocols.json_tensors import kind_of
from server.protocols.protocol import Serving
from server.settings import TraceSettings

_SWITCHES: Final = ("log_info", "log_warning", "log_error")
_OFF, _ON = "OFF", "TIMESTAMPS"
_INTEGER: Final = re.compile("-?[0-9]{1,18}")


def log_settings(serving: Serving) -> dict[str, Any]:
    """How the server logs."""
    settings = serving.log_settings()
    return {
        "log_file": "",
        "log_info": settings.info,
        "log_warning": settings.warning,
        "log_error": settings.error,
        "log_verbose_level": settings.verbose_level,
        "log_format": "default",
    }


def update_log_settings(serving: Serving, given: Mapping[str, Any]) -> dict[str, Any]:
    """Change what is given; returns all settings as they are then."""
    told = log_settings(serving)
    for key, value in given.items():
        _check_known(key, told)
        if type(value) is not type(told[key]):
            msg = f"{key!r} must be {kind_of(told[key])}, not {kind_of(value)}"
            raise InvalidArgument(msg)
        _check_fixed(key, value, told, fixed=("log_file", "log_format"))
    told |= given
    level = told["log_verbose_level"]
    if level < 0:
        msg = f"'log_verbose_level' must be from 0 on, not {level}"
        raise InvalidArgument(msg)
    info, warning, error = (told[key] for key in _SWITCHES)
    serving.set_log_settings(
        replace(
            serving.log_settings(), info=info, warning=warning, error=error, verbose_level=level
        )
    )
    return log_settings(serving)


def trace_settings(serving: Serving, model: str) -> dict[str, Any]:
    """How requests for a model are traced; "" for all models without settings of their own."""
    if model:
        serving.states(ModelAddress(model))
    return _told(serving.trace_settings(model))


def update_trace_settings(serving: Serving, model: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Change what is given; returns all settings as they are then.

    What is cleared, by null or an empty list, is for a model what holds for all models, and for all
    models what held at the start. A model left without a setting of its own follows them again.
    """
    told = trace_settings(serving, model)
    outer = serving.trace_settings("") if model else TraceSettings()
    settings = serving.trace_settings(model)
    cleared = False
    for key, value in given.items():
        _check_known(key, told)
        if value in (None, []):
            cleared = True
            settings = _with(settings, key, _told(outer)[key])
        else:
            _check_fixed(key, value, told, fixed=("log_frequency", "trace_file", "trace_mode"))
            settings = _with(settings, key, value)
    if given:
        serving.set_trace_settings(model, None if cleared and settings == outer else settings)
    return trace_settings(serving, model)


def _told(settings: TraceSettings) -> dict[str, Any]:
    return {
        "trace_level": [_ON if settings.on else _OFF],
        "trace_rate": str(settings.rate),
        "trace_count": str(settings.count),
        "log_frequency": "0",
        "trace_file": "",
        "trace_mode": "triton",
    }


def _with(settings: TraceSettings, key: str, value: Any) -> TraceSettings:
    """The settings with another value of one key, as a client wrote it. InvalidArgument."""
    if key == "trace_level":
        return replace(settings, on=_ON in _levels(value))
    if key == "trace_rate":
        return replace(settings, rate=_integer(key, value, least=1))
    if key == "trace_count":
        return replace(settings, count=_integer(key, value, least=-1))
    return settings


def _levels(value: Any) -> list[Any]:
    levels = value if isinstance(value, list) else [value]
    for level in levels:
        if level not in (_OFF, _ON):
            came = repr(level[:64]) if isinstance(level, str) else kind_of(level)
            msg = f"'trace_level' can be {_OFF!r} or {_ON!r}, not {came}"
            raise InvalidArgument(msg)
    return levels


def _integer(key: str, value: Any, *, least: int) -> int:
    given = _only(value)
    text = given if isinstance(given, str) else str(given) if type(given) is int else ""
    number = int(text) if _INTEGER.fullmatch(text) else least - 1
    if number < least:
        came = repr(text[:64]) if text else kind_of(given)
        msg = f"{key!r} must be an integer from {least} on, as a string, not {came}"
        raise InvalidArgument(msg)
    return number


def _only(value: Any) -> Any:
    """The value itself, or the one in a list: gRPC has lists only."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _check_known(key: str, told: Mapping[str, Any]) -> None:
    if key not in told:
        known = ", ".join(repr(name) for name in told)
        msg = f"there is no setting {key[:64]!r}; there are {known}"
        raise InvalidArgument(msg)


def _check_fixed(key: str, value: Any, told: Mapping[str, Any], *, fixed: tuple[str, ...]) -> None:
    """What cannot be changed here may be given as it is."""
    if key not in fixed or _only(value) == told[key]:
        return
    if key.endswith("_file"):
        msg = f"{key!r}: a request cannot name a file of the server"
        raise PermissionDenied(msg)
    msg = f"{key!r} cannot be changed from {told[key]!r}"
    raise InvalidArgument(msg)
