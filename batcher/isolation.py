"""What to do about a failed batch: whom to run again, together with whom. Pure; event loop only.

A batch that failed is halved, and the halves run again, until each guilty request has failed alone.
When the first half of a batch that fails is fine, the second one is known to fail: so it is halved
at once, not run. `k` guilty of `n` requests take about `k log2(n)` further calls.

Memory is another matter: no request is guilty of it, so both halves run, and batches stay smaller.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic

from batcher.request import R, Request, T


@dataclass(slots=True, eq=False)
class Part(Generic[T, R]):
    """Requests to run again together. `fails` if that is known without running them.

    `second` is the half beside it, if this is the first half of a batch that failed.
    """

    requests: list[Request[T, R]]
    fails: bool = False
    second: "Part[T, R] | None" = None


class Split(Generic[T, R]):
    """What is left to do about one failed batch."""

    def __init__(
        self, requests: list[Request[T, R]], error: Exception, max_extra_runs: int
    ) -> None:
        self.error: Final = error
        self._runs_left = max_extra_runs
        self._parts: list[Part[T, R]] = []
        self._current: Part[T, R] = Part(requests)
        self.ended(error)

    def next(self, wanted: Callable[[Request[T, R]], bool]) -> list[Request[T, R]]:
        """The requests to run next, of those still wanted; none when all is done or may cost."""
        while self._parts:
            part = self._parts.pop()
            living = [request for request in part.requests if wanted(request)]
            if len(living) < len(part.requests):
                # Who was guilty may have gone: nothing is known any more.
                part.requests, part.fails, part.second = living, False, None
            if part.fails and len(living) > 1:
                self._halve(part)
            elif living and self._runs_left:
                self._runs_left -= 1
                self._current = part
                return living
            elif living:
                self._parts.append(part)
                break
        return []

    def ended(self, error: BaseException | None) -> bool:
        """The part that ran last has ended; True if its requests can be told how."""
        part = self._current
        if error is None:
            if part.second is not None:
                part.second.fails = True
            return True
        if len(part.requests) == 1 or not isinstance(error, Exception):
            return True
        if isinstance(error, MemoryError):
            self._parts += reversed(_halves(part.requests))
        else:
            self._halve(part)
        return False

    def waiting(self) -> list[Request[T, R]]:
        """All that have not run again."""
        return [request for part in self._parts for request in part.requests]

    def _halve(self, part: Part[T, R]) -> None:
        """Put the halves of a part that fails on top, the first half first."""
        first, second = _halves(part.requests)
        first.second = second
        self._parts += [second, first]


def _halves(requests: list[Request[T, R]]) -> tuple[Part[T, R], Part[T, R]]:
    middle = len(requests) // 2
    return Part(requests[:middle]), Part(requests[middle:])


class SizeCap:
    """The largest batch that the memory takes, as far as learned."""

    def __init__(self, max_batch_size: int, allowed: Sequence[int], probe_after: int) -> None:
        self.size = max_batch_size
        self._most = max_batch_size
        self._allowed = allowed
        self._probe_after = probe_after
        self._successes = 0

    def exhausted(self, size: int) -> None:
        """A batch of so many rows did not find the memory: half of it must do."""
        half = max(1, size // 2)
        smaller = [allowed for allowed in self._allowed if allowed <= half]
        half = max(smaller, default=self._allowed[0] if self._allowed else half)
        self.size = min(self.size, half)
        self._successes = 0

    def succeeded(self, size: int) -> bool:
        """A batch of so many rows ran; True if more may be tried from now on."""
        if self.size == self._most or size < self.size:
            return False
        self._successes += 1
        if self._successes < self._probe_after:
            return False
        self._successes = 0
        more = min(self.size + max(1, self.size // 4), self._most)
        self.size = next((allowed for allowed in self._allowed if allowed > self.size), more)
        return True
