"""Whose turn it is on a device that several share: fair by time, not by number of turns. Pure.

A turn runs to its end, and how long it takes is known only then. So those who have had the least
time go first, and a turn counts when it is over: that is start-time fair queuing (Goyal, Vin and
Cheng, 1996) for turns of unknown length. It counts from when it was granted until its slot is given
back: that is what others wait for.

Guarantees
----------
- Whoever has used the least time goes next; those who have used the same, in the order they asked.
- A free slot never waits: who asks alone goes at once, whatever it has used.
- Time off is not saved up: whoever comes back has used at least as much as the one that was granted
  a turn last. Nor is time that nobody else wanted ever paid for.
- With one slot: while A waits or runs all the time, B has no more time than A, one of the longest
  turns of B and one of the longest turns of A. A's drops out if A had not run before. So among n
  claimants A has at least its n-th of the time, less two of the longest turns.

Why
---
Let v be the used time of the one that was granted a turn last. Who asks is lifted to v, and the
least goes first, so that whoever waits has used at least v: v never falls. Between its turns a
claimant has used at most v and one turn L of its own: it stood at v or less when it was granted.

Let v go from v1 to v2 in a stretch in which A waits or runs all the time: nothing lifts A. It began
at v1 + L(A) or less, at v1 exactly if it owed nothing, and ends at v2 or more: A ran for at least
v2 - v1 - L(A). B began at v1 or more, or was lifted to it before it ran, and ends at v2 + L(B) or
less: B ran for at most v2 - v1 + L(B). The difference is at most L(A) + L(B). Added up over all n
claimants, all of the time is at most n times that of A, and n - 1 of such differences.

With several slots, L is what one claimant may run at a time: its longest turn times its turns. A
batch that was prefetched, while nobody else asked, goes on in the slot of the one before it: then L
is two batches.
"""

from collections.abc import Callable
from typing import TypeAlias

Granted: TypeAlias = Callable[[], None]
"""Called once, when a turn has come."""


class Claimant:
    """One who takes turns; `used` is the time, in seconds, that it counts as having had."""

    __slots__ = ("used",)

    def __init__(self) -> None:
        self.used = 0.0


class Claims:
    """Those who wait for a turn on one device."""

    __slots__ = ("_reached", "_waiting")

    def __init__(self) -> None:
        # In the order they asked. Each Batcher is in it once: so it is as short as a look at all.
        self._waiting: list[tuple[Claimant, Granted]] = []
        self._reached = 0.0

    def __len__(self) -> int:
        """How many turns are waited for."""
        return len(self._waiting)

    def begin(self, claimant: Claimant) -> bool:
        """Whether a turn that is free right now is this one's, who asks last; then it has it."""
        used = claimant.used = max(claimant.used, self._reached)
        for waiting, _ in self._waiting:
            if waiting.used <= used:
                return False
        self._reached = used
        return True

    def ask(self, claimant: Claimant, granted: Granted) -> None:
        """Wait for a turn."""
        # What it could have had while it did not ask is forgotten.
        claimant.used = max(claimant.used, self._reached)
        self._waiting.append((claimant, granted))

    def next(self) -> Granted:
        """Take out whose turn it is. Somebody waits."""
        # The first of equals: who has asked first.
        place = min(range(len(self._waiting)), key=lambda each: self._waiting[each][0].used)
        claimant, granted = self._waiting.pop(place)
        self._reached = claimant.used
        return granted
