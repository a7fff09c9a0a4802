"""Switching from version to version under load: who asks, who brings versions, what was seen."""

import asyncio
import contextlib
import enum
import json
import time
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import click

from bench.asking import Asker, Crowd, ask
from bench.client import Answer
from bench.screen import steps
from bench.servers import Server
from bench.tally import Tally
from bench.target import Target
from bench.versions import Versions

MODEL: Final = "switched"

FIRST: Final = 1000
"""Answers of a new version that are looked at apart."""

SETTLE: Final = 1.0
"""Seconds after a switch that are no steady state yet."""

REST: Final = 1.0
"""Seconds of steady state before the next version begins to come."""

LIMIT: Final = 120.0
"""Seconds within which a version that is there must serve."""

GLANCE: Final = 0.01
"""Seconds between two looks whether a version is being loaded."""

SHOWN: Final = 5
"""Wrong answers that are kept to be shown."""


class Stage(enum.Enum):
    """What is going on while a request is answered."""

    SETTLING = "settling"
    STEADY = "steady"
    COPYING = "copying"
    LOADING = "loading"


class Settings(NamedTuple):
    """What to do. `token` is an administrator's who asks for every load, "" where polling does."""

    switches: int
    clients: int
    copy_seconds: float
    token: str
    in_place: bool


class Windows:
    """The p99 in milliseconds of every so many answers in a row."""

    def __init__(self) -> None:
        self.p99s: list[float] = []
        self._seconds: list[float] = []

    def add(self, seconds: float) -> None:
        """One more answer."""
        self._seconds.append(seconds)
        if len(self._seconds) == FIRST:
            self.p99s.append(sorted(self._seconds)[int(0.99 * FIRST)] * 1000)
            self._seconds.clear()


@dataclass(slots=True)
class Seen:
    """What clients have seen; `complete` is the highest version whose files are all there.

    `waits` are the seconds from then to the first answer of each version.
    """

    tallies: dict[Stage, Tally] = field(default_factory=lambda: {s: Tally() for s in Stage})
    firsts: Tally = field(default_factory=Tally)
    windows: dict[str, Windows] = field(
        default_factory=lambda: {name: Windows() for name in ("steady", "first")}
    )
    wrong: list[str] = field(default_factory=list)
    wrongs: int = 0
    backwards: int = 0
    stage: Stage = Stage.SETTLING
    complete: int = 1
    newest: int = 1
    completed_at: float = 0.0
    waits: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    switched: asyncio.Event = field(default_factory=asyncio.Event)
    left: int = 0

    def add(self, answer: Answer) -> None:
        """Count an answer, whatever it is."""
        self.tallies[self.stage].add(answer)
        if self.stage is Stage.STEADY and answer.status == 200:
            self.windows["steady"].add(answer.seconds)

    def judge(self, answer: Answer, version: int, oldest: int) -> None:
        """An answer that is right in itself; when its request was sent, `oldest` was the newest."""
        if version > self.complete:
            self.tell_wrong(f"version {version} answered before its files were complete")
            return
        self.backwards += version < oldest
        if version > self.newest:
            self.newest, self.left, self.stage = version, FIRST, Stage.SETTLING
            self.waits.append(time.perf_counter() - self.completed_at)
            self.switched.set()
        if version == self.newest and self.left:
            self.left -= 1
            self.firsts.add(answer)
            self.windows["first"].add(answer.seconds)

    def tell_wrong(self, what: str) -> None:
        """An answer that cannot be."""
        self.wrongs += 1
        if len(self.wrong) < SHOWN:
            self.wrong.append(what)


class _Client(Asker):
    """Asks for numbers that no other client asks for."""

    def __init__(self, target: Target, seen: Seen, number: int, settings: Settings) -> None:
        super().__init__(target)
        self._seen = seen
        self._x = number
        self._step = settings.clients
        self._in_place = settings.in_place
        self._oldest = 0

    def question(self) -> bytes:
        self._x = (self._x + self._step) % 100_000
        self._oldest = self._seen.newest
        tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [self._x]}
        return self._target.post(json.dumps({"inputs": [tensor]}).encode())

    def answered(self, answer: Answer) -> None:
        seen = self._seen
        seen.add(answer)
        if answer.status != 200:
            return
        found = json.loads(answer.body)
        value = found["outputs"][0]["data"][0]
        shown = value - self._x * 0.5
        named = int(found["model_version"])
        # A version that is replaced in place keeps its number: the value tells which it was.
        if named != 1 if self._in_place else shown != named:
            seen.tell_wrong(f"x = {self._x}: version {named} answered {value}")
        elif shown != int(shown) or shown < 1:
            seen.tell_wrong(f"x = {self._x}: {value} belongs to no version")
        else:
            seen.judge(answer, int(shown), self._oldest)

    def failed(self, why: str) -> None:
        self._seen.tallies[self._seen.stage].failures[why] += 1


