"""What the Open Inference Protocol over gRPC answers beside inference. Event loop.

Each call takes the server and the parsed request; it returns the fields of the reply.
"""

import re
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Final, NamedTuple

from server.errors import InvalidArgument, NotFound, Unimplemented
from server.inference import ModelAddress
from server.protocols import oip_models, oip_settings
from server.protocols.oip_parameters import refuse_content, switch
from server.protocols.protocol import Serving

_VERSION: Final = re.compile("[0-9]{1,32}")


def address_of(name: str, version: str) -> ModelAddress:
    """Whom a request is for; a version of "" is the newest. InvalidArgument for other than digits.

    Triton's gRPC refuses those so, where its HTTP does not find them.
    """
    if version and not _VERSION.fullmatch(version):
        msg = f"the version of a model must be a number from 0 on, not {version[:64]!r}"
        raise InvalidArgument(msg)
    return ModelAddress(name, int(version) if version else None)


def value_of(parameter: Any) -> Any:
    """What a parameter or a setting holds, whatever its type; None if nothing."""
    choice = parameter.WhichOneof("parameter_choice")
    return None if choice is None else getattr(parameter, choice)


def values_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What parameters or settings hold, by name."""
    return {key: value_of(parameter) for key, parameter in parameters.items()}


# ------------------------------------------------------------------------ the server and its health


async def _live(_: Serving, __: Any) -> Mapping[str, Any]:
    """Whoever answers, lives."""
    return {"live": True}


async def _ready(serving: Serving, _: Any) -> Mapping[str, Any]:
    return {"ready": serving.ready}


async def _server(serving: Serving, _: Any) -> Mapping[str, Any]:
    return oip_models.server_metadata(serving)


# ------------------------------------------------------------------------------------ one model


async def _model_ready(serving: Serving, asked: Any) -> Mapping[str, Any]:
    """An unknown model is not ready: clients that ask whether it is get no error for an answer."""
    address = address_of(asked.name, asked.version)
    try:
        return {"ready": oip_models.model_ready(serving, address)}
    except NotFound:
        return {"ready": False}


async def _metadata(serving: Serving, asked: Any) -> Mapping[str, Any]:
    return oip_models.model_metadata(serving, address_of(asked.name, asked.version))


async def _config(serving: Serving, asked: Any) -> Mapping[str, Any]:
    return {"config": oip_models.model_config(serving, address_of(asked.name, asked.version))}


async def _statistics(serving: Serving, asked: Any) -> Mapping[str, Any]:
    """Of all models, if none is named."""
    address = address_of(asked.name, asked.version)
    return oip_models.statistics(serving, address if address.name else None)


# ------------------------------------------------------------------------------- the repository


async def _index(serving: Serving, asked: Any) -> Mapping[str, Any]:
    _refuse_repository(asked)
    return {"models": oip_models.repository_index(serving, asked.ready)}


async def _load(serving: Serving, asked: Any) -> Mapping[str, Any]:
    """As it is configured. PermissionDenied, NotFound, FailedPrecondition, Aborted."""
    _refuse_repository(asked)
    refuse_content(values_of(asked.parameters))
    await serving.load(asked.model_name)
    return {}


async def _unload(serving: Serving, asked: Any) -> Mapping[str, Any]:
    """No other model depends on it, whatever is asked for those. NotFound, Aborted."""
    _refuse_repository(asked)
    switch(values_of(asked.parameters), "unload_dependents", otherwise=False)
    await serving.unload(asked.model_name)
    return {}


def _refuse_repository(asked: Any) -> None:
    if asked.repository_name:
        msg = "repositories have no names here: leave 'repository_name' empty"
        raise Unimplemented(msg)


# --------------------------------------------------------------------------------- the settings


async def _trace(serving: Serving, asked: Any) -> Mapping[str, Any]:
    """Tell them; and change them first, if there are any in the request. An empty one clears."""
    given = {key: list(setting.value) for key, setting in asked.settings.items()}
    told = oip_settings.update_trace_settings(serving, asked.model_name, given)
    return {
        "settings": {
            key: {"value": value if isinstance(value, list) else [value]}
            for key, value in told.items()
        }
    }


async def _log(serving: Serving, asked: Any) -> Mapping[str, Any]:
    """Tell them; and change them first, if there are any in the request."""
    given = values_of(asked.settings)
    told = (
        oip_settings.update_log_settings(serving, given)
        if given
        else oip_settings.log_settings(serving)
    )
    return {"settings": {key: {_FIELD[type(value)]: value} for key, value in told.items()}}


_FIELD: Final = {bool: "bool_param", int: "uint32_param", str: "string_param"}


# -------------------------------------------------------------------------------- shared memory


async def _no_regions(_: Serving, asked: Any) -> Mapping[str, Any]:
    if asked.name:
        msg = f"there is no shared memory region {asked.name[:64]!r}"
        raise NotFound(msg)
    return {}


async def _refuse_regions(_: Serving, __: Any) -> Mapping[str, Any]:
    msg = "shared memory is not supported: send the tensors in the request"
    raise Unimplemented(msg)


# ------------------------------------------------------------------------------------- the table


def _never(_: Any) -> bool:
    return False


def _always(_: Any) -> bool:
    return True


def _with_settings(asked: Any) -> bool:
    return bool(asked.settings)


class Method(NamedTuple):
    """A method: which field of the request names the model, and when it changes the server."""

    call: Callable[[Serving, Any], Coroutine[Any, Any, Mapping[str, Any]]]
    model: str = ""
    changes: Callable[[Any], bool] = _never
    is_open: bool = False


def _shared_memory(kinds: Iterable[str]) -> dict[str, Method]:
    calls = {"Status": _no_regions, "Register": _refuse_regions, "Unregister": _refuse_regions}
    return {
        f"{kind}SharedMemory{method}": Method(call)
        for kind in kinds
        for method, call in calls.items()
    }


METHODS: Final[Mapping[str, Method]] = {
    "ServerLive": Method(_live, is_open=True),
    "ServerReady": Method(_ready, is_open=True),
    "ServerMetadata": Method(_server),
    "ModelReady": Method(_model_ready, "name", is_open=True),
    "ModelMetadata": Method(_metadata, "name"),
    "ModelConfig": Method(_config, "name"),
    "ModelStatistics": Method(_statistics, "name"),
    "RepositoryIndex": Method(_index),
    "RepositoryModelLoad": Method(_load, "model_name", _always),
    "RepositoryModelUnload": Method(_unload, "model_name", _always),
    "TraceSetting": Method(_trace, "model_name", _with_settings),
    "LogSettings": Method(_log, "", _with_settings),
} | _shared_memory(["System", "Cuda"])
"""All methods but those that infer; NAMERequest and NAMEResponse are their messages."""
