"""Whether a free thread should wait for those it has just answered. Pure; event loop only.

Why
---
Callers who ask again as soon as they are answered come in two halves: while one half runs the other
waits, and becomes the next batch. Two batches are run where one would do, for good.

The rule
--------
When a batch of n rows has ended and q rows wait, running them together instead of one after the
other saves

    s = t(q) + t(n) - t(q + n)

where t(size) is how long such a batch keeps the thread, from being taken until its end is noticed,
as learned. A thread is kept free for it as long as that is likely to pay:

- less than s has passed;
- those who are back have not come so slowly that the last of them would be back after s;
- somebody has come in the last passes of the event loop, or in the last eighth of s. An answer goes
  out and the next question comes in while the loop is busy with the others.

It is looked at after each pass of the loop, and no timer is set. Where it does not work out, it is
tried more and more seldom.

Guarantees
----------
- The thread is kept for s at most, or for the pass of the loop in which s ends.
- Nobody waits who is alone, with as many rows as before: all who were answered are back.
- Nobody waits where it saves nothing, where twice the rows take twice the time; but for one attempt
  in 64, of half the time of both at most, as what is known may be old.
- Where callers do not come back at once, it is tried after one batch in 64 in the end.
"""

from collections.abc import Callable, Hashable
from typing import Final, NamedTuple

from batcher.cost import RunTimes

FEWEST_PASSES: Final = 3
"""Passes of the loop in a row that may bring nobody: the first of them writes the answers."""

MOST_PASSES: Final = 100
"""The same, however little time they take."""

QUIET: Final = 1 / 8
"""The share of what is saved for which nobody need come."""

WORTHWHILE: Final = 0.05
"""The least share of the time for both that is worth to be saved: less is noise."""

SELDOM: Final = 64
"""One batch in so many is followed by an attempt, whatever is known: that may have changed."""


class Answered(NamedTuple):
    """A batch that has ended: whose bucket, how many rows, when; and who waited there just then."""

    bucket: Hashable
    rows: int
    ended: float
    waiting: int


class Regrouping:
    """Learns what it saves and whether it works out, and tells how long to wait."""

    __slots__ = (
        *("_answered", "_came", "_declined", "_empty", "_padded"),
        *("_pause", "_saves", "_seen", "_skip", "_times"),
    )

    def __init__(self, padded: Callable[[int], int]) -> None:
        self._padded = padded
        self._times = RunTimes()
        # Whose return may be waited for; what that saves once it was asked for.
        self._answered: Answered | None = None
        self._saves: float | None = None
        # The most rows that were there, since how long after the end, and the passes since.
        self._seen, self._came, self._empty = 0, 0.0, 0
        # Batches that are followed by no attempt: after each failure, and from now on.
        self._pause = self._skip = 0
        self._declined = 0

    def ended(self, answered: Answered, padded_size: int, seconds: float, *, is_full: bool) -> None:
        """A batch has ended after so many seconds, and its callers are about to hear of it."""
        self._times.observe(padded_size, seconds)
        if self._answered is not None and self._saves and is_full:
            self._pause = 0  # So many had come back that they filled it.
        self._answered = None
        if self._skip:
            self._skip -= 1
            return
        self._answered, self._saves = answered, None
        self._seen, self._came, self._empty = 0, 0.0, 0

    def waits(self, bucket: Hashable, rows: int, most: int, now: float) -> bool:
        """Whether to look again after another pass, instead of running these rows now.

        `rows` wait in the bucket that goes first, and do not fill a batch of `most`.
        """
        answered = self._answered
        if answered is None:
            return False
        back = rows - answered.waiting if answered.bucket == bucket else 0
        if answered.bucket == bucket and back < answered.rows:
            if self._saves is None:
                self._saves = self._would_save(rows, answered.rows - max(back, 0), most)
            if self._saves and self._is_likely(rows, back / answered.rows, now - answered.ended):
                return True
        if self._saves:
            is_success = 2 * back >= answered.rows
            self._pause = 0 if is_success else min(2 * self._pause + 1, SELDOM)
            self._skip = self._pause
        self._answered = None
        return False

    def _is_likely(self, rows: int, share: float, passed: float) -> bool:
        """Whether all will be back in time, such a share of whom is."""
        saves = self._saves or 0.0
        if passed >= saves or (share > 0 and passed / share > saves):
            return False
        if rows > self._seen:
            self._seen, self._came, self._empty = rows, passed, 0
            return True
        self._empty += 1
        is_quiet = passed - self._came > QUIET * saves and self._empty > FEWEST_PASSES
        return not is_quiet and self._empty <= MOST_PASSES

    def _would_save(self, here: int, away: int, most: int) -> float:
        """Seconds saved by one batch instead of two; 0.0 if that is not worth it, or not known."""
        together = here + away
        apart = self._take(here) + self._take(away)
        saves = apart - self._take(min(together, most)) - self._take(together - most)
        if saves >= WORTHWHILE * apart:
            return saves
        self._declined += 1
        return apart / 2 if self._declined % SELDOM == 0 else 0.0

    def _take(self, rows: int) -> float:
        return (self._times.predict_bold(self._padded(rows)) or 0.0) if rows > 0 else 0.0
