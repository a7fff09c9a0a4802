"""Reads the `traceparent` of W3C Trace Context: who asked, and whether it is followed. Pure.

    traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
                 version, trace, span of the caller, flags of which the last bit says: sampled

What does not have this form says nothing: the request is served as one that has none. A later
version may say more behind the flags.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from server.exchange import Exchange

NAME: Final = "traceparent"

LONGEST: Final = 512
"""Characters of one that is read."""

_FORM: Final = re.compile(
    r"[ \t]*(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:(-.*)|[ \t]*)"
)
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16


class Traceparent(NamedTuple):
    """Trace and span as hexadecimal digits, 32 and 16 of them; the flags are a byte."""

    trace_id: str
    span_id: str
    flags: int

    @property
    def is_sampled(self) -> bool:
        """Whether the caller follows this request."""
        return bool(self.flags & 1)


def read(text: str) -> Traceparent | None:
    """What it says; None if it is malformed."""
    found = _FORM.fullmatch(text) if len(text) <= LONGEST else None
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if trace_id == _NO_TRACE or span_id == _NO_SPAN or (more and version == "00"):
        return None
    return Traceparent(trace_id, span_id, int(flags, 16))


def of(headers: Mapping[str, str]) -> Traceparent | None:
    """What the header says; None if there is none, or a malformed one."""
    text = headers.get(NAME)
    return None if text is None else read(text)


def trace_id(exchange: Exchange) -> str:
    """The trace that a request belongs to, for the log; "" for none."""
    if exchange.stages is not None:
        return exchange.stages.trace_id
    told = of(exchange.headers)
    return "" if told is None else told.trace_id
