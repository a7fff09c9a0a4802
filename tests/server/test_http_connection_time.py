"""The connection that carries plain requests itself, in virtual time: pieces, stalls and rests."""

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.testing import run
from server.adapters.aiohttp_body import BODY_SECONDS
from server.adapters.http_connection import KEEP_ALIVE, HttpConnection
from tests.server.by_hand import ByHand, body, served_by_hand, until
from tests.server.test_http_connection import here, others, sized
from tests.server.test_http_edges import CHUNKED, Said, get, post, read_answer

fuzz = settings(derandomize=True, deadline=None, max_examples=60)


@pytest.fixture(autouse=True)
def _no_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing is raised where only the loop hears it."""
    yield
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []


class Wire(asyncio.Transport):
    """A transport whose other end is the test, which sends and hears without a socket."""

    def __init__(self, server: ByHand) -> None:
        super().__init__()
        assert server.http._shared is not None
        self._loop = asyncio.get_running_loop()
        self._protocol: Any = HttpConnection(server.http._shared)
        self.connection: HttpConnection = self._protocol
        self.reading = True
        self.closed_at: float | None = None
        self._heard = asyncio.StreamReader()
        self._protocol.connection_made(self)

    def send(self, data: bytes) -> None:
        """Let the server receive."""
        assert self.reading
        self._protocol.data_received(data)

    async def hear(self) -> Said:
        """The next answer."""
        return await read_answer(self._heard)

    async def rest(self) -> bytes:
        """What is heard until the server closes."""
        return await self._heard.read()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._heard.feed_data(bytes(data))

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def close(self) -> None:
        if self.closed_at is None:
            self.closed_at = self._loop.time()
            self._heard.feed_eof()
            self._loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self.closed_at is not None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_reading(self) -> bool:
        return self.reading

    def get_write_buffer_size(self) -> int:
        return 0


async def predicted(server: ByHand, wire: Wire, sent: bytes) -> Said:
    """The answer to a request that the model runs at once, by itself."""
    wire.send(sent)
    await until(lambda: server.executor.handed_over == 1)
    server.run_next()
    return await wire.hear()


# ------------------------------------------------------------------------------------- pieces


def test_a_body_that_comes_byte_by_byte_is_put_together() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            wire = Wire(server)
            for value in (1.0, 2.0):
                sent = sized(body(value))
                head = sent.index(b"\r\n\r\n") + 4
                pieces = [sent[:head], *[sent[at : at + 1] for at in range(head, len(sent))]]
                for piece in pieces[:-1]:
                    wire.send(piece)
                    assert server.batcher.stats().running_batches == 0
                said = await predicted(server, wire, pieces[-1])
                assert said.body == b'{"predictions":[[%.1f]]}' % (2 * value)
            assert (here(server), others(server)) == (1, 0)
            wire.close()

    run(main())


CHUNKS = post(b"5\r\n" + body(3.0)[:5] + b"\r\n%x\r\n" % len(body(3.0)[5:]), CHUNKED) + (
    body(3.0)[5:] + b"\r\n0\r\n\r\n"
)
REQUESTS = {
    "page": (get("/livez"), b"alive\n"),
    "predict": (sized(body(1.0)), b'{"predictions":[[2.0]]}'),
    "labelled": (sized(body(2.0), "X-Request-Id: 7"), b'{"predictions":[[4.0]]}'),
    "chunked": (CHUNKS, b'{"predictions":[[6.0]]}'),
    "refused": (sized(b"{}"), b'{"error":"the body must have either'),
    "unknown": (get("/nothing"), b'{"error":"nothing is served'),
    "empty": (post(b""), b'{"error":"the body is empty'),
    "bodily page": (get("/livez", "Content-Length: 5") + b"12345", b"alive\n"),
}


@fuzz
@given(
    names=st.lists(st.sampled_from(sorted(REQUESTS)), min_size=1, max_size=4),
    cuts=st.sets(st.integers(1, 600), max_size=5),
    together=st.booleans(),
)
def test_whatever_pieces_requests_come_in_they_are_answered_in_order(
    *, names: list[str], cuts: set[int], together: bool
) -> None:
    def pieces(sent: bytes) -> list[bytes]:
        places = sorted({0, len(sent), *(cut % len(sent) for cut in cuts)})
        return [sent[at:until] for at, until in itertools.pairwise(places)]

    async def answer(server: ByHand, done: asyncio.Event) -> None:
        while not done.is_set():
            if server.executor.handed_over:
                server.run_next()
            await asyncio.sleep(0)

    async def main() -> None:
        async with served_by_hand() as server:
            wire, done = Wire(server), asyncio.Event()
            answering = asyncio.create_task(answer(server, done))
            sent = [REQUESTS[name][0] for name in names]
            heard: list[bytes] = []
            for part in [b"".join(sent)] if together else sent:
                for piece in pieces(part):
                    await until(lambda: wire.reading)
                    wire.send(piece)
                if not together:
                    heard.append((await wire.hear()).body)
            heard += [(await wire.hear()).body for _ in names[len(heard) :]]
            for name, told in zip(names, heard, strict=True):
                assert told.startswith(REQUESTS[name][1])
            assert here(server) + others(server) == 1
            wire.close()
            done.set()
            await answering

    run(main())


# ------------------------------------------------------------------------------ stalls and rests


def test_a_body_that_stalls_is_told_so_and_let_go() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            loop = asyncio.get_running_loop()
            wire, began = Wire(server), loop.time()
            sent = sized(body(1.0), "X-Request-Id: 7")
            wire.send(sent[:-5])
            await asyncio.sleep(BODY_SECONDS / 2)
            # Somewhat more does not help: all of it has to come.
            wire.send(sent[-5:-3])
            said = await wire.hear()
            assert said.status == 400
            assert said.error == "the body has not come within 60 s"
            assert (said.headers["connection"], said.headers["x-request-id"]) == ("close", "7")
            assert await wire.rest() == b""
            assert wire.closed_at == began + BODY_SECONDS
            assert server.executor.handed_over == 0
            await until(lambda: here(server) == 0)

    run(main())


def test_a_body_that_came_in_time_may_be_answered_late() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            wire, sent = Wire(server), sized(body(1.0))
            wire.send(sent[:-5])
            await asyncio.sleep(BODY_SECONDS - 1)
            wire.send(sent[-5:])
            await asyncio.sleep(BODY_SECONDS)
            server.run_next()
            assert (await wire.hear()).body == b'{"predictions":[[2.0]]}'
            await asyncio.sleep(BODY_SECONDS)
            assert not wire.is_closing()
            wire.close()

    run(main())


def test_a_connection_may_rest_for_so_long_since_it_was_used_last() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            loop = asyncio.get_running_loop()
            never, used = Wire(server), Wire(server)
            began = loop.time()
            await asyncio.sleep(1000)
            assert (await predicted(server, used, sized(body(1.0)))).status == 200
            assert await never.rest() == b""
            assert never.closed_at == began + KEEP_ALIVE
            assert await used.rest() == b""
            assert used.closed_at == began + 1000 + KEEP_ALIVE
            await until(lambda: here(server) == 0)
            # Of one that its client ends, nothing is left to happen.
            ended = Wire(server)
            ended.send(sized(body(1.0))[:-1])
            ended.close()
            await asyncio.sleep(2 * KEEP_ALIVE)

    run(main())


def test_a_connection_in_use_does_not_rest() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            asked, arriving = Wire(server), Wire(server)
            await asyncio.sleep(KEEP_ALIVE - 10)
            asked.send(sized(body(1.0)))
            arriving.send(sized(b"{}")[:-1])
            await asyncio.sleep(20)
            assert not asked.is_closing()
            assert not arriving.is_closing()
            server.run_next()
            assert (await asked.hear()).status == 200
            arriving.send(b"}")
            assert (await arriving.hear()).status == 400
            answered = asyncio.get_running_loop().time()
            for wire in (asked, arriving):
                assert await wire.rest() == b""
                assert wire.closed_at == pytest.approx(answered + KEEP_ALIVE)

    run(main())


def test_who_waits_too_long_is_told_so_each_time() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            loop = asyncio.get_running_loop()
            first, wire = Wire(server), Wire(server)
            first.send(sized(body(0.0)))
            await until(lambda: server.executor.handed_over == 1)
            for _ in range(2):
                began = loop.time()
                wire.send(sized(body(13.0), "X-Request-Timeout-Ms: 5000"))
                said = await wire.hear()
                assert said.status == 504
                assert loop.time() == pytest.approx(began + 5, abs=0.1)
            assert server.batcher.stats().queued_rows == 0
            server.run_next()
            assert (await first.hear()).status == 200
            assert server.model.seen == [[0.0]]
            assert here(server) == 2
            for each in (first, wire):
                each.close()

    run(main())


# --------------------------------------------------------------------------- slow and odd clients


def test_who_reads_slowly_is_not_read_from() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            wire = Wire(server)
            wire.connection.pause_writing()
            assert not wire.is_reading()
            wire.connection.resume_writing()
            assert wire.is_reading()
            # What came before the answer is as good a reason.
            wire.send(sized(body(1.0)))
            wire.send(get("/livez")[:9])
            assert not wire.is_reading()
            # Some loops have read more already.
            wire.connection.data_received(get("/livez")[9:])
            wire.connection.pause_writing()
            wire.connection.resume_writing()
            assert not wire.is_reading()
            await until(lambda: server.executor.handed_over == 1)
            server.run_next()
            assert (await wire.hear()).body == b'{"predictions":[[2.0]]}'
            assert (await wire.hear()).body == b"alive\n"
            assert wire.is_reading()
            wire.close()

    run(main())


def test_who_reads_slowly_does_so_after_it_is_handed_over() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            wire = Wire(server)
            wire.send(sized(body(1.0)))
            wire.send(get("/livez"))
            wire.connection.pause_writing()
            await until(lambda: server.executor.handed_over == 1)
            server.run_next()
            assert (await wire.hear()).body == b'{"predictions":[[2.0]]}'
            other: Any = wire.get_protocol()
            assert other is not wire.connection
            assert other._paused
            other.resume_writing()
            assert (await wire.hear()).body == b"alive\n"
            wire.close()

    run(main())


@pytest.mark.parametrize("sent", [sized(body(1.0)), get("/livez")], ids=["predict", "page"])
def test_an_answer_that_is_given_up_ends_its_connection(sent: bytes) -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            wire = Wire(server)
            wire.send(sent)
            waits = wire.connection._awaited or wire.connection._task
            assert waits is not None
            waits.cancel()
            assert await wire.rest() == b""
            await until(lambda: here(server) == 0)

    run(main())
