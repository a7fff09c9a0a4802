"""Clients that ask one question after another, and single questions beside them. Event loop."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Final

from bench.client import Answer, Client
from bench.target import Target
from server.load.answers import AnswerReader

RETRY: Final = 0.2
"""Seconds before a client connects again."""

PART: Final = 65536
"""Bytes to read at once."""

TIMEOUT: Final = 30.0
"""Seconds to wait for the last answers."""


class Asker(ABC):
    """A client that asks its next question when it is answered, on one connection.

    When that fails, on a new one. `target` is where to connect.
    """

    def __init__(self, target: Target) -> None:
        self.goes_on = True
        self._target = target
        self._client: Client | None = None

    @abstractmethod
    def question(self) -> bytes:
        """The next request; it is sent at once."""

    @abstractmethod
    def answered(self, answer: Answer) -> None:
        """Look at the answer to the last question."""

    @abstractmethod
    def failed(self, why: str) -> None:
        """The last question got none."""

    async def run(self) -> None:
        """Ask until `goes_on` is False."""
        loop = asyncio.get_running_loop()
        while self.goes_on:
            try:
                _, client = await loop.create_connection(
                    self._connect, self._target.host, self._target.port
                )
            except OSError as error:
                why: str | None = f"cannot connect: {error.strerror or error}"
            else:
                why = await client.ended
            if why is not None:
                self.failed(why)
                await asyncio.sleep(RETRY)

    def stop(self) -> None:
        """Give up the question that has no answer yet."""
        if self._client is not None:
            self._client.end(f"no answer within {TIMEOUT:g} s of the end")

    def _connect(self) -> Client:
        self._client = Client(self.question(), self._take)
        return self._client

    def _take(self, answer: Answer) -> bool:
        self.answered(answer)
        if self.goes_on and self._client is not None:
            self._client.request = self.question()
        return self.goes_on


class Crowd:
    """Askers that begin and end together."""

    def __init__(self, askers: Iterable[Asker]) -> None:
        self._askers = list(askers)
        self._running: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> None:
        """Begin to ask."""
        self._running = [asyncio.create_task(asker.run()) for asker in self._askers]

    async def __aexit__(self, *_: object) -> None:
        """Ask nothing more; answers on their way count, and so do those that never come."""
        for asker in self._askers:
            asker.goes_on = False
        await asyncio.wait(self._running, timeout=TIMEOUT)
        for asker in self._askers:
            asker.stop()
        await asyncio.gather(*self._running)


async def ask(
    target: Target, method: str = "GET", headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """One question without a body, on a connection of its own: status and body. OSError."""
    reader, writer = await asyncio.open_connection(target.host, target.port)
    try:
        told = {"Host": target.authority, "Content-Length": "0", **(headers or {})}
        lines = [f"{method} {target.path} HTTP/1.1", *(f"{n}: {v}" for n, v in told.items())]
        writer.write("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
        answers = AnswerReader()
        while part := await reader.read(PART):
            if (whole := answers.take(part)) is not None:
                return whole.head.status, whole.body
        msg = f"{target} ended the connection before its answer did"
        raise ConnectionResetError(msg)
    finally:
        writer.close()
