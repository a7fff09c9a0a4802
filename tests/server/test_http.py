"""Over real sockets: bodies, limits, disconnects and the drain, with a model moved by hand."""

import asyncio
import gzip
import zlib
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from server.serving import Phase
from tests.server.by_hand import PREDICT, ByHand, body, served_by_hand, until

TURNS_OF_THE_LOOP = 1000
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "identity": bytes,
}


async def answered(server: ByHand, work: Awaitable[aiohttp.ClientResponse]) -> tuple[int, object]:
    """Send, let the model run one batch, and read status and JSON."""
    sending = asyncio.ensure_future(work)
    await until(lambda: server.executor.handed_over == 1)
    server.run_next()
    response = await sending
    return response.status, await response.json()


def test_a_request_goes_in_and_its_rows_come_back() -> None:
    async def main() -> None:
        async with served_by_hand() as server, aiohttp.ClientSession(server.url) as session:
            got = await answered(server, session.post(PREDICT, data=body(1.5, 4.0)))
            assert got == (200, {"predictions": [[3.0], [8.0]]})

    asyncio.run(main())


def test_requests_of_several_connections_share_a_batch() -> None:
    async def main() -> None:
        async with served_by_hand() as server, aiohttp.ClientSession(server.url) as session:
            first = asyncio.create_task(session.post(PREDICT, data=body(0.0)))
            await until(lambda: server.executor.handed_over == 1)
            others = [asyncio.create_task(session.post(PREDICT, data=body(n))) for n in (1, 2, 3)]
            await until(lambda: server.batcher.stats().queued_rows == 3)
            server.run_next()
            await first
            server.run_next()
            answers = [await (await other).json() for other in others]
            assert answers == [{"predictions": [[2.0 * n]]} for n in (1, 2, 3)]
            assert [len(rows) for rows in server.model.seen] == [1, 3]

    asyncio.run(main())


def test_rows_of_disconnected_clients_leave_the_queue_and_never_run() -> None:
    async def main() -> None:
        async with served_by_hand() as server, aiohttp.ClientSession(server.url) as session:
            first = asyncio.create_task(session.post(PREDICT, data=body(0.0)))
            await until(lambda: server.executor.handed_over == 1)
            gone = asyncio.create_task(session.post(PREDICT, data=body(13.0)))
            stays = asyncio.create_task(session.post(PREDICT, data=body(1.0)))
            await until(lambda: server.batcher.stats().queued_rows == 2)
            gone.cancel()
            await until(lambda: server.batcher.stats().queued_rows == 1)
            server.run_next()
            await first
            server.run_next()
            assert await (await stays).json() == {"predictions": [[2.0]]}
            assert server.model.seen == [[0.0], [1.0]]

    asyncio.run(main())


def test_a_full_queue_is_answered_503_at_once() -> None:
    async def main() -> None:
        async with (
            served_by_hand(max_queue_size=1) as server,
            aiohttp.ClientSession(server.url) as session,
        ):
            running = asyncio.create_task(session.post(PREDICT, data=body(0.0)))
            await until(lambda: server.executor.handed_over == 1)
            waiting = asyncio.create_task(session.post(PREDICT, data=body(1.0)))
            await until(lambda: server.batcher.stats().queued_rows == 1)
            refused = await session.post(PREDICT, data=body(2.0))
            assert refused.status == 503
            assert "queue is full" in (await refused.json())["error"]
            assert refused.headers["Retry-After"] == "1"
            assert "Retry-After-Ms" not in refused.headers  # No batch has run to tell by.
            server.run_next()
            await running
            server.run_next()
            assert (await waiting).status == 200

    asyncio.run(main())


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity"])
def test_compressed_bodies_are_inflated(encoding: str) -> None:
    async def main() -> None:
        async with served_by_hand() as server, aiohttp.ClientSession(server.url) as session:
            headers = {"Content-Encoding": encoding}
            sent = session.post(PREDICT, data=COMPRESS[encoding](body(3.0)), headers=headers)
            assert await answered(server, sent) == (200, {"predictions": [[6.0]]})

    asyncio.run(main())


@pytest.mark.parametrize(
    ("sent", "headers", "status", "word"),
    [
        (b"x" * 1001, {}, 413, "1000"),
        (gzip.compress(b" " * 100_000), {"Content-Encoding": "gzip"}, 413, "1000"),
        (b"no gzip at all", {"Content-Encoding": "gzip"}, 400, "not gzip"),
        (gzip.compress(body(1.0))[:-9], {"Content-Encoding": "gzip"}, 400, "too early"),
        (gzip.compress(body(1.0)) + b"x", {"Content-Encoding": "gzip"}, 400, "follow"),
        (body(1.0), {"Content-Encoding": "br"}, 400, "'br'"),
        (b"", {}, 400, "empty"),
    ],
    ids=[
        "too large",
        "too large once inflated",
        "corrupt gzip",
        "cut gzip",
        "more than gzip",
        "an encoding that is not spoken",
        "empty",
    ],
)
def test_bad_bodies_are_answered_in_the_words_of_the_protocol(
    sent: bytes, headers: dict[str, str], status: int, word: str
) -> None:
    async def main() -> None:
        async with served_by_hand() as server, aiohttp.ClientSession(server.url) as session:
            response = await session.post(PREDICT, data=sent, headers=headers)
            assert response.status == status
            assert response.content_type == "application/json"
            told = await response.json()
            assert list(told) == ["error"]
            assert word in told["error"]
            # The server is as good as before.
            got = await answered(server, session.post(PREDICT, data=body(1.0)))
            assert got == (200, {"predictions": [[2.0]]})

    asyncio.run(main())


