"""A request and its answer, as codecs and transports of the client tell each other. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from server.client.errors import BadAnswer
from server.errors import DecodeError
from server.protocols import strict_json


class Request(NamedTuple):
    """What is sent. `target` begins with a slash and is percent-encoded."""

    method: str
    target: str
    headers: Mapping[str, str] = {}
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came. `headers` look names up without regard to case; `body` is not compressed."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        """The JSON value that the body is. BadAnswer."""
        return parse(self.body)


class Transport(Protocol):
    """Who carries requests to one server. Event loop."""

    async def exchange(self, request: Request) -> Reply:
        """Send and wait for the answer, whatever its status. Unreachable, BadAnswer.

        Cancelling it ends its connection, so that the server knows that nobody waits.
        """
        ...


def parse(body: bytes) -> Any:
    """Read JSON of a server. Large lists of numbers come as arrays. BadAnswer."""
    try:
        return strict_json.loads(body, arrays=True)
    except DecodeError as error:
        msg = f"the server's answer: {error}"
        raise BadAnswer(msg) from None


def error_text(reply: Reply) -> str:
    """What a server says went wrong: `{"error": text}`, or what else its body is."""
    try:
        told = reply.json()
    except BadAnswer:
        told = None
    text = told.get("error") if isinstance(told, dict) else None
    if isinstance(text, str) and text:
        return text
    raw = " ".join(reply.body[:500].decode(errors="replace").split())
    return f"the server answered {reply.status}" + (f": {raw}" if raw else "")
