"""Single questions to a server, beside the load: what it serves, and how. Main thread."""

import http.client
from collections.abc import Mapping
from typing import Final, NamedTuple

from server.load.target import Target

TIMEOUT: Final = 30.0
"""Seconds: a model that answers its first request may have something to compile."""


class Unreachable(Exception):
    """Nobody answered, or nobody who speaks HTTP; the message is a line for whoever asked."""


class Reply(NamedTuple):
    """What was answered."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        """The beginning of the body, on one line."""
        return " ".join(self.body[:500].decode(errors="replace").split())


def ask(
    target: Target,
    method: str = "GET",
    *,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT,
) -> Reply:
    """Ask once, on a connection of its own. Unreachable."""
    connection = http.client.HTTPConnection(target.host, target.port, timeout=timeout)
    try:
        connection.request(method, target.path, body, dict(headers or {}))
        answer = connection.getresponse()
        return Reply(answer.status, answer.read())
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        msg = f"nobody answers at {target}: {why}"
        raise Unreachable(msg) from None
    finally:
        connection.close()
