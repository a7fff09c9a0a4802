"""What goes in and out of the front, whatever carried it: an exchange and its answer. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

JSON = "application/json"


@dataclass(slots=True)
class Exchange:
    """One request as it came over the wire.

    `target` is the raw request target, percent-encoded, query included; `headers` look names up
    without regard to case; `body` is whole and inflated.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Answer:
    """What goes back. `close` asks the adapter to end the connection after it."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] | None = None
    close: bool = False
