"""What can go wrong while serving, as the canonical codes that every protocol translates. Pure.

    ServingError                 the code and the words; never a traceback, never a tensor's content
    ├── InvalidArgument          the client's mistake, whatever the state of the server
    │   ├── DecodeError          ... already in the bytes: the only thing that codecs raise on them
    │   └── UnsupportedEncoding  ... a Content-Encoding that nobody here can undo
    ├── FailedPrecondition       valid, but not in the state that the model or the server is in
    ├── Unauthenticated          no token, or none that is known
    ├── PermissionDenied         nobody may do this here, or not with this token
    ├── NotFound                 no such model or version
    ├── MethodNotAllowed         the target exists and takes another HTTP method
    ├── Aborted                  another operation on the same model is under way
    ├── TooLarge                 the body is over the limit
    ├── Unimplemented            a valid request for something this server does not do
    ├── Unavailable              try again later: queue full, not ready, draining
    ├── DeadlineExceeded         the time that the client gave has passed
    └── Internal                 the model failed; or a defect of ours

The codes are gRPC's (grpc/grpc doc/statuscodes.md), which TensorFlow Serving uses inside as well;
beside each stands the HTTP status of both REST protocols, and the number that gRPC gives it. HTTP
knows a few things that gRPC has no word for: those have the number of the nearest one.
"""

import enum
from typing import ClassVar


class Code(enum.Enum):
    """Canonical codes: HTTP status, gRPC status."""

    INVALID_ARGUMENT = (400, 3)
    FAILED_PRECONDITION = (400, 9)
    UNAUTHENTICATED = (401, 16)
    PERMISSION_DENIED = (403, 7)
    NOT_FOUND = (404, 5)
    METHOD_NOT_ALLOWED = (405, 12)
    ABORTED = (409, 10)
    TOO_LARGE = (413, 8)
    UNSUPPORTED_ENCODING = (415, 3)
    INTERNAL = (500, 13)
    UNIMPLEMENTED = (501, 12)
    UNAVAILABLE = (503, 14)
    DEADLINE_EXCEEDED = (504, 4)

    def __init__(self, http_status: int, grpc_status: int) -> None:
        self.http_status = http_status
        self.grpc_status = grpc_status


_GRPC = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND"),
    *("ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION"),
    *("ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"),
    "UNAUTHENTICATED",
)
"""What gRPC calls its statuses, by number."""

_OF_HTTP = {code.http_status: _GRPC[code.grpc_status] for code in reversed(Code)}
"""Where codes share a status, the first of them."""


def canonical(status: int) -> str:
    """What gRPC calls a status, whether it is one of HTTP or of gRPC: their numbers differ."""
    if status < len(_GRPC):
        return _GRPC[status]
    return _OF_HTTP.get(status, "OK" if status < 400 else "UNKNOWN")  # noqa: PLR2004 - HTTP's


class ServingError(Exception):
    """A request that ends without an answer from the model; the message goes to the client."""

    code: ClassVar[Code]


class InvalidArgument(ServingError):
    """The request is wrong: its message says what, where, what was expected and what came."""

    code = Code.INVALID_ARGUMENT


class DecodeError(InvalidArgument):
    """The bytes are not what their protocol allows."""


class UnsupportedEncoding(InvalidArgument):
    """The body is compressed in a way that is not known here."""

    code = Code.UNSUPPORTED_ENCODING


class FailedPrecondition(ServingError):
    """The request is valid, but not in the state that things are in."""

    code = Code.FAILED_PRECONDITION


class Unauthenticated(ServingError):
    """The request has no token, or none that is known."""

    code = Code.UNAUTHENTICATED


class PermissionDenied(ServingError):
    """Nobody may do this here, or not with this token."""

    code = Code.PERMISSION_DENIED


class NotFound(ServingError):
    """The model or version that was asked for is not here."""

    code = Code.NOT_FOUND


class MethodNotAllowed(ServingError):
    """The target is known, and takes another method; `allowed` is what HTTP's `Allow` says."""

    code = Code.METHOD_NOT_ALLOWED

    def __init__(self, message: str, *, allowed: str) -> None:
        super().__init__(message)
        self.allowed = allowed


class Aborted(ServingError):
    """Another operation on the same model is under way."""

    code = Code.ABORTED


class TooLarge(ServingError):
    """The body has more bytes than the server reads."""

    code = Code.TOO_LARGE


class Unimplemented(ServingError):
    """Nothing is wrong with the request, but this server cannot do it."""

    code = Code.UNIMPLEMENTED


class Unavailable(ServingError):
    """Nothing is wrong with the request; `retry_after` seconds later it may succeed."""

    code = Code.UNAVAILABLE

    def __init__(self, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineExceeded(ServingError):
    """The time that the client gave has passed; its rows have left the queue."""

    code = Code.DEADLINE_EXCEEDED


class Internal(ServingError):
    """The model failed on it, or the server has a defect."""

    code = Code.INTERNAL


class StartupError(Exception):
    """The server cannot start as it was told to; the message is one line for the operator."""
