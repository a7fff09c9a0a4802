"""What a client wishes for beside the body: by when, how urgent, under which id. Pure.

    X-Request-Timeout-Ms   milliseconds that the answer may take, from its arrival; a decimal number
    X-Request-Priority     an integer: lower is more urgent, 0 is usual
    X-Request-Id           printable ASCII, at most 128 characters; echoed, and told in the log

gRPC has them as metadata, in lower case, and its own deadline beside the first.
"""

import math
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from server.errors import DeadlineExceeded, InvalidArgument
from server.exchange import Exchange
from server.inference import InferenceRequest

TIMEOUT: Final = "X-Request-Timeout-Ms"
PRIORITY: Final = "X-Request-Priority"
ID: Final = "X-Request-Id"

MOST_URGENT, LEAST_URGENT = -(2**31), 2**31 - 1

_ID: Final = re.compile(r"[!-~](?:[ -~]{0,126}[!-~])?")


class Wishes(NamedTuple):
    """`timeout` in seconds, None for any; `priority` None if the client does not say."""

    timeout: float | None
    priority: int | None

    @classmethod
    def of(cls, exchange: Exchange) -> "Wishes":
        """Read them from an exchange. InvalidArgument."""
        headers = exchange.headers
        timeout, priority = exchange.timeout, None
        if TIMEOUT in headers:
            asked = _timeout(headers[TIMEOUT])
            timeout = asked if timeout is None else min(asked, timeout)
        if PRIORITY in headers:
            priority = _priority(headers[PRIORITY])
        return NOTHING if timeout is None and priority is None else cls(timeout, priority)

    def apply(self, request: InferenceRequest, passed: float) -> None:
        """Put them into the request, `passed` seconds later. DeadlineExceeded.

        What the headers say goes before what the body says, except that the shorter time wins.
        """
        if self.priority is not None:
            request.priority = self.priority
        if self.timeout is not None and (request.timeout is None or self.timeout < request.timeout):
            request.timeout = self.timeout
        if request.timeout is not None:
            left = request.timeout - passed
            if left <= 0:
                msg = f"the request was not read within its {request.timeout:g} s"
                raise DeadlineExceeded(msg)
            request.timeout = left


NOTHING: Final = Wishes(None, None)
"""Those of most requests, of which there is only this one."""


def request_id(headers: Mapping[str, str]) -> str:
    """The id that a client gave its request; "" if none, or none that is fit to be repeated."""
    told = headers.get(ID, "")
    return told if told and _ID.fullmatch(told) else ""


def _timeout(text: str) -> float:
    try:
        milliseconds = float(text)
    except ValueError:
        milliseconds = math.nan
    if not 0 < milliseconds < math.inf:
        msg = f"{TIMEOUT} must be a number of milliseconds above 0, not {text[:64]!r}"
        raise InvalidArgument(msg)
    return milliseconds / 1000


def _priority(text: str) -> int:
    try:
        priority = int(text)
    except ValueError:
        priority = LEAST_URGENT + 1
    if not MOST_URGENT <= priority <= LEAST_URGENT:
        msg = f"{PRIORITY} must be an integer of 32 bits, lower is more urgent, not {text[:64]!r}"
        raise InvalidArgument(msg)
    return priority