class Switching:
    """A server under load, to which new versions come."""

    def __init__(self, server: Server, versions: Versions, settings: Settings) -> None:
        self._server = server
        self._versions = versions
        self._settings = settings
        self._stopped = asyncio.Event()
        self.seen = Seen()

    @property
    def interrupted(self) -> bool:
        """Whether it was given up before its end."""
        return self._stopped.is_set()

    def interrupt(self) -> None:
        """Bring no more versions."""
        self._stopped.set()

    async def run(self) -> None:
        """Bring all versions, one after the other, while clients ask. ClickException."""
        infer = self._target(f"/v2/models/{MODEL}/infer")
        clients = [
            _Client(infer, self.seen, number, self._settings)
            for number in range(self._settings.clients)
        ]
        async with Crowd(clients):
            switching = asyncio.create_task(self._switch())
            stopped = asyncio.create_task(self._stopped.wait())
            await asyncio.wait({switching, stopped}, return_when=asyncio.FIRST_COMPLETED)
            for task in (switching, stopped):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await switching

    async def _switch(self) -> None:
        seen = self.seen
        with steps() as progress:
            bar = progress.add_task("", total=self._settings.switches)
            await self._rest()
            for version in range(2, self._settings.switches + 2):
                await self._bring(version)
                await self._rest()
                told = f"{seen.memory[-1]:,.0f} MB, {seen.waits[-1]:.1f} s until it answered"
                progress.update(bar, advance=1, description=told)

    async def _rest(self) -> None:
        """Let the load run on as it is."""
        await asyncio.sleep(SETTLE)
        self.seen.stage = Stage.STEADY
        await asyncio.sleep(REST)
        self.seen.memory.append(self._server.memory())

    async def _bring(self, version: int) -> None:
        """Bring a version, and wait until it answers."""
        seen, versions = self.seen, self._versions
        seen.stage = Stage.COPYING
        folder = versions.folder(1 if self._settings.in_place else version)
        await versions.bring(version, folder, self._settings.copy_seconds)
        seen.switched.clear()
        seen.complete, seen.completed_at = version, time.perf_counter()
        load = self._ask_for_load if self._settings.token else self._watch
        try:
            async with asyncio.timeout(LIMIT):
                await load(version)
                await seen.switched.wait()
        except TimeoutError as error:
            msg = f"version {version} did not serve within {LIMIT:g} s; {self._said()}"
            raise click.ClickException(msg) from error
        # As an operator would: the version before stays, to go back to.
        if not self._settings.in_place:
            await versions.remove(version - 2)

    async def _ask_for_load(self, _: int) -> None:
        self.seen.stage = Stage.LOADING
        target = self._target(f"/v2/repository/models/{MODEL}/load")
        headers = {"Authorization": f"Bearer {self._settings.token}"}
        status, body = await ask(target, "POST", headers)
        if status != 200:
            msg = f"asked to load, the server answered {status}: {body!r}; {self._said()}"
            raise click.ClickException(msg)

    async def _watch(self, version: int) -> None:
        """See when the server begins to load a version that it has found."""
        self.seen.stage = Stage.STEADY
        target = self._target(f"/v1/models/{MODEL}/versions/{version}")
        while self.seen.newest < version:
            status, body = await ask(target)
            if status == 200 and b'"LOADING"' in body and self.seen.newest < version:
                self.seen.stage = Stage.LOADING
                return
            await asyncio.sleep(GLANCE)

    def _target(self, path: str) -> Target:
        return Target.of(self._server.url(path))

    def _said(self) -> str:
        return f"the server said:\n{self._server.said()[-3000:]}"
