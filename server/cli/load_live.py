"""A line that tells how load goes, on standard error if that is a terminal. Event loop.

It is drawn a few times a second and by nothing else than this loop: a thread of its own would make
requests late.
"""

import asyncio
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from server.load import Clients, Course, Offered

INTERVAL: Final = 0.5
"""Seconds between two drawings: one takes about a millisecond."""


class Live:
    """The line; nothing at all unless standard error is a terminal."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._shown = console.is_terminal
        self._progress = Progress(
            BarColumn(),
            TextColumn("{task.completed:.0f} of {task.total:.0f} s"),
            TextColumn("{task.description}"),
            console=console,
            disable=not self._shown,
            transient=True,
            auto_refresh=False,
        )
        self._bar: TaskID | None = None
        self._what = ""
        self._course: Course | None = None
        self._began = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()
        self._progress.stop()

    def begin(self, plan: Offered | Clients) -> None:
        """Another plan is about to begin."""
        if isinstance(plan, Clients):
            self._what = f"{plan.clients:,} clients"
        else:
            self._what = f"{plan.rate:,.6g} requests/s"
        if self._shown:
            self._bar = self._progress.add_task(self._what, total=plan.whole)
            self._progress.refresh()

    def follow(self, course: Course) -> None:
        """It has begun."""
        if self._shown:
            self._course = course
            self._began = asyncio.get_running_loop().time()
            self._draw()

    def end(self) -> None:
        """It has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._bar is not None:
            self._progress.remove_task(self._bar)
            self._bar = None

    def _draw(self) -> None:
        assert self._course is not None
        assert self._bar is not None
        loop = asyncio.get_running_loop()
        course, passed = self._course, loop.time() - self._began
        told = f"{self._what}: {course.good:,} answered"
        if course.ended_count > course.good:
            told += f", {course.ended_count - course.good:,} not"
        self._progress.update(self._bar, completed=passed, description=told)
        self._progress.refresh()
        self._timer = loop.call_later(INTERVAL, self._draw)
