"""Where batches run: slots that Batchers take turns in. Event loop.

What runs in them: `batcher.thread_executor` and `batcher.loop_executor`.

Guarantees
----------
- Several Batchers of one device share its time fairly: the one that has used the least goes next
  (`batcher.turns`). All other work, such as that of a model that loads, is one more to share with.
- A turn is only permission. What runs in it is decided when it is granted, not when it was asked
  for, so that batches keep growing while the device is busy.

Assumption: all Batchers that share an executor live on one event loop.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from batcher.results import because, described
from batcher.turns import Claimant, Claims

A = TypeVar("A")
R = TypeVar("R")


class Outcome(NamedTuple):
    """How a call ended: what it returned, or the `error` it raised; and the seconds it took."""

    returned: Any
    error: BaseException | None
    run_time: float


Function: TypeAlias = Callable[[Any], Any]
"""What an executor runs: `run_batch`, or a function that loads a model. Types are its user's."""

Done: TypeAlias = Callable[[Outcome], None]


def call(function: Function, argument: object, clock: Callable[[], float]) -> Outcome:
    """Turn whatever `function(argument)` does into an Outcome; never raises. Any thread."""
    started = clock()
    try:
        returned = function(argument)
    except BaseException as error:  # noqa: BLE001 - SystemExit in a model must not end its thread
        return Outcome(None, error, clock() - started)
    return Outcome(returned, None, clock() - started)


