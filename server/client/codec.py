"""What the client has to know of a protocol: how things are asked, and what answers mean. Pure."""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple, Protocol
from urllib.parse import quote

from server.client.errors import InvalidRequest
from server.client.messages import Reply, Request
from server.client.metadata import ModelMetadata, ModelState
from server.inference import ModelAddress
from server.signature import Signature, Tensors


class Ask(NamedTuple):
    """Inputs for a model; `signature` is "" for the default one."""

    address: ModelAddress
    signature: str
    inputs: Tensors


class Codec(Protocol):
    """A protocol. What cannot be written raises InvalidRequest, what cannot be read BadAnswer."""

    needs_signature: ClassVar[bool]
    """Whether answers do not tell the names and dtypes of what they hold."""

    def ask(self, ask: Ask) -> Request:
        """A request for inference."""
        ...

    def outputs(self, reply: Reply, signature: Signature | None) -> Tensors:
        """The outputs in its answer; strings are objects of `bytes`."""
        ...

    def ask_metadata(self, address: ModelAddress) -> Request:
        """What is asked for the metadata of a model."""
        ...

    def metadata(self, reply: Reply) -> ModelMetadata:
        """What the answer to that says."""
        ...

    def ask_models(self, name: str) -> Request:
        """What is asked for the states of all models, or of one where there is a name."""
        ...

    def models(self, name: str, reply: Reply) -> Sequence[ModelState]:
        """What the answer to that says."""
        ...

    def ask_ready(self, address: ModelAddress) -> Request:
        """What is asked to know whether a model answers; or the server, if it has no name."""
        ...

    def is_ready(self, reply: Reply) -> bool:
        """What a good answer to that says."""
        ...


def quoted(name: str) -> str:
    """A name as one part of a path. InvalidRequest."""
    try:
        return quote(name, safe="")
    except UnicodeEncodeError:
        msg = f"{name!r} cannot be sent: it is no text"
        raise InvalidRequest(msg) from None


def no_model() -> InvalidRequest:
    """What to raise where a model must be named."""
    return InvalidRequest("this needs a model: Client(url, MODEL)")
