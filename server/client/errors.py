"""What can come of a call besides its answer, by what its caller can do about it. Pure.

    ClientError           the words of the server where it said any
    ├── InvalidRequest    change the request: the server refuses it, or it has no form to be sent in
    ├── Forbidden         bring another token
    ├── NotFound          ask for another model or version, or wait until it is loaded
    ├── Refused           ask again, `retry_after` seconds later
    ├── DeadlineExceeded  give it more time; TimeoutError as well
    ├── Unreachable       nobody answered: no connection, or it broke; ConnectionError as well
    ├── ServerFailed      the model failed on it, or the server has a defect
    └── BadAnswer         whoever answered does not speak the protocol

`status` is that of HTTP, 0 if there was no answer; `attempts` says how often it was tried.
"""

from collections.abc import Mapping

_INVALID = frozenset({400, 405, 411, 413, 414, 415, 422, 431, 501})


class ClientError(Exception):
    """A call that ends without an answer."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.attempts = 0


class InvalidRequest(ClientError):
    """The request is wrong, and will be so the next time."""


class Forbidden(ClientError):
    """No token, or not the right one."""


class NotFound(ClientError):
    """There is no such model or version."""


class Refused(ClientError):
    """The server has no room or is not ready (503), or has a limit on rates (429).

    `retry_after` is after how many seconds it wants to be asked again, None if it did not say.
    """

    def __init__(self, message: str, *, status: int = 503, retry_after: float | None) -> None:
        super().__init__(message, status=status)
        self.retry_after = retry_after


class DeadlineExceeded(ClientError, TimeoutError):
    """The time of the call has passed: here, or as the server counts it (504)."""


class Unreachable(ClientError, ConnectionError):
    """There is no answer. `begun`: one had begun when the connection broke, or this was closed."""

    def __init__(self, message: str, *, begun: bool = False) -> None:
        super().__init__(message)
        self.begun = begun


class ServerFailed(ClientError):
    """The server could not answer, through no fault of the request."""


class BadAnswer(ClientError):
    """The answer is not what its protocol says it should be."""


_OTHERS: Mapping[int, type[ClientError]] = {
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    504: DeadlineExceeded,
} | dict.fromkeys(_INVALID, InvalidRequest)


def of_status(status: int, message: str, retry_after: float | None) -> ClientError:
    """The error that an HTTP status other than 2xx stands for."""
    if status in (429, 503):
        return Refused(message, status=status, retry_after=retry_after)
    return _OTHERS.get(status, ServerFailed)(message, status=status)
