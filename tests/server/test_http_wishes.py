"""What clients ask for in headers, over real HTTP: by when, how urgent, under which id."""

import asyncio
import re

import aiohttp
import pytest

from tests.server.by_hand import PREDICT, ByHand, body, served_by_hand, until

JSON = {"Content-Type": "application/json"}


async def send(
    session: aiohttp.ClientSession, value: float, **wishes: str
) -> aiohttp.ClientResponse:
    """One row; headers are written with underscores."""
    headers = JSON | {name.replace("_", "-"): told for name, told in wishes.items()}
    return await session.post(PREDICT, data=body(value), headers=headers)


async def handed_over(server: ByHand, waiting: int) -> None:
    """Until one batch is with the model and so many rows wait for the next."""
    await until(lambda: server.executor.handed_over == 1)
    await until(lambda: server.batcher.stats().queued_rows == waiting)


def test_who_waits_too_long_is_told_504_and_its_neighbours_are_answered() -> None:
    async def main() -> None:
        async with served_by_hand() as server, aiohttp.ClientSession(server.url) as session:
            first = asyncio.create_task(send(session, 0))
            await handed_over(server, 0)
            before = asyncio.create_task(send(session, 1))
            await handed_over(server, 1)
            hurried = asyncio.create_task(send(session, 13, X_Request_Timeout_Ms="20"))
            behind = asyncio.create_task(send(session, 2))
            late = await hurried
            assert late.status == 504
            assert late.content_type == "application/json"
            assert "within its 0.0" in (await late.json())["error"]
            await handed_over(server, 2)
            server.run_next()
            await first
            server.run_next()
            assert await (await before).json() == {"predictions": [[2.0]]}
            assert await (await behind).json() == {"predictions": [[4.0]]}
            assert [13.0] not in server.model.seen
            assert server.model.seen == [[0.0], [1.0, 2.0]]

    asyncio.run(main())


def test_who_is_late_while_the_model_runs_is_told_504_too() -> None:
    async def main() -> None:
        async with served_by_hand() as server, aiohttp.ClientSession(server.url) as session:
            late = await send(session, 1, X_Request_Timeout_Ms="20")
            assert late.status == 504
            server.run_next()
            next_one = asyncio.create_task(send(session, 2))
            await handed_over(server, 0)
            server.run_next()
            assert (await next_one).status == 200

    asyncio.run(main())


def test_a_timeout_that_is_kept_changes_nothing() -> None:
    async def main() -> None:
        async with served_by_hand() as server, aiohttp.ClientSession(server.url) as session:
            sending = asyncio.create_task(send(session, 1, X_Request_Timeout_Ms="60000.5"))
            await handed_over(server, 0)
            server.run_next()
            assert await (await sending).json() == {"predictions": [[2.0]]}

    asyncio.run(main())


@pytest.mark.parametrize(
    ("header", "value"),
    [
        *[("X-Request-Timeout-Ms", value) for value in ("0", "-5", "nan", "inf", "soon", "")],
        *[("X-Request-Priority", value) for value in ("1.5", "high", "", str(2**31))],
        ("X-Request-Timeout-Ms", "\xff"),
    ],
)
def test_wishes_that_make_no_sense_are_refused(header: str, value: str) -> None:
    async def main() -> None:
        async with served_by_hand() as server, aiohttp.ClientSession(server.url) as session:
            answer = await session.post(PREDICT, data=body(1), headers=JSON | {header: value})
            assert answer.status == 400
            assert header in (await answer.json())["error"]
            assert server.executor.handed_over == 0

    asyncio.run(main())


@pytest.mark.parametrize("told", ["a", "7f2c-11", "with spaces in it", "~" * 128])
def test_the_id_of_a_request_comes_back_with_whatever_answer(told: str) -> None:
    async def main() -> None:
        async with served_by_hand() as server, aiohttp.ClientSession(server.url) as session:
            sending = asyncio.create_task(send(session, 1, X_Request_Id=told))
            await handed_over(server, 0)
            server.run_next()
            headers = JSON | {"X-Request-Id": told}
            answers = [
                await sending,
                await session.post(PREDICT, data=b"{}", headers=headers),
                await session.post("/v1/models/nobody:predict", data=body(1), headers=headers),
                await session.post(PREDICT, data=b"x" * 1001, headers=headers),
                await session.get("/v1/models/doubler", headers=headers),
            ]
            assert [answer.status for answer in answers] == [200, 400, 404, 413, 200]
            for answer in answers:
                assert answer.headers.getall("X-Request-Id") == [told]

    asyncio.run(main())


@pytest.mark.parametrize("told", ["", "\xe9", "x" * 129, "a\tb"])
def test_an_id_that_is_not_fit_to_be_repeated_is_not(told: str) -> None:
    async def main() -> None:
        async with served_by_hand() as server, aiohttp.ClientSession(server.url) as session:
            answer = await session.get("/v1/models/doubler", headers={"X-Request-Id": told})
            assert answer.status == 200
            assert "X-Request-Id" not in answer.headers

    asyncio.run(main())


def test_an_answer_tells_how_long_it_waited_and_ran() -> None:
    async def main() -> None:
        async with served_by_hand() as server, aiohttp.ClientSession(server.url) as session:
            sending = asyncio.create_task(send(session, 1))
            await handed_over(server, 0)
            server.run_next()
            (timing,) = (await sending).headers.getall("Server-Timing")
            assert re.fullmatch(r"queue;dur=\d+\.\d{3}, run;dur=\d+\.\d{3}, batch;desc=1", timing)
            refused = await session.post(PREDICT, data=b"{}")
            assert "Server-Timing" not in refused.headers

    asyncio.run(main())


def test_a_full_queue_tells_when_to_come_again() -> None:
    async def main() -> None:
        async with (
            served_by_hand(max_queue_size=1) as server,
            aiohttp.ClientSession(server.url) as session,
        ):
            known = asyncio.create_task(send(session, 0))
            await handed_over(server, 0)
            server.run_next()
            await known
            running = asyncio.create_task(send(session, 1))
            await handed_over(server, 0)
            waiting = asyncio.create_task(send(session, 2))
            await handed_over(server, 1)
            refused = await send(session, 3)
            assert refused.status == 503
            seconds = int(refused.headers["Retry-After"])
            milliseconds = int(refused.headers["Retry-After-Ms"])
            # Of a batch that took no time at all something is left, and rounded up.
            assert seconds == 1
            assert milliseconds >= 1
            for sent in (running, waiting):
                server.run_next()
                assert (await sent).status == 200

    asyncio.run(main())


def test_the_time_that_a_body_asks_for_begins_before_it_is_read() -> None:
    sent = {
        "parameters": {"timeout": 1},
        "inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1.0]}],
    }

    async def main() -> None:
        async with served_by_hand() as server, aiohttp.ClientSession(server.url) as session:
            answer = await session.post("/v2/models/doubler/infer", json=sent)
            assert answer.status == 504
            assert "was not read within" in (await answer.json())["error"]

    asyncio.run(main())
