"""What the Open Inference Protocol over HTTP answers beside inference. Event loop.

Each call takes what was asked and returns what becomes JSON, or None for an empty body.
"""

from typing import Any, NamedTuple

from server.errors import DecodeError, FailedPrecondition
from server.inference import ModelAddress
from server.protocols import oip_models, oip_settings, strict_json
from server.protocols.json_tensors import kind_of
from server.protocols.oip_parameters import refuse_content, switch
from server.protocols.protocol import Serving


class Asked(NamedTuple):
    """Of whom, about which model ("" for none), and the body that came with it."""

    serving: Serving
    address: ModelAddress
    body: bytes

    def read(self) -> dict[str, Any]:
        """The object in the body, which may be empty. DecodeError."""
        told = strict_json.loads(self.body) if self.body.strip() else {}
        if not isinstance(told, dict):
            msg = f"the body must be a JSON object, not {kind_of(told)}"
            raise DecodeError(msg)
        return told

    def parameters(self) -> dict[str, Any]:
        """The parameters in the body. DecodeError."""
        parameters = self.read().get("parameters", {})
        if not isinstance(parameters, dict):
            msg = f"'parameters' must be an object, not {kind_of(parameters)}"
            raise DecodeError(msg)
        return parameters


# ------------------------------------------------------------------------ the server and its health


async def server(asked: Asked) -> object:
    """Name, version and extensions."""
    return oip_models.server_metadata(asked.serving)


async def live(_: Asked) -> object:
    """Whoever answers, lives."""
    return {"live": True}


async def ready(asked: Asked) -> object:
    """Whether all models take requests. FailedPrecondition (400, as Triton has it) if not."""
    if not asked.serving.ready:
        msg = "the server is not ready"
        raise FailedPrecondition(msg)
    return {"ready": True}


# ------------------------------------------------------------------------------------ one model


async def metadata(asked: Asked) -> object:
    """Tensors and versions. NotFound, Unavailable."""
    return oip_models.model_metadata(asked.serving, asked.address)


async def config(asked: Asked) -> object:
    """A ModelConfig. NotFound, Unavailable."""
    return oip_models.model_config(asked.serving, asked.address)


async def model_ready(asked: Asked) -> object:
    """Whether a model takes requests. FailedPrecondition (400) if not, NotFound if unknown."""
    if not oip_models.model_ready(asked.serving, asked.address):
        msg = f"model {asked.address} is not ready"
        raise FailedPrecondition(msg)
    return {"name": asked.address.name, "ready": True}


async def statistics(asked: Asked) -> object:
    """Of one model, or of all. NotFound."""
    return oip_models.statistics(asked.serving, asked.address if asked.address.name else None)


# ------------------------------------------------------------------------------- the repository


async def index(asked: Asked) -> object:
    """All versions; `{"ready": true}` asks for those that take requests. DecodeError."""
    return oip_models.repository_index(
        asked.serving, switch(asked.read(), "ready", otherwise=False)
    )


async def load(asked: Asked) -> None:
    """Load a model as it is configured. PermissionDenied, NotFound, FailedPrecondition, Aborted."""
    refuse_content(asked.parameters())
    await asked.serving.load(asked.address.name)


async def unload(asked: Asked) -> None:
    """Unload a model; no other depends on it, whatever is asked for those. NotFound, Aborted."""
    switch(asked.parameters(), "unload_dependents", otherwise=False)
    await asked.serving.unload(asked.address.name)


# --------------------------------------------------------------------------------- the settings


async def trace(asked: Asked) -> object:
    """How requests are traced. NotFound."""
    return oip_settings.trace_settings(asked.serving, asked.address.name)


async def set_trace(asked: Asked) -> object:
    """Trace differently; all settings as they are then. InvalidArgument, PermissionDenied."""
    return oip_settings.update_trace_settings(asked.serving, asked.address.name, asked.read())


async def log(asked: Asked) -> object:
    """How the server logs."""
    return oip_settings.log_settings(asked.serving)


async def set_log(asked: Asked) -> object:
    """Log differently; all settings as they are then. InvalidArgument, PermissionDenied."""
    return oip_settings.update_log_settings(asked.serving, asked.read())
