"""Connections that are held open: opened in bursts, and asked whether they are still alive.

No event loop: whoever holds them sleeps meanwhile, and disturbs nothing that is measured.
"""

import itertools
import selectors
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Final, Self

import click

from bench.target import Target
from server.load.answers import BadAnswer, Head, parse_head

PATIENCE: Final = 30.0
"""Seconds to wait for a connection or an answer."""

PART: Final = 65536


class Held:
    """Keep-alive connections to one server; leaving the block closes them."""

    def __init__(self, target: Target, request: bytes, burst: int) -> None:
        self._address = (target.host, target.port)
        self._request = request
        self._burst = burst
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.resize(0)

    def __len__(self) -> int:
        return len(self._open)

    def resize(self, count: int) -> list[float]:
        """Open or close until there are so many; a new one is asked once, then it rests.

        Returns the seconds that each new one took to connect. ClickException if one is refused, or
        does not answer.
        """
        for connection in self._open[count:]:
            connection.close()
        del self._open[count:]
        took = []
        while (missing := count - len(self._open)) > 0:
            new, times = self._connect(min(missing, self._burst))
            took += times
            self._open += new
            if failures := self._ask(new):
                msg = f"of {len(new)} new connections {len(failures)} failed: {failures[0]}"
                raise click.ClickException(msg)
        return took

    def ask(self) -> list[str]:
        """Ask once on each; returns what went wrong, nothing if all are alive."""
        return [failure for burst in self._bursts() for failure in self._ask(burst)]

    def _bursts(self) -> Iterator[Sequence[socket.socket]]:
        rest = iter(self._open)
        while burst := list(itertools.islice(rest, self._burst)):
            yield burst

    def _connect(self, count: int) -> tuple[list[socket.socket], list[float]]:
        """Begin so many at once, then wait for all of them."""
        new: list[socket.socket] = []
        times: list[float] = []
        with selectors.DefaultSelector() as selector:
            for _ in range(count):
                connection = socket.socket()
                connection.setblocking(False)
                began = time.perf_counter()
                connection.connect_ex(self._address)
                selector.register(connection, selectors.EVENT_WRITE, began)
                new.append(connection)
            while len(times) < count:
                ready = selector.select(PATIENCE)
                now = time.perf_counter()
                for key, _ in ready:
                    selector.unregister(key.fileobj)
                    times.append(now - key.data)
                if not ready:
                    msg = f"{count - len(times)} connections were not accepted in {PATIENCE:g} s"
                    raise click.ClickException(msg)
        return new, times

    def _ask(self, connections: Iterable[socket.socket]) -> list[str]:
        """Send to all, then read from all; returns what went wrong."""
        failures = []
        waiting = []
        for connection in connections:
            connection.settimeout(PATIENCE)
            try:
                connection.sendall(self._request)
            except OSError as error:
                failures.append(f"{error.strerror or error}")
            else:
                waiting.append(connection)
        for connection in waiting:
            try:
                head = _read(connection)
            except (OSError, BadAnswer) as error:
                failures.append(f"{error}")
            else:
                if head.status != 200 or head.closes:
                    failures.append(f"status {head.status}, closes: {head.closes}")
        return failures


def _read(connection: socket.socket) -> Head:
    """Read one answer to its end. OSError, BadAnswer."""
    received = b""
    while (end := received.find(b"\r\n\r\n")) < 0:
        received += _part(connection)
    head = parse_head(received[:end])
    missing = end + 4 + head.length - len(received)
    while missing > 0:
        missing -= len(_part(connection))
    return head


def _part(connection: socket.socket) -> bytes:
    part = connection.recv(PART)
    if not part:
        msg = "the server closed it"
        raise ConnectionResetError(msg)
    return part
