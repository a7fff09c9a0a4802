"""Requests and their callers, as the books have them: by which door, and what they were told."""

import asyncio
import math
import types
from collections.abc import Callable, Coroutine, Generator, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import batcher as lib

if TYPE_CHECKING:
    from tests.simulation.books import Incident, Run, Station

R = TypeVar("R")
Bucket: TypeAlias = Hashable
Refusal: TypeAlias = type[Exception] | None
Answer: TypeAlias = tuple[tuple[int, int], ...]
"""The rows of an item, each as its own number and the row's."""
Told: TypeAlias = tuple[Answer, lib.Receipt | None]
Fate: TypeAlias = Literal["answered", "failed", "expired", "cancelled"]
Blame: TypeAlias = BaseException | type[BaseException] | None
"""An exception that is a caller's own, or the type of what failed its batch, or ended it all."""


@dataclass(eq=False, slots=True)
class Item:
    """One request. It is itself what `run_batch` receives; its answer is a function of it."""

    call: "Call"
    number: int
    size: int
    nbytes: int = 0
    length: int = 1
    is_touchy: bool = False
    is_poison: bool = False
    bucket: Bucket = None
    priority: int = 0
    arrival: float = math.nan
    deadline: float = math.inf
    turn: int = 0
    future: "asyncio.Future[Any] | None" = None
    run: "Run | None" = None
    incident: "Incident | None" = None
    fate: Fate | None = None
    shed: bool = False
    closed: bool = False
    error: BaseException | None = None
    blame: Blame = None

    @property
    def answer(self) -> Answer:
        return tuple([(self.number, row) for row in range(self.size)])

    @property
    def is_plain(self) -> bool:
        return self.priority == 0 and self.deadline == math.inf

    def is_told_late(self) -> bool:
        """Whether its caller has been, or is just being, told that its time has passed."""
        return isinstance(getattr(self.future, "_exception", None), lib.DeadlineExceeded)

    def __repr__(self) -> str:
        more = f", priority {self.priority}" if self.priority else ""
        more += f", until {self.deadline:g}" if self.deadline < math.inf else ""
        return f"#{self.number}({self.size} rows, bucket {self.bucket}{more})"


@dataclass(eq=False, slots=True)
class Call:
    """One caller, of one item or several: by which door it comes, and what it was told."""

    station: "Station"
    door: str
    bucket: Bucket
    priority: int = 0
    timeout: float | None = None
    nbytes: int = 0
    items: list[Item] = field(default_factory=list)
    allowed: tuple[Refusal, ...] = ()
    awaited: "asyncio.Future[Any] | None" = None
    unanswered: int = 0
    cancelled: bool = False
    told: list[Told] = field(default_factory=list)
    error: BaseException | None = None

    async def ask(self) -> list[Told]:
        batcher, items, item, bucket = self.station.batcher, self.items, self.items[0], self.bucket
        sizes = [item.size for item in items]
        more: dict[str, Any] = {
            **({"nbytes": self.nbytes} if self.nbytes else {}),
            **({"priority": self.priority} if self.priority else {}),
            **({"timeout": self.timeout} if self.timeout is not None else {}),
        }
        if self.door == "submit":
            return [(await batcher.submit(item, size=item.size, bucket=bucket, **more), None)]
        if self.door == "receipt":
            return [await batcher.submit_with_receipt(item, size=item.size, bucket=bucket, **more)]
        if self.door == "many":
            answers = await batcher.submit_many(items, sizes=sizes, bucket=bucket, **more)
            return [(answer, None) for answer in answers]
        told = await batcher.submit_many_with_receipts(items, sizes=sizes, bucket=bucket, **more)
        return [*told]

    async def live(self) -> None:
        self.allowed = self.station.verdict(self)
        try:
            self.told = await watched(self.ask(), self.waits_for, lambda: None)
        except BaseException as error:
            self.error = error
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            self.station.end(self)

    def waits_for(self, awaited: "asyncio.Future[Any]") -> None:
        if self.awaited is None:
            # What a gathering waits for is what the items of this call have each.
            futures = getattr(awaited, "_children", [awaited])
            for item, future in zip(self.items, futures, strict=True):
                item.future = future
            self.station.accept(self)
        self.awaited = awaited

    def cancel(self) -> None:
        # Beside a result that is there already, a cancellation concerns the caller alone.
        self.cancelled = True
        if self.awaited is not None and not self.awaited.done():
            self.station.abandon(self)


class Caller(asyncio.Task[None]):
    """The task of a caller: whoever cancels it, the books know at once."""

    def __init__(self, call: Call, loop: asyncio.AbstractEventLoop) -> None:
        self.call = call
        super().__init__(call.live(), loop=loop)

    def cancel(self, msg: Any | None = None) -> bool:
        if not self.done():
            self.call.cancel()
        return super().cancel(msg)


@types.coroutine
def watched(
    coroutine: Coroutine[Any, Any, R],
    waits_for: Callable[[Any], object],
    interrupted: Callable[[], object],
) -> Generator[Any, Any, R]:
    """Await, and tell what it waits for as soon as it does, and when something is thrown in."""
    try:
        awaited = coroutine.send(None)
        while True:
            waits_for(awaited)
            try:
                yield awaited
            except BaseException as thrown:  # noqa: BLE001 - passed on
                interrupted()
                awaited = coroutine.throw(thrown)
            else:
                awaited = coroutine.send(None)
    except StopIteration as stop:
        result: R = stop.value
        return result
