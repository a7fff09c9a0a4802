"""What can go wrong while serving, as the canonical codes that every protocol translates. Pure.

    ServingError                 the code and the words; never a traceback, never a tensor's content
    ├── InvalidArgument          the client's mistake, whatever the state of the server
    │   └── DecodeError          ... already in the bytes: the only thing that codecs raise on them
    ├── NotFound                 no such model or version
    ├── TooLarge                 the body is over the limit
    ├── Unimplemented            a valid request for something this server does not do
    ├── Unavailable              try again later: queue full, not ready, draining
    └── Internal                 the model failed; or a defect of ours

The codes are gRPC's (grpc/grpc doc/statuscodes.md), which TensorFlow Serving uses inside as well.
"""

import enum
from typing import ClassVar


class Code(enum.Enum):
    """Canonical codes, with the HTTP status that both REST protocols give them."""

    INVALID_ARGUMENT = 400
    NOT_FOUND = 404
    TOO_LARGE = 413
    INTERNAL = 500
    UNIMPLEMENTED = 501
    UNAVAILABLE = 503

    @property
    def http_status(self) -> int:
        """The status of an HTTP answer."""
        return self.value


class ServingError(Exception):
    """A request that ends without an answer from the model; the message goes to the client."""

    code: ClassVar[Code]


class InvalidArgument(ServingError):
    """The request is wrong: its message says what, where, what was expected and what came."""

    code = Code.INVALID_ARGUMENT


class DecodeError(InvalidArgument):
    """The bytes are not what their protocol allows."""


class NotFound(ServingError):
    """The model or version that was asked for is not here."""

    code = Code.NOT_FOUND


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


class Internal(ServingError):
    """The model failed on it, or the server has a defect."""

    code = Code.INTERNAL


class StartupError(Exception):
    """The server cannot start as it was told to; the message is one line for the operator."""
