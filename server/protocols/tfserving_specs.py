"""Which model, version and signature a message of TensorFlow Serving names: its ModelSpec. Pure."""

from typing import Any, Final

from server.errors import InvalidArgument, ServingError
from server.exchange import Exchange
from server.inference import ModelAddress, ServedModel
from server.protocols.wire import message, parse
from server.signature import DEFAULT_SIGNATURE, Signature

_RequestHead: Final = message("tensorflow.serving.RequestHead")


def address_in(exchange: Exchange) -> ModelAddress:
    """Whom a request is for; reads nothing else of it. DecodeError, InvalidArgument."""
    return address_of(parse(_RequestHead, exchange.body).model_spec)


def address_of(spec: Any) -> ModelAddress:
    """Whom a ModelSpec means. InvalidArgument if it has no name."""
    if not spec.name:
        msg = '"model_spec" has no name, expected that of a model'
        raise InvalidArgument(msg)
    choice = spec.WhichOneof("version_choice")
    return ModelAddress(
        spec.name,
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
    )


def signature_of(spec: Any, model: ServedModel, unknown: type[ServingError]) -> Signature:
    """The signature that a ModelSpec means; raises `unknown` if the model has no such."""
    return model.signature(spec.signature_name or DEFAULT_SIGNATURE, unknown)


def describe(spec: Any, model: ServedModel, signature: str = "") -> None:
    """Write into the ModelSpec of an answer who has answered."""
    spec.name = model.name
    spec.version.value = model.version
    spec.signature_name = signature
