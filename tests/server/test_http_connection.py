"""The connection that carries plain requests itself, over real sockets: what it keeps, what not."""

import asyncio
import gzip
import threading
from collections.abc import Iterator

import pytest

from server.access import Access
from server.adapters.aiohttp_body import PACED
from server.adapters.http_connection import HttpConnection
from server.front import LARGE, MANY
from server.inference import VersionState
from server.tokens import make_token
from tests.server.by_hand import ByHand, body, served_by_hand, until
from tests.server.test_http_edges import CHUNKED, Said, get, post, read_answer

TOKEN, KEPT = make_token("ci")

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(autouse=True)
def _no_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing is raised where only the loop hears it."""
    yield
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []


def sized(sent: bytes, *lines: str) -> bytes:
    """A predict with a Content-Length."""
    return post(sent, f"Content-Length: {len(sent)}", *lines)


def connections(server: ByHand) -> set[HttpConnection]:
    """Those that have not been handed over to aiohttp."""
    assert server.http._shared is not None
    return server.http._shared.here


def here(server: ByHand) -> int:
    """How many have not."""
    return len(connections(server))


def others(server: ByHand) -> int:
    """How many have."""
    assert server.http._others is not None
    return len(server.http._others.connections)


async def predicted(server: ByHand, streams: Streams, sent: bytes) -> Said:
    """The answer to a request that the model runs at once, by itself."""
    reader, writer = streams
    writer.write(sent)
    await until(lambda: server.executor.handed_over == 1)
    server.run_next()
    return await read_answer(reader)


async def asked(streams: Streams, sent: bytes) -> Said:
    """The answer to a request that no model is needed for."""
    streams[1].write(sent)
    return await read_answer(streams[0])


async def waiting(server: ByHand, sent: bytes) -> Streams:
    """A connection whose rows wait for the next batch."""
    rows = server.batcher.stats().queued_rows
    streams = await server.connect()
    streams[1].write(sent)
    await until(lambda: server.batcher.stats().queued_rows > rows)
    return streams


async def running(server: ByHand) -> Streams:
    """A connection whose row is with the model."""
    streams = await server.connect()
    streams[1].write(sized(body(0.0)))
    await until(lambda: server.executor.handed_over == 1)
    return streams


async def in_part(server: ByHand, sent: bytes) -> Streams:
    """A connection on which all but three bytes of a request have come."""
    streams = await server.connect()
    streams[1].write(sent[:-3])
    await until(lambda: any(each._missing == 3 for each in connections(server)))
    return streams


async def hang_up(*ended: Streams) -> None:
    for _, writer in ended:
        writer.close()
        await writer.wait_closed()


# ------------------------------------------------------------------------- what is carried here


def test_pages_and_predictions_take_turns_on_one_connection() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            streams = await server.connect()
            assert (await asked(streams, get("/livez"))).body == b"alive\n"
            (connection,) = connections(server)
            for value in (1.0, 2.0):
                said = await predicted(server, streams, sized(body(value)))
                assert said.body == b'{"predictions":[[%.1f]]}' % (2 * value)
                assert (await asked(streams, get("/v1/models/doubler"))).status == 200
                assert (await asked(streams, get("/nothing"))).status == 404
                assert (await asked(streams, sized(b"{}"))).status == 400
                assert (await asked(streams, get("/metrics"))).status == 200
            assert connections(server) == {connection}
            assert others(server) == 0
            await hang_up(streams)
            await until(lambda: here(server) == 0)

    asyncio.run(main())


def test_a_prediction_is_answered_without_a_task() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            before = asyncio.all_tasks()
            streams = await running(server)
            assert asyncio.all_tasks() == before
            server.run_next()
            assert (await read_answer(streams[0])).status == 200
            await hang_up(streams)

    asyncio.run(main())


def many(rows: int) -> bytes:
    return body(*[0.5] * rows)


@pytest.mark.parametrize(
    ("sent", "lines", "rows"),
    [
        pytest.param(body(1.0).ljust(LARGE + 1), (), 1, id="large-body"),
        pytest.param(many(MANY + 1), (), MANY + 1, id="large-body-and-answer"),
        pytest.param(gzip.compress(body(1.0)), ("Content-Encoding: gzip",), 1, id="gzip"),
        pytest.param(
            gzip.compress(many(MANY + 1)),
            ("Content-Encoding: gzip",),
            MANY + 1,
            id="gzip-large-answer",
        ),
    ],
)
def test_what_the_codec_thread_reads_and_prints_is_carried_here_too(
    sent: bytes, lines: tuple[str, ...], rows: int
) -> None:
    async def main() -> None:
        async with served_by_hand(
            max_batch_size=2 * MANY, max_queue_size=2 * MANY, max_body_size=2**20
        ) as server:
            streams = await server.connect()
            for _ in range(2):
                said = await predicted(server, streams, sized(sent, *lines))
                assert (said.status, said.body.count(b".")) == (200, rows)
            assert (here(server), others(server)) == (1, 0)
            await hang_up(streams)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("version", "lines", "told"),
    [
        ("1.1", [], None),
        ("1.1", ["Connection: close"], "close"),
        ("1.0", [], "close"),
        ("1.0", ["Connection: keep-alive"], "keep-alive"),
    ],
)
def test_version_and_client_decide_whether_it_stays(
    version: str, lines: list[str], told: str | None
) -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            for request in (get("/livez", *lines), sized(body(1.0), *lines)):
                streams = await server.connect()
                sent = request.replace(b"HTTP/1.1", f"HTTP/{version}".encode(), 1)
                ask = predicted(server, streams, sent) if b"POST" in sent else asked(streams, sent)
                said = await ask
                assert said.status == 200
                assert said.headers.get("connection") == told
                assert (others(server), here(server)) == (0, 0 if told == "close" else 1)
                if told == "close":
                    assert await streams[0].read() == b""
                await hang_up(streams)
                await until(lambda: here(server) == 0)

    asyncio.run(main())


def test_head_has_no_body_and_the_connection_stays() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            reader, writer = streams = await server.connect()
            for target, length in (("/livez", 6), ("/readyz", 6)):
                writer.write(get(target).replace(b"GET", b"HEAD", 1))
                head = await reader.readuntil(b"\r\n\r\n")
                assert b"Content-Length: %d\r\n" % length in head
                assert (await asked(streams, get("/livez"))).body == b"alive\n"
            assert (here(server), others(server)) == (1, 0)
            await hang_up(streams)

    asyncio.run(main())


# ------------------------------------------------------------------------- what is handed over


def test_after_a_chunked_body_the_connection_is_anothers_and_goes_on() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            streams = await server.connect()
            sent = body(3.0)
            chunked = post(b"%x\r\n%b\r\n0\r\n\r\n" % (len(sent), sent), CHUNKED)
            assert (await predicted(server, streams, sized(body(2.0)))).status == 200
            assert (here(server), others(server)) == (1, 0)
            assert (await predicted(server, streams, chunked)).body == b'{"predictions":[[6.0]]}'
            assert (here(server), others(server)) == (0, 1)
            said = await predicted(server, streams, sized(body(4.0)))
            assert said.body == b'{"predictions":[[8.0]]}'
            assert (await asked(streams, get("/livez"))).body == b"alive\n"
            assert (here(server), others(server)) == (0, 1)
            await hang_up(streams)
            await until(lambda: others(server) == 0)

    asyncio.run(main())


def test_a_head_that_is_cut_in_the_middle_is_put_together() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            streams = await server.connect()
            sent = sized(body(3.0))
            streams[1].write(sent[:30])
            await until(lambda: others(server) == 1)
            assert here(server) == 0
            said = await predicted(server, streams, sent[30:])
            assert said.body == b'{"predictions":[[6.0]]}'
            await hang_up(streams)

    asyncio.run(main())


def test_what_comes_before_the_answer_is_answered_after_it_in_order() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            reader, writer = streams = await running(server)
            (connection,) = connections(server)
            writer.write(sized(body(2.0)) + get("/livez") + get("/nothing"))
            await until(lambda: bool(connection._early))
            server.run_next()
            assert (await read_answer(reader)).body == b'{"predictions":[[0.0]]}'
            await until(lambda: server.executor.handed_over == 1)
            server.run_next()
            assert (await read_answer(reader)).body == b'{"predictions":[[4.0]]}'
            assert [(await read_answer(reader)).status for _ in range(2)] == [200, 404]
            assert (here(server), others(server)) == (0, 1)
            await hang_up(streams)

    asyncio.run(main())


@pytest.mark.parametrize("in_pieces", [False, True])
def test_several_requests_at_once_are_answered_in_order(*, in_pieces: bool) -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            reader, writer = streams = await server.connect()
            sent = sized(body(2.0)) + get("/livez") + sized(b"{}") + get("/nothing")
            first = len(sized(body(2.0))) - 3 if in_pieces else 0
            if in_pieces:
                writer.write(sent[:first])
                await until(lambda: any(each._missing == 3 for each in connections(server)))
            writer.write(sent[first:])
            await until(lambda: server.executor.handed_over == 1)
            server.run_next()
            assert [(await read_answer(reader)).status for _ in range(4)] == [200, 200, 400, 404]
            await hang_up(streams)

    asyncio.run(main())


def test_a_body_that_is_read_at_a_pace_is_anothers() -> None:
    async def main() -> None:
        async with served_by_hand(max_body_size=2**20) as server:
            streams = await server.connect()
            said = await predicted(server, streams, sized(body(2.0).ljust(PACED)))
            assert said.status == 200
            assert (here(server), others(server)) == (1, 0)
            said = await predicted(server, streams, sized(body(3.0).ljust(PACED + 1)))
            assert said.body == b'{"predictions":[[6.0]]}'
            assert (here(server), others(server)) == (0, 1)
            await hang_up(streams)

    asyncio.run(main())


def test_a_body_may_be_as_large_as_allowed_and_no_larger() -> None:
    async def main() -> None:
        async with served_by_hand(max_body_size=1000) as server:
            streams = await server.connect()
            assert (await predicted(server, streams, sized(body(2.0).ljust(1000)))).status == 200
            assert (here(server), others(server)) == (1, 0)
            said = await asked(streams, sized(body(2.0).ljust(1001)))
            assert said.status == 413
            assert "1000" in said.error
            assert said.headers["connection"] == "close"
            assert await streams[0].read() == b""
            await hang_up(streams)

    asyncio.run(main())


# ------------------------------------------------------------------------------- who goes away


@pytest.mark.parametrize("how", ["close", "abort", "eof"])
def test_the_rows_of_a_client_who_goes_leave_the_queue(how: str) -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            first = await running(server)
            gone = await waiting(server, sized(body(13.0)))
            stays = await waiting(server, sized(body(1.0)))
            end = {
                "close": gone[1].close,
                "abort": gone[1].transport.abort,
                "eof": gone[1].write_eof,
            }
            end[how]()
            await until(lambda: server.batcher.stats().queued_rows == 1)
            await until(lambda: here(server) == 2)
            server.run_next()
            assert (await read_answer(first[0])).status == 200
            server.run_next()
            assert (await read_answer(stays[0])).body == b'{"predictions":[[2.0]]}'
            assert server.model.seen == [[0.0], [1.0]]
            await hang_up(gone, first, stays)

    asyncio.run(main())


def test_a_client_who_goes_while_its_row_runs_takes_nobody_along() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            first = await running(server)
            await hang_up(first)
            await until(lambda: here(server) == 0)
            server.run_next()
            streams = await server.connect()
            said = await predicted(server, streams, sized(body(1.0)))
            assert said.body == b'{"predictions":[[2.0]]}'
            await hang_up(streams)

    asyncio.run(main())


@pytest.mark.parametrize("how", ["close", "eof"])
def test_half_a_body_asks_for_nothing(how: str) -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            streams = await in_part(server, sized(body(13.0)))
            (streams[1].close if how == "close" else streams[1].write_eof)()
            await until(lambda: here(server) == 0)
            assert server.executor.handed_over == 0
            another = await server.connect()
            assert (await predicted(server, another, sized(body(1.0)))).status == 200
            assert server.model.seen == [[1.0]]
            await hang_up(streams, another)

    asyncio.run(main())


def test_a_client_who_goes_while_the_codec_thread_is_busy_does_not_come_into_the_queue() -> None:
    async def main() -> None:
        async with served_by_hand(max_body_size=2**20) as server:
            gate = threading.Event()
            busy = asyncio.create_task(server.codec.call(gate.wait, 60.0))
            streams = await server.connect()
            streams[1].write(sized(body(13.0).ljust(LARGE + 1)))
            await until(lambda: any(each._awaited is not None for each in connections(server)))
            await hang_up(streams)
            await until(lambda: here(server) == 0)
            gate.set()
            assert await busy
            another = await server.connect()
            said = await predicted(server, another, sized(body(1.0).ljust(LARGE + 1)))
            assert said.body == b'{"predictions":[[2.0]]}'
            assert server.model.seen == [[1.0]]
            await hang_up(another)

    asyncio.run(main())


def test_a_client_who_goes_before_a_page_is_read_is_not_waited_for() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            gate = threading.Event()
            busy = asyncio.create_task(server.codec.call(gate.wait, 60.0))
            tasks = asyncio.all_tasks()
            streams = await server.connect()
            sent = gzip.compress(b"")
            lines = ("Content-Encoding: gzip", f"Content-Length: {len(sent)}")
            streams[1].write(get("/v1/models/doubler", *lines) + sent)
            await until(lambda: asyncio.all_tasks() > tasks)
            await hang_up(streams)
            await until(lambda: asyncio.all_tasks() == tasks)
            gate.set()
            assert await busy
            assert here(server) == 0

    asyncio.run(main())


# ----------------------------------------------------------------------- heads that are known


def test_each_request_brings_its_token_even_when_its_head_is_known() -> None:
    async def main() -> None:
        async with served_by_hand(access=Access((KEPT,))) as server:
            streams = await server.connect()
            right, wrong = f"Authorization: Bearer {TOKEN}", f"Authorization: Bearer {TOKEN[:-1]}"
            for _ in range(2):
                said = await predicted(server, streams, sized(body(1.0), right))
                assert said.status == 200
                for lines in ((wrong,), ()):
                    said = await asked(streams, sized(body(1.0), *lines))
                    assert (said.status, said.headers["www-authenticate"]) == (401, "Bearer")
                assert (await asked(streams, get("/metrics"))).status == 401
            assert here(server) == 1
            # What was let in once is asked again.
            server.front._access = Access()
            assert (await predicted(server, streams, sized(body(1.0), wrong))).status == 200
            server.front._access = Access((KEPT,))
            assert (await asked(streams, sized(body(1.0), wrong))).status == 401
            assert server.executor.handed_over == 0
            await hang_up(streams)

    asyncio.run(main())


def test_a_known_head_of_a_model_that_has_gone_or_comes_back_is_answered_as_it_is() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            streams = await server.connect()
            repository = server.front._repository
            (endpoint,) = repository.versions("doubler")
            assert (await predicted(server, streams, sized(body(1.0)))).status == 200
            repository.remove(endpoint)
            repository.set_state("doubler", VersionState(1, "LOADING"))
            said = await asked(streams, sized(body(1.0)))
            assert said.status == 503
            assert "version 1 is LOADING" in said.error
            repository.set_state("doubler", VersionState(1, "END"))
            assert (await asked(streams, sized(body(1.0)))).status == 404
            # What is wrong with the body is told first.
            assert (await asked(streams, sized(body(1.0)[:-1] + b"]"))).status == 400
            repository.add(endpoint)
            assert (await predicted(server, streams, sized(body(1.0)))).status == 200
            assert here(server) == 1
            await hang_up(streams)

    asyncio.run(main())


def test_a_known_head_brings_its_own_id_and_others_theirs() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            streams = await server.connect()
            for told in ("a", "b", "a", ""):
                lines = [f"X-Request-Id: {told}"] if told else []
                for said in (
                    await predicted(server, streams, sized(body(1.0), *lines)),
                    await asked(streams, sized(b"{}   " + b" " * 18, *lines)),
                    await asked(streams, get("/v1/models/doubler", *lines)),
                ):
                    assert said.headers.get("x-request-id", "") == told
            assert here(server) == 1
            await hang_up(streams)

    asyncio.run(main())


@pytest.mark.parametrize("line", ["X-Request-Priority: high", "X-Request-Timeout-Ms: -1"])
def test_wishes_that_make_no_sense_are_refused_each_time(line: str) -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            streams = await server.connect()
            for _ in range(2):
                said = await asked(streams, sized(body(1.0), line))
                assert said.status == 400
                assert line.partition(":")[0] in said.error
            assert here(server) == 1
            await hang_up(streams)

    asyncio.run(main())


@pytest.mark.parametrize("sent", [body(2.0), b"\xef\xbb\xbf\n" + body(2.0)])
def test_json_that_is_labelled_as_binary_is_answered_in_json(sent: bytes) -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            streams = await server.connect()
            labelled = "Content-Type: application/octet-stream"
            said = await predicted(server, streams, sized(sent, labelled))
            assert said.headers["content-type"] == "application/json"
            assert said.body == b'{"predictions":[[4.0]]}'
            said = await predicted(server, streams, sized(b"\0\0\x80\x3f", labelled))
            assert said.headers["content-type"] == "application/octet-stream"
            assert said.body == b"\0\0\0\x40"
            assert "is empty" in (await asked(streams, sized(b"", labelled))).error
            assert here(server) == 1
            await hang_up(streams)

    asyncio.run(main())


# ------------------------------------------------------------------------------------ the end


def test_closing_lets_who_was_asked_answer_and_says_that_it_was_the_last_time() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            streams, rests = await running(server), await server.connect()
            await asked(rests, get("/livez"))
            closing = asyncio.create_task(server.http.close(timeout=60.0))
            assert await rests[0].read() == b""
            assert not closing.done()
            server.run_next()
            said = await read_answer(streams[0])
            assert (said.status, said.headers["connection"]) == (200, "close")
            assert await streams[0].read() == b""
            await closing
            await hang_up(streams, rests)

    asyncio.run(main())


def test_closing_lets_the_rest_of_a_body_come() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            sent = sized(body(4.0))
            streams = await in_part(server, sent)
            closing = asyncio.create_task(server.http.close(timeout=60.0))
            await asyncio.sleep(0)
            said = await predicted(server, streams, sent[-3:])
            assert (said.body, said.headers["connection"]) == (b'{"predictions":[[8.0]]}', "close")
            assert await streams[0].read() == b""
            await closing
            await hang_up(streams)

    asyncio.run(main())


def test_closing_answers_what_has_begun_to_come_and_nothing_after_it() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            sent = sized(body(4.0))
            streams = await in_part(server, sent)
            closing = asyncio.create_task(server.http.close(timeout=60.0))
            await asyncio.sleep(0)
            said = await predicted(server, streams, sent[-3:] + get("/livez"))
            assert (said.body, said.headers["connection"]) == (b'{"predictions":[[8.0]]}', "close")
            assert await streams[0].read() == b""
            await closing
            assert (here(server), others(server)) == (0, 0)
            await hang_up(streams)

    asyncio.run(main())


def test_closing_does_not_wait_longer_than_it_may() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            streams, half = await running(server), await in_part(server, sized(body(4.0)))
            await server.http.close(timeout=0.01)
            for reader, _ in (streams, half):
                assert await reader.read() == b""
            await hang_up(streams, half)
            assert here(server) == 0
            # Its row was with the model already, and nobody is told.
            server.run_next()

    asyncio.run(main())
