"""Parameters of requests in the Open Inference Protocol, whatever carries them. Pure.

    timeout          microseconds that the answer may take; 0 says nothing
    priority         1 goes before requests that say nothing, 2 is like them, 3 and more come after
    signature_name   another signature of the model than its default; our own
    sequence_*       refused: models here have no state
    triton_*         reserved, but for the one of streams that Triton's C++ client sends always

What else a client sends is accepted and does nothing.
"""

from collections.abc import Mapping
from typing import Any, Final

from server.errors import DecodeError, InvalidArgument, PermissionDenied, Unimplemented
from server.inference import ServedModel
from server.protocols.json_tensors import kind_of
from server.protocols.oip_models import default_signature
from server.signature import Signature

_SEQUENCE: Final = ("sequence_id", "sequence_start", "sequence_end")
_RESERVED: Final = "triton_"
_OF_STREAMS: Final = "triton_enable_empty_final_response"
_USUAL_PRIORITY: Final = 2
"""The priority that is like saying nothing: it leaves one that is more urgent."""


_LEAST_URGENT: Final = 2**31 - 1


def requested_limits(parameters: Mapping[str, Any]) -> tuple[float | None, int]:
    """Seconds that the client gives, None for any; and the batcher's priority, 0 for the usual.

    Also refuses what no request may ask for. DecodeError, InvalidArgument, Unimplemented.
    """
    for key, value in parameters.items():
        if not isinstance(value, (str, int, float)):
            msg = (
                f"parameter {key[:64]!r} must be a string, number or boolean, not {kind_of(value)}"
            )
            raise DecodeError(msg)
        if key in _SEQUENCE and value:
            msg = f"parameter {key!r}: sequences are not supported, models here have no state"
            raise Unimplemented(msg)
        if key.startswith(_RESERVED) and key != _OF_STREAMS:
            msg = f"parameter {key[:64]!r}: names that start with {_RESERVED!r} are reserved"
            raise InvalidArgument(msg)
    microseconds = unsigned(parameters, "timeout")
    priority = unsigned(parameters, "priority")
    return (
        microseconds / 1_000_000 if microseconds else None,
        min(priority - _USUAL_PRIORITY, _LEAST_URGENT) if priority else 0,
    )


def requested_signature(model: ServedModel, parameters: Mapping[str, Any]) -> Signature:
    """The signature that `signature_name` asks for. DecodeError, InvalidArgument."""
    if "signature_name" not in parameters:
        return default_signature(model)
    name = parameters["signature_name"]
    if not isinstance(name, str):
        msg = f"parameter 'signature_name' must be a string, not {kind_of(name)}"
        raise DecodeError(msg)
    return model.signature(name)


def refuse_content(parameters: Mapping[str, Any]) -> None:
    """Refuse parameters for loading that bring a model, or its configuration. PermissionDenied."""
    for key in parameters:
        if key == "config" or key.startswith("file:"):
            msg = f"parameter {key[:64]!r}: models are loaded only as the operator configured them"
            raise PermissionDenied(msg)


def unsigned(parameters: Mapping[str, Any], key: str) -> int:
    """A parameter that is an integer from 0 on; 0 if it is not given. DecodeError."""
    value = parameters.get(key, 0)
    if type(value) is not int or value < 0:
        came = value if type(value) is int else kind_of(value)
        msg = f"parameter {key!r} must be an integer from 0 on, not {came}"
        raise DecodeError(msg)
    return value


def switch(parameters: Mapping[str, Any], key: str, *, otherwise: bool) -> bool:
    """A parameter that is a boolean. DecodeError."""
    value = parameters.get(key, otherwise)
    if not isinstance(value, bool):
        msg = f"parameter {key!r} must be a boolean, not {kind_of(value)}"
        raise DecodeError(msg)
    return value
