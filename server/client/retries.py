"""Whether a failed call is tried again, and when. Pure.

Inference changes nothing on the server, so a request may be sent twice. Tried again is what may
well succeed then, and has cost the server little: a refusal (503, 429), and a connection that
failed or broke before an answer began. Not what the model failed on, nor an answer that broke off.

    when        after the time that the server told, and a little more, so that those who were
                refused together do not come back together; else anywhere between now and a bound
                that doubles with each attempt ("full jitter")
    how long    never at or beyond the deadline: such a call fails at once, with what went wrong
    how many    `attempts` for a call; and `share` of the client's calls for all of them together,
                beyond a `reserve`: retrying everything would keep a full server full
"""

import email.utils
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Final

from server.client.errors import ClientError, Refused, Unreachable

RETRY_AFTER: Final = "Retry-After"
RETRY_AFTER_MS: Final = "Retry-After-Ms"


@dataclass(frozen=True, slots=True)
class Retries:
    """How a client tries again; seconds. `Retries(attempts=1)` never does.

    `first` is the bound of the first wait, `most` that of any. A server that asks for more than
    `patience` is not waited for. `share` and `reserve` bound the retries of the whole client.
    ValueError for what makes no sense.
    """

    attempts: int = 4
    first: float = 0.05
    most: float = 2.0
    patience: float = 30.0
    share: float = 0.1
    reserve: float = 10.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            msg = f"attempts must be at least 1, not {self.attempts}"
            raise ValueError(msg)
        for name in ("first", "most", "patience", "share", "reserve"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                msg = f"{name} must be a number from 0 on, not {value}"
                raise ValueError(msg)


class Budget:
    """A bucket of tokens: each call puts in `share` of one, each retry takes one out.

    However a server behaves, retries <= reserve + share * calls.
    """

    def __init__(self, retries: Retries) -> None:
        self._share = retries.share
        self._most = retries.reserve
        self._tokens = retries.reserve

    def earn(self) -> None:
        """A call begins."""
        self._tokens = min(self._tokens + self._share, self._most)

    def spend(self) -> bool:
        """Take what a retry costs; False if that is not there."""
        # Ten tenths are a little less than one.
        if self._tokens < 1 - 1e-9:
            return False
        self._tokens -= 1
        return True


def next_wait(
    retries: Retries,
    failure: ClientError,
    attempt: int,
    left: float,
    chance: float,
) -> float | None:
    """How many seconds to wait before the next attempt; None if there shall be none.

    `attempt` counts from 1; `left` are the seconds until the deadline, infinite without one;
    `chance` is a random number from [0, 1).
    """
    if not _may_pass(failure) or attempt >= retries.attempts:
        return None
    wait = chance * min(retries.most, retries.first * 2.0 ** min(attempt - 1, 64))
    if isinstance(failure, Refused) and failure.retry_after is not None:
        if failure.retry_after > retries.patience:
            return None
        wait += failure.retry_after
    return wait if wait < left else None


def told_wait(headers: Mapping[str, str], now: float) -> float | None:
    """After how many seconds an answer wants to be asked again; None if it does not say.

    `headers` look names up without regard to case; `now` are seconds since 1970, for a date.
    Milliseconds are more exact than seconds, and go first. What cannot be read says nothing.
    """
    milliseconds = _number(headers.get(RETRY_AFTER_MS, ""))
    if milliseconds is not None:
        return milliseconds / 1000
    told = headers.get(RETRY_AFTER, "")
    seconds = _number(told)
    return _until(told, now) if seconds is None else seconds


def _may_pass(failure: ClientError) -> bool:
    return isinstance(failure, Refused) or (isinstance(failure, Unreachable) and not failure.begun)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < math.inf else None


def _until(text: str, now: float) -> float | None:
    try:
        told = email.utils.parsedate_to_datetime(text)
        # Without a zone, as the oldest of the three forms of a date, it is in UTC as well.
        return max(0.0, (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, OverflowError):
        return None
