"""What is asked once, by whoever is first, and then known to all. Event loop."""

import asyncio
import math
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from server.client.attempts import late

V = TypeVar("V")


class Once(Generic[V]):
    """Answers by key. Callers share the question that is under way; a failure is not kept."""

    def __init__(self) -> None:
        self._asked: dict[Hashable, asyncio.Task[V]] = {}

    async def get(
        self, key: Hashable, ask: Callable[[], Coroutine[Any, Any, V]], deadline: float
    ) -> V:
        """The answer to a key, which `ask` finds if nobody has. What that raises; DeadlineExceeded.

        Whoever stops waiting, at its deadline or before, leaves the question to the others.
        """
        asked = self._asked.get(key)
        if asked is None:
            asked = self._asked[key] = asyncio.create_task(ask())
            asked.add_done_callback(lambda done: self._keep(key, done))
        try:
            async with asyncio.timeout_at(deadline if deadline < math.inf else None) as limit:
                return await asyncio.shield(asked)
        except TimeoutError:
            if limit.expired():
                raise late() from None
            raise

    def forget(self, key: Hashable) -> None:
        """Let it be asked again; one under way goes on."""
        asked = self._asked.get(key)
        if asked is not None and asked.done():
            del self._asked[key]

    async def close(self) -> None:
        """End what is under way."""
        under_way = [asked for asked in self._asked.values() if not asked.done()]
        for asked in under_way:
            asked.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    def _keep(self, key: Hashable, done: asyncio.Task[V]) -> None:
        # To look at the exception is also to say that it was seen, if all callers have gone.
        if done.cancelled() or done.exception() is not None:
            del self._asked[key]
