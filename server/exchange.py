"""What goes in and out of the front, whatever carried it: an exchange and its answer. Pure."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.inference import Stages  # Only who infers knows them.

JSON = "application/json"


@dataclass(slots=True)
class Exchange:
    """One request as it came over the wire.

    `target` is the raw request target, percent-encoded, query included; for gRPC the full name of
    the method. `headers` look names up without regard to case; for gRPC they are the metadata.
    `body` is whole, and compressed as `encoding` says, which is "" if it is not. `timeout` is how
    many seconds the transport itself leaves for the answer, None for any. `is_web` says that a
    browser may have sent it, for somebody else's page; browsers do not speak gRPC. `stages` is
    where the front notes when the request reached which, None if nobody wants to know.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    encoding: str = ""
    timeout: float | None = None
    is_web: bool = True
    stages: "Stages | None" = None


@dataclass(slots=True)
class Answer:
    """What goes back. `close` asks the adapter to end the connection after it.

    `status` is the protocol's own number: of HTTP, or of gRPC, where `body` is the message of an
    error, or the serialized reply. `more` holds what comes after the body, where the answer is a
    stream: the messages of gRPC after the first, or further parts of a body of HTTP. Whoever sends
    it closes it.
    """

    status: int
    body: bytes
    content_type: str = JSON
    headers: dict[str, str] | None = None
    close: bool = False
    more: AsyncGenerator[bytes, None] | None = None
