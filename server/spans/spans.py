"""All that the server knows of spans: a front whose requests leave some. Event loop."""

from typing import Any

from server.front import Front
from server.spans.destinations import destination
from server.spans.front import FollowingFront
from server.spans.recorder import Recorder


class Spans:
    """Spans of one server."""

    def __init__(self) -> None:
        self._recorder = Recorder()

    def front(self, *parts: Any, **options: Any) -> Front:
        """Make a front of these parts, whose requests leave spans."""
        return FollowingFront(self._recorder, *parts, **options)

    def open(self) -> None:
        """Find out where spans go. StartupError."""
        self._recorder.open(destination())

    async def close(self) -> None:
        """Let the last ones go out."""
        await self._recorder.close()