class Executor(ABC):
    """Runs functions in a fixed number of slots. Subclass it to run them elsewhere."""

    def __init__(self, slots: int = 1) -> None:
        if slots < 1:
            msg = f"an executor needs at least 1 slot, not {slots}"
            raise ValueError(msg)
        self.slots: Final = slots
        self._free = slots
        self._claims = Claims()
        self._calls = Claimant()
        self._granting = False
        self._users = 0
        self._lost = 0
        self._watchers: list[Callable[[], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def free_slots(self) -> int:
        """Slots in which nothing runs and that are promised to nobody."""
        return self._free

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to use this executor; the first user starts it and binds it to its event loop."""
        if self._users and self._loop is not loop:
            msg = f"{self!r} is in use on another event loop: share it within one loop only"
            raise RuntimeError(msg)
        if not self._users and self._free != self.slots:
            msg = f"{self!r} was stopped while a function ran, which has not come back"
            raise RuntimeError(msg)
        self._loop = loop
        self._users += 1
        if self._users == 1:
            self._start(loop)

    def detach(self) -> None:
        """Stop using it; after its last user the executor stops, and may be used anew."""
        self._users -= 1
        if not self._users:
            self._stop()

    @property
    def in_order(self) -> bool:
        """Whether what is handed over beside a call that runs is run after it, in order."""
        return False

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for a slot."""
        return bool(self._claims)

    def acquire(self, claimant: Claimant, granted: Callable[[], None]) -> bool:
        """Take a slot now (True), or be called once when one has been kept for you (False)."""
        if self._free and self._claims.begin(claimant):
            self._free -= 1
            return True
        self._claims.ask(claimant, granted)
        return False

    def renew(self, claimant: Claimant) -> None:
        """Go on in the slot that one has, which nobody else wants: another turn begins."""
        self._claims.begin(claimant)

    def release(self) -> None:
        """Give a slot back: to whoever is next, else it becomes free."""
        self.give_back()
        self.pass_on()

    def give_back(self) -> None:
        """Give a slot back that nobody is granted before `pass_on`: ask for another in between.

        Otherwise it could only go to somebody else, whatever they have used.
        """
        self._free += 1

    def pass_on(self) -> None:
        """Grant the slots that are free to those who wait."""
        if self._granting:
            return  # Who was granted a slot gives it back at once; the loop below goes on.
        self._granting = True
        try:
            while self._free and self._claims:
                self._free -= 1
                self._claims.next()()
        finally:
            self._granting = False

    # A call that hangs keeps its slot: whoever shares this executor wants to know of it.

    @property
    def is_stuck(self) -> bool:
        """Whether calls that hang hold all slots."""
        return self._lost >= self.slots

    def watch(self, changed: Callable[[], None]) -> None:
        """Have `changed` called when the executor gets stuck, and when it goes on."""
        self._watchers.append(changed)

    def unwatch(self, changed: Callable[[], None]) -> None:
        """Be told no more."""
        self._watchers.remove(changed)

    def lose_slot(self) -> None:
        """A call is taken to hang."""
        self._lost += 1
        self._tell_watchers()

    def regain_slot(self) -> None:
        """A call that was taken to hang has come back."""
        self._lost -= 1
        self._tell_watchers()

    def _tell_watchers(self) -> None:
        for changed in list(self._watchers):
            changed()

    @abstractmethod
    def run(self, function: Function, argument: object, done: Done) -> None:
        """Start `function(argument)` in a slot taken before; then `done(outcome)`, on the loop.

        In a slot in which another function runs still, start it after that; see `in_order`.

        `done` is called once, after `run` has returned.
        """

    async def call(self, function: Callable[[A], R], argument: A) -> R:
        """Run any function in a turn of its own, such as one that loads a model.

        All calls together have the share of one Batcher. Cancelling the caller does not stop a
        function that has begun.
        """
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[R] = loop.create_future()
        began = 0.0

        def granted() -> None:
            nonlocal began
            if ended.done():
                self.release()
                return
            began = loop.time()
            self.run(function, argument, done)

        def done(outcome: Outcome) -> None:
            self._calls.used += loop.time() - began
            self.release()
            if ended.done():
                return
            if isinstance(outcome.error, StopIteration):
                # A future cannot hold one: `await` would take it for a result.
                ended.set_exception(because(RuntimeError(described(outcome.error)), outcome.error))
            elif outcome.error is not None:
                ended.set_exception(outcome.error)
            else:
                ended.set_result(outcome.returned)

        self.attach(loop)
        try:
            if self.acquire(self._calls, granted):
                granted()
            return await ended
        finally:
            self.detach()

    def runs_current_thread(self) -> bool:
        """Whether the caller is inside a function that runs here, on a thread of its own."""
        return False

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:  # noqa: B027 - need not do a thing
        """Get ready to run."""

    def _stop(self) -> None:  # noqa: B027 - need not do a thing
        """Let go of threads and the like; what still runs may end, nobody waits for it."""


class Turns:
    """One user's turns in an executor: at most `most` at a time, asked for one by one.

    `advance` is called when a turn has ended, and when one was granted that had to be waited for.
    What it does not take of that is given back.
    """

    def __init__(self, executor: Executor, most: int, advance: Callable[[], None]) -> None:
        self._executor = executor
        self._most = most
        self._advance = advance
        self._claimant = Claimant()
        self._used = 0
        self._asked = False
        self._granted = False

    def take(self) -> bool:
        """Have a turn now (True), or see `advance` called later."""
        if self._granted:
            self._granted = False
        elif self._asked or self._used >= self._most:
            return False
        elif not self._executor.acquire(self._claimant, self._grant):
            self._asked = True
            return False
        self._used += 1
        return True

    @property
    def are_wanted(self) -> bool:
        """Whether somebody waits for a turn."""
        return self._executor.is_wanted

    @property
    def are_free(self) -> bool:
        """Whether one could be taken that nobody else wants."""
        return self._executor.free_slots > 0 and not self._executor.is_wanted

    def charge(self, seconds: float) -> None:
        """So much time has been used: others go first until they have had as much."""
        self._claimant.used += seconds

    def end(self) -> None:
        """A turn is over, and the next one may be this user's again."""
        self._used -= 1
        self._executor.give_back()
        self._advance()
        self._executor.pass_on()

    def renew(self) -> None:
        """Go on in the turn that ends, with what was handed over behind."""
        self._executor.renew(self._claimant)

    def keep(self) -> None:
        """Nothing ran in a turn that was taken: `take` it again, or return it unused."""
        self._used -= 1
        self._granted = True

    def return_unused(self) -> None:
        """Let others have a turn that was granted and is not needed any more."""
        if self._granted:
            self._granted = False
            self._executor.release()

    def _grant(self) -> None:
        self._asked = False
        self._granted = True
        self._advance()
        self.return_unused()
