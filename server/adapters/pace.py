"""Bounds how much of large bodies is read in one turn of the event loop, for all. Event loop.

The loop reads from every connection that has something before it comes back to any of them. A
quarter of a megabyte each from dozens of clients makes a turn of 50 ms, and a health check needs
three. So whoever reads a large body asks before each part, and gets it in the order of asking; what
was not asked for stays in the sockets, and holds up nobody.
"""

import asyncio
from collections import deque
from typing import Final

PARTS: Final = 4
"""Parts in one turn of the loop: a megabyte, which takes a few milliseconds."""


class Pace:
    """Grants turns. Nobody holds one: a client that sends slowly takes none away from others."""

    def __init__(self, parts: int = PARTS) -> None:
        self._parts = parts
        self._left = parts
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def turn(self) -> None:
        """Wait for a turn, if there is none left at once."""
        if self._left == self._parts:
            asyncio.get_running_loop().call_soon(self._renew)
        if self._left:
            self._left -= 1
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(granted)
        await granted

    def _renew(self) -> None:
        """Another turn of the loop."""
        self._left = self._parts
        while self._waiting and self._left:
            granted = self._waiting.popleft()
            # Whoever has gone meanwhile needs none.
            if not granted.done():
                granted.set_result(None)
                self._left -= 1
        if self._left < self._parts:
            asyncio.get_running_loop().call_soon(self._renew)