def test_a_body_in_pieces_is_put_together() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            reader, writer = await server.connect()
            sent = body(1.0, 2.0)
            head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(sent)}\r\n\r\n"
            for piece in (head.encode(), sent[:7], sent[7:20], sent[20:]):
                writer.write(piece)
                await writer.drain()
                for _ in range(TURNS_OF_THE_LOOP):
                    await asyncio.sleep(0)
            await until(lambda: server.executor.handed_over == 1)
            server.run_next()
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            writer.close()
            await writer.wait_closed()

    asyncio.run(main())


def test_while_draining_probes_and_new_requests_hear_it_and_accepted_ones_are_answered() -> None:
    async def main() -> None:
        async with served_by_hand() as server, aiohttp.ClientSession(server.url) as session:
            assert (await session.get("/readyz")).status == 200
            accepted = asyncio.create_task(session.post(PREDICT, data=body(5.0)))
            await until(lambda: server.executor.handed_over == 1)
            server.serving.phase = Phase.DRAINING
            draining = asyncio.create_task(server.batcher.drain())
            late = await session.post(PREDICT, data=body(6.0))
            assert late.status == 503
            assert late.headers["Connection"] == "close"
            assert "shutting down" in (await late.json())["error"]
            assert (await session.get("/readyz")).status == 503
            assert (await session.get("/livez")).status == 200
            server.run_next()
            assert await draining
            assert await (await accepted).json() == {"predictions": [[10.0]]}

    asyncio.run(main())


def test_closing_lets_answers_under_way_go_out() -> None:
    async def main() -> None:
        async with served_by_hand() as server, aiohttp.ClientSession(server.url) as session:
            accepted = asyncio.create_task(session.post(PREDICT, data=body(5.0)))
            await until(lambda: server.executor.handed_over == 1)
            closing = asyncio.create_task(server.http.close(timeout=10.0))
            await asyncio.sleep(0)
            server.run_next()
            assert await (await accepted).json() == {"predictions": [[10.0]]}
            await closing

    asyncio.run(main())


def test_while_starting_the_port_is_open_and_says_not_yet() -> None:
    async def main() -> None:
        async with served_by_hand() as server, aiohttp.ClientSession(server.url) as session:
            server.serving.phase = Phase.STARTING
            assert (await session.get("/livez")).status == 200
            assert (await session.get("/readyz")).status == 503

    asyncio.run(main())


def test_pages_of_the_server_itself() -> None:
    async def main() -> None:
        async with served_by_hand() as server, aiohttp.ClientSession(server.url) as session:
            assert (await session.get("/nothing")).status == 404
            assert (await session.post("/livez")).status == 405
            head = await session.head("/livez")
            assert (head.status, await head.read()) == (200, b"")
            metrics = await session.get("/metrics")
            assert metrics.content_type == "text/plain"
            assert "batcher_queue_rows" in await metrics.text()

    asyncio.run(main())


def test_a_client_that_asks_before_it_sends_is_told_to_go_on() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            reader, writer = await server.connect()
            sent = body(1.0)
            writer.write(
                f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                f"Content-Length: {len(sent)}\r\n\r\n".encode()
            )
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(sent)
            await until(lambda: server.executor.handed_over == 1)
            server.run_next()
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            writer.close()
            await writer.wait_closed()

    asyncio.run(main())


def test_a_proxys_absolute_target_is_understood() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            reader, writer = await server.connect()
            writer.write(b"GET http://x/livez?a=b HTTP/1.0\r\n\r\n")
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 200")
            assert b"Connection: close" in answer
            assert answer.endswith(b"alive\n")
            writer.close()
            await writer.wait_closed()

    asyncio.run(main())


def unread(server: ByHand) -> int:
    """Bytes of answers that wait in the server for their clients to read."""
    assert server.http._others is not None
    transports = [connection.transport for connection in server.http._others.connections]
    return max((t.get_write_buffer_size() for t in transports if t is not None), default=0)


def test_a_client_that_never_reads_is_not_answered_without_end() -> None:
    requests = 20_000

    async def main() -> None:
        async with served_by_hand() as server:
            _, writer = await server.connect()
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * requests)
            await until(lambda: unread(server) > 0)
            for _ in range(TURNS_OF_THE_LOOP):
                await asyncio.sleep(0)
            assert unread(server) < 2 * 2**20
            writer.transport.abort()

    asyncio.run(main())
