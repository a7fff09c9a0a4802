"""Open-loop load: whatever holds a request up counts from when it was due, and nothing is lost."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
import uvloop

from server.load import Clients, Course, Offered, Result, keep_busy, offer
from server.load.answers import AnswerReader, BadAnswer
from server.load.clock import KernelClock
from tests.server.load_by_hand import REQUEST, HandClock, HeldServer, answer, held_server

EACH_SECOND = Offered(rate=1.0, seconds=10.0, kind="constant")
"""Ten requests, due in the seconds 0 to 9."""

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

BEGIN = 0.01
"""When the first second begins on a clock that starts at 0."""


@asynccontextmanager
async def offered_to(
    server: HeldServer,
    plan: Offered = EACH_SECOND,
    *,
    connections: int = 100,
    timeout: float = 1000.0,
) -> AsyncIterator[tuple[HandClock, "asyncio.Task[Result]"]]:
    """A load that has begun, and its clock."""
    clock = HandClock()
    load = asyncio.create_task(
        offer(server.address, REQUEST, plan, connections=connections, timeout=timeout, clock=clock)
    )
    await clock.is_set()
    yield clock, load
    assert clock.closed
    assert load.done()


def test_a_stall_shows_in_the_latency_of_each_request_due_meanwhile() -> None:
    async def main() -> None:
        async with held_server() as server, offered_to(server) as (clock, load):
            clock.move(BEGIN + 9.5)
            await server.has(10)  # none waited for the answer to another
            server.let_go(10)
            result = await load
            # Closed loops would have one latency of 9.5 s here, and no others.
            assert result.latencies == pytest.approx(np.arange(10)[::-1] + 0.5)
            assert result.percentile(50.0) == pytest.approx(5.5)
            assert result.longest == pytest.approx(9.5)
            assert result.good == 10
            assert result.lateness == pytest.approx(0.0)
            assert result.limit == ""

    asyncio.run(main())


def test_what_the_generator_itself_is_late_counts_and_is_told() -> None:
    async def main() -> None:
        async with held_server() as server, offered_to(server) as (clock, load):
            clock.jump(BEGIN + 20.0)
            await server.has(10)
            server.let_go(10)
            result = await load
            assert result.latencies == pytest.approx(np.arange(20, 10, -1))
            assert result.lateness == pytest.approx(np.arange(20, 10, -1))
            assert result.limit == "the generator was 20000.0 ms late (p99)"

    asyncio.run(main())


def test_a_request_beyond_the_connections_waits_and_its_wait_counts() -> None:
    async def main() -> None:
        async with held_server() as server, offered_to(server, connections=2) as (clock, load):
            clock.move(BEGIN + 9.0)
            for second in range(9, 14):
                await server.has(2)
                assert server.received == 2 * (second - 8)
                clock.move(BEGIN + second)
                server.let_go(2)
            result = await load
            assert server.connections == 2
            # Two at a time, oldest first: answered in the seconds 9, 9, 10, 10, ...
            assert result.latencies == pytest.approx([9, 8, 8, 7, 7, 6, 6, 5, 5, 4])
            assert result.held == 8
            assert result.lateness == pytest.approx(0.0)
            assert result.good == 10

    asyncio.run(main())


def test_a_request_without_an_answer_in_time_counts_with_its_wait() -> None:
    async def main() -> None:
        async with (
            held_server() as server,
            offered_to(server, connections=4, timeout=5.0) as (clock, load),
        ):
            clock.move(BEGIN + 4.5)
            await server.has(4)
            server.let_go(1)
            await server.has(4)
            clock.move(BEGIN + 20.0)
            result = await load
            assert result.latencies == pytest.approx([4.5, 5, 5, 5, 5, 5, 5, 5, 5, 5])
            assert result.good == 1
            assert result.failed == 9
            assert result.percentile(50.0) == pytest.approx(5.0)
            # Nothing ran between the seconds of this clock: the connections of those that were
            # given up were not made anew.
            assert result.failures == {
                "no answer within 5 s": 4,
                "not sent within 5 s: no connection was free": 5,
            }

    asyncio.run(main())


def test_what_is_given_up_leaves_room_for_others() -> None:
    async def main() -> None:
        async with (
            held_server() as server,
            offered_to(server, connections=1, timeout=1.5) as (clock, load),
        ):
            for second in range(10):
                clock.move(BEGIN + second)
                await server.has(second // 2 + 1)
            clock.move(BEGIN + 20.0)
            result = await load
            assert server.connections == 5
            assert result.failures.total() == 10

    asyncio.run(main())


def test_refusals_are_counted_by_status_and_have_no_part_in_percentiles() -> None:
    async def main() -> None:
        async with held_server() as server, offered_to(server) as (clock, load):
            clock.move(BEGIN + 9.0)
            await server.has(10)
            server.let_go(3, answer(503, b'{"error": "the queue is full"}'))
            server.let_go(1, answer(404, b"other"))
            server.let_go(6)
            result = await load
            assert result.statuses == {200: 6, 503: 3, 404: 1}
            assert result.failures == {}
            assert (result.good, result.failed) == (6, 4)
            assert result.waits == pytest.approx(np.arange(5, -1, -1))
            assert result.first_error == b'{"error": "the queue is full"}'
            assert result.examples == {503: b'{"error": "the queue is full"}', 404: b"other"}
            assert result.shed == 3

    asyncio.run(main())


@pytest.mark.parametrize(
    ("told", "failure"),
    [
        (b"SSH-2.0\r\n\r\n", "no HTTP/1 answer: it begins with b'SSH-2.0'"),
        (answer(headers="Transfer-Encoding: gzip\r\n"), "an answer in the coding b'gzip'"),
        (CHUNKED + b"x\r\n", "no valid size of a chunk: b'x'"),
        (CHUNKED + b"1\r\nabc", "a chunk is longer than it says"),
        (CHUNKED + 5_000 * b"1", "a line of more than 4096 bytes among the chunks"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "no valid Content-Length in an answer with status 200"),
        (answer() + b"!", "more bytes than the answer says that it has"),
        (b"HTTP/1.1 " + 70_000 * b"2", "headers of more than 65536 bytes"),
    ],
)
def test_a_bad_answer_costs_its_request_and_no_other(told: bytes, failure: str) -> None:
    async def main() -> None:
        async with held_server() as server, offered_to(server) as (clock, load):
            clock.move(BEGIN + 5.0)
            await server.has(6)
            server.let_go(1, told)
            server.let_go(5)
            clock.move(BEGIN + 9.0)
            await server.has(4)
            server.let_go(4)
            result = await load
            ((why, count),) = result.failures.items()
            assert why.startswith(failure)
            assert count == 1
            assert result.good == 9

    asyncio.run(main())


def test_a_lost_connection_costs_its_request_and_no_other() -> None:
    async def main() -> None:
        async with held_server() as server, offered_to(server, connections=1) as (clock, load):
            clock.move(BEGIN + 9.0)
            await server.has(1)
            server.hang_up()
            for _ in range(9):
                await server.has(1)
                server.let_go(1)
            result = await load
            assert server.connections == 2
            ((why, count),) = result.failures.items()
            assert why.startswith("connection lost: ")
            assert count == 1
            assert result.good == 9

    asyncio.run(main())


def test_a_server_that_closes_after_each_answer_gets_new_connections() -> None:
    async def main() -> None:
        async with held_server() as server, offered_to(server, connections=1) as (clock, load):
            clock.move(BEGIN + 9.0)
            for _ in range(10):
                await server.has(1)
                server.let_go(1, answer(headers="Connection: close\r\n"))
            assert (await load).good == 10
            assert server.connections == 10

    asyncio.run(main())


def test_nobody_listens() -> None:
    async def main() -> Result:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = listener.getsockname()
        plan = Offered(rate=1000.0, seconds=0.05, kind="constant")
        return await offer(address, REQUEST, plan)

    result = asyncio.run(main())
    assert result.failures == {"cannot connect: Connection refused": 50}
    assert result.good == 0
    assert result.percentile(99.0) == 0.0


def test_requests_of_the_warmup_are_sent_and_do_not_count() -> None:
    plan = Offered(rate=1.0, seconds=4.0, warmup=6.0, kind="constant")

    async def main() -> None:
        async with (
            held_server() as server,
            offered_to(server, plan, connections=1) as (clock, load),
        ):
            clock.move(BEGIN + 9.5)
            for _ in range(9):
                await server.has(1)
                server.let_go(1)
            await server.has(1)  # on the one connection, so that the nine are answered
            clock.move(BEGIN + 10.5)
            server.let_go(1)
            result = await load
            assert server.received == 10
            assert len(result.latencies) == 4
            assert result.rate == 1.0
            # Nine of ten were answered in the seconds that count: the server did that then.
            assert result.achieved == 9 / 4
            assert result.backlog == 1

    asyncio.run(main())


def test_an_interrupted_load_leaves_nothing_open() -> None:
    async def main() -> None:
        async with held_server() as server, offered_to(server, connections=2) as (clock, load):
            clock.move(BEGIN + 9.0)
            await server.has(2)
            load.cancel()
            with pytest.raises(asyncio.CancelledError):
                await load
            assert server.received == 2

    asyncio.run(main())


def test_a_plan_may_have_no_request_at_all() -> None:
    plan = Offered(rate=0.001, seconds=1.0, kind="poisson")

    async def main() -> Result:
        async with held_server() as server:
            return await offer(server.address, REQUEST, plan)

    result = asyncio.run(main())
    assert (result.rate, result.achieved, result.longest, result.late) == (0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_real_time(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    plan = Offered(rate=2000.0, seconds=0.1, warmup=0.05, kind="poisson", seed=3)

    async def main() -> None:
        async with held_server(answer()) as server:
            result = await offer(server.address, REQUEST, plan)
            assert result.good == len(result.latencies) > 100
            assert server.received == len(plan.times())
            # No request was sent before it was due, nor answered before it was sent.
            assert (result.lateness >= 0).all()
            assert (result.latencies > result.lateness).all()
            plain = result.plain()
            assert plain["statuses"] == {"200": result.good}
            assert plain["latency_ms"]["max"] == result.longest * 1e3

    run(main())


def test_the_kernels_clock_calls_back_and_not_too_early() -> None:
    async def main() -> None:
        clock = KernelClock()
        called = asyncio.Event()
        at = clock.now() + 0.002
        clock.wake(at + 3600.0, called.set)
        clock.wake(at, called.set)  # in its place
        await called.wait()
        assert clock.now() >= at
        called.clear()
        clock.wake(at - 1.0, called.set)  # past already
        await called.wait()
        clock.close()
        assert clock.now() <= time.monotonic()

    asyncio.run(main())


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_answer_may_come_in_any_parts(size: int) -> None:
    reader = AnswerReader()
    for body in (b"", b"x" * 300, b"\r\n\r\n"):
        told = answer(body=body)
        parts = [told[start : start + size] for start in range(0, len(told), size)]
        *first, last = [reader.take(part) for part in parts]
        assert set(first) <= {None}
        assert last is not None
        assert (last.head.status, last.size, last.body) == (200, len(told), body)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_chunked_answer_may_come_in_any_parts(size: int) -> None:
    reader = AnswerReader()
    for told, body in [
        (b"0\r\n\r\n", b""),
        (
            b"5;kind=x\r\n\r\n{}\n\r\nA\r\n0123456789\r\n0\r\nSome: trailer\r\n\r\n",
            b"\r\n{}\n0123456789",
        ),
    ]:
        whole = CHUNKED + told
        parts = [whole[start : start + size] for start in range(0, len(whole), size)]
        *first, last = [reader.take(part) for part in parts]
        assert set(first) <= {None}
        assert last is not None
        assert (last.head.status, last.size, last.body) == (200, len(whole), body)


def test_an_answer_of_http_1_0_closes_its_connection() -> None:
    whole = AnswerReader().take(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert whole is not None
    assert whole.head.closes
    with pytest.raises(BadAnswer, match="no HTTP/1 answer"):
        AnswerReader().take(b"HTTP/2 200\r\n\r\n")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"connections": 0}, "connections is 0: expected at least 1"),
        ({"timeout": 0.0}, "timeout is 0.0: expected seconds above 0"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        asyncio.run(offer(("127.0.0.1", 1), REQUEST, EACH_SECOND, **options))


def test_what_is_interrupted_is_the_result_of_what_had_ended() -> None:
    async def main() -> None:
        courses: list[Course] = []
        clock = HandClock()
        async with held_server() as server:
            load = asyncio.create_task(
                offer(server.address, REQUEST, EACH_SECOND, clock=clock, on_begin=courses.append)
            )
            await clock.is_set()
            clock.move(BEGIN + 3.0)
            await server.has(4)
            server.let_go(2)
            (course,) = courses
            while course.ended_count < 2:  # noqa: ASYNC110 - it tells nobody, for it costs
                await asyncio.sleep(0)
            clock.move(BEGIN + 3.5)
            course.interrupt()
            course.interrupt()
            result = await load
        assert (result.good, result.unended, result.interrupted) == (2, 2, True)
        assert result.latencies == pytest.approx([3.0, 2.0])
        assert result.plan.seconds == pytest.approx(3.5)
        assert result.achieved == pytest.approx(2 / 3.5)
        assert result.plain()["unended"] == 2

    asyncio.run(main())


# ------------------------------------------------------------------------------------ a closed loop


@asynccontextmanager
async def kept_busy(
    server: HeldServer, plan: Clients, timeout: float = 1000.0
) -> AsyncIterator[tuple[HandClock, "asyncio.Task[Result]", list[Course]]]:
    """Clients that have begun, and their clock."""
    clock, courses = HandClock(), list[Course]()
    load = asyncio.create_task(
        keep_busy(
            server.address, REQUEST, plan, timeout=timeout, clock=clock, on_begin=courses.append
        )
    )
    await clock.is_set()
    yield clock, load, courses
    assert clock.closed
    assert load.done()


def test_each_client_asks_again_when_it_is_answered() -> None:
    async def main() -> None:
        async with (
            held_server() as server,
            kept_busy(server, Clients(3, seconds=10.0, warmup=2.0)) as (clock, load, _),
        ):
            for second in range(1, 13):
                await server.has(3)
                assert server.received == 3 * second
                clock.move(second)
                server.let_go(3)
            result = await load
            assert server.connections == 3
            # Sent in the seconds 2 to 11: what was sent in the warm-up does not count.
            assert result.latencies == pytest.approx(np.full(30, 1.0))
            assert (result.good, result.failed) == (30, 0)
            # One that is answered when the time is up is not answered within it.
            assert result.achieved == pytest.approx(3.0)
            assert result.plain()["clients"] == 3

    asyncio.run(main())


def test_a_client_without_an_answer_in_time_goes_on() -> None:
    async def main() -> None:
        async with (
            held_server() as server,
            kept_busy(server, Clients(2, seconds=4.0), timeout=1.5) as (clock, load, _),
        ):
            for second in range(1, 10):
                await server.has(min(2 * second, 6))
                clock.move(second * 1.5)
                if load.done():
                    break
                await asyncio.sleep(0)
            result = await load
            assert result.failures == {"no answer within 1.5 s": 6}
            assert result.latencies == pytest.approx(np.full(6, 1.5))

    asyncio.run(main())


def test_clients_that_nobody_listens_to_try_again_after_a_rest() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = taken.getsockname()
        plan = Clients(2, seconds=0.5)
        result = await keep_busy(address, REQUEST, plan)
        ((why, count),) = result.failures.items()
        assert why == "cannot connect: Connection refused"
        # At once, after 0.2 s and after 0.4 s: not as fast as they can.
        assert count <= 6

    asyncio.run(main())


def test_clients_are_interrupted_too() -> None:
    async def main() -> None:
        async with (
            held_server() as server,
            kept_busy(server, Clients(2, seconds=10.0)) as (clock, load, courses),
        ):
            await server.has(2)
            clock.move(1.0)
            server.let_go(1)
            await server.has(2)
            courses[0].interrupt()
            result = await load
            assert (result.good, result.unended, result.interrupted) == (1, 2, True)
            assert result.plan.seconds == pytest.approx(1.0)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        (lambda: Clients(0, 1.0), "clients is 0"),
        (lambda: Clients(1, 0.0), "seconds is 0.0"),
        (lambda: Clients(1, 1.0, -1.0), "warmup is -1.0"),
    ],
)
def test_clients_that_make_no_sense(plan: Callable[[], Clients], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        plan()
