"""Bodies of megabytes: read like small ones, beside everything else, at a pace for all."""

import asyncio
import io
import json
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from server.adapters.aiohttp_body import LARGE as JOINED_ELSEWHERE
from server.adapters.pace import Pace
from server.front import LARGE as PARSED_ELSEWHERE
from server.protocols.json_arrays import LARGE as READ_IN_SLICES
from tests.server.by_hand import PREDICT, body, served_by_hand, until
from tests.server.conftest import Served

REST = "/v1/models/every_dtype:predict"
OIP = "/v2/models/every_dtype/infer"

COLUMNS = 60_000

DATATYPES = {"float32": "FP32", "float64": "FP64", "int32": "INT32", "int64": "INT64"} | {
    "uint8": "UINT8",
    "bool": "BOOL",
}


def rows_of(dtype: str, values: str) -> bytes:
    """A TensorFlow Serving body of two equal rows, or one with a row each in an object."""
    return f'{{"signature_name": "{dtype}", "instances": [[{values}], [{values}]]}}'.encode()


def objects_of(dtype: str, values: str) -> bytes:
    row = f'{{"x": [{values}]}}'
    return f'{{"instances": [{row}, {row}], "signature_name": "{dtype}"}}'.encode()


def columns_of(dtype: str, values: str) -> bytes:
    return f'{{"inputs": {{"x": [[{values}], [{values}]]}}, "signature_name": "{dtype}"}}'.encode()


def oip_of(dtype: str, values: str) -> bytes:
    count = len(values.split(","))
    return (
        f'{{"parameters": {{"signature_name": "{dtype}"}}, "inputs": [{{"name": "x", "shape":'
        f' [2, {count}], "datatype": "{DATATYPES[dtype]}", "data": [{values}, {values}]}}]}}'
    ).encode()


FORMS: dict[str, tuple[str, Callable[[str, str], bytes]]] = {
    "rows": (REST, rows_of),
    "objects": (REST, objects_of),
    "columns": (REST, columns_of),
    "oip": (OIP, oip_of),
}


def ask(served: Served, form: str, dtype: str, values: list[str]) -> tuple[int, Any]:
    """Status, and the first row of the answer or the message of the error."""
    target, write = FORMS[form]
    sent = write(dtype, ",".join(values))
    answer = served.ask("POST", target, sent)
    said = json.loads(answer.body)
    if answer.status != 200:
        return answer.status, said["error"]
    if form == "oip":
        return 200, said["outputs"][0]["data"][: len(values)]
    return 200, said["outputs" if form == "columns" else "predictions"][0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("float32", ["0.1", "-2.5e3", "7", "1e-3"]),
        ("float64", ["0.1", "-2.5e3", "16777217", "1e-3"]),
        ("int32", ["-2147483648", "2147483647", "0"]),
        ("int64", ["-9223372036854775808", "9223372036854775807"]),
        ("uint8", ["0", "255"]),
    ],
)
def test_large_tensors_are_read_like_small_ones(
    served: Served, form: str, dtype: str, values: list[str]
) -> None:
    many = values * (COLUMNS // len(values))
    assert len(FORMS[form][1](dtype, ",".join(many))) > READ_IN_SLICES > PARSED_ELSEWHERE
    status, large = ask(served, form, dtype, many)
    assert status == 200, large
    assert (status, large) == (
        200,
        ask(served, form, dtype, values)[1] * (len(many) // len(values)),
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("dtype", "values", "word"),
    [
        ("int32", ("1", "2.5"), "floating-point"),
        ("int32", ("1", "2147483648"), "outside"),
        ("uint8", ("1", "-1"), "outside"),
        ("bool", ("1", "0"), "number|integer"),
        ("float32", ("1.5", "true"), "a boolean"),
        ("float32", ("1.5", "null"), "null"),
        ("float32", ("1.5", '"1"'), "a string"),
    ],
)
def test_large_tensors_are_refused_like_small_ones(
    served: Served, form: str, dtype: str, values: tuple[str, str], word: str
) -> None:
    usual, last = values
    status, message = ask(served, form, dtype, [usual] * (2 * COLUMNS) + [last])
    assert status == 400
    assert any(part in message for part in word.split("|")), message
    assert ask(served, form, dtype, [usual, last])[0] == 400


@pytest.mark.parametrize("form", ["rows", "oip"])
def test_numbers_beyond_their_float_become_infinities_without_a_warning(
    served: Served, form: str
) -> None:
    for count in (1, COLUMNS // 8, 2 * COLUMNS):
        status, row = ask(served, form, "float32", ["1e300"] * count)
        assert (status, set(row)) == (200, {float("inf")})


def test_a_large_list_is_not_taken_for_what_it_is_not(served: Served) -> None:
    numbers = ",".join(["1"] * 2 * COLUMNS)
    for sent, word in (
        (f"[{numbers}]", "must be a JSON object, not a list"),
        (f'{{"instances": [1], "signature_name": [{numbers}]}}', "must be a string"),
        (f'{{"instances": [{numbers}]}}', "list of objects"),
        (f'{{"inputs": [{numbers}]}}', "must be an object"),
        (f'{{"instances": [{numbers}], "signature_name": "nope"}}', "no signature 'nope'"),
    ):
        answer = served.ask("POST", "/v1/models/two_by_two:predict", sent.encode())
        assert answer.status == 400
        assert word in json.loads(answer.body)["error"]
    words = served.ask("POST", "/v1/models/words:predict", f'{{"instances": [{numbers}]}}'.encode())
    assert words.status == 400
    assert "string" in json.loads(words.body)["error"]


# ------------------------------------------------------------------------ beside everything else


def sent(content: bytes) -> Any:
    """A body for aiohttp, which warns of large ones unless they come as a file."""
    return io.BytesIO(content)


async def answer_of(sending: Awaitable[aiohttp.ClientResponse]) -> tuple[int, Any]:
    response = await sending
    return response.status, await response.json()


def test_while_one_large_body_is_parsed_all_others_go_on() -> None:
    released = threading.Event()

    async def main() -> None:
        async with (
            served_by_hand(max_body_size=2**24) as server,
            aiohttp.ClientSession(server.url) as session,
        ):
            # What parses a large body takes as long as the test wants it to.
            parsing = asyncio.create_task(server.codec.call(lambda _: released.wait(), None))
            padded = body(1.0) + b" " * PARSED_ELSEWHERE
            large = asyncio.create_task(answer_of(session.post(PREDICT, data=sent(padded))))
            small = asyncio.create_task(answer_of(session.post(PREDICT, data=body(2.0))))
            await until(lambda: server.executor.handed_over == 1)
            assert (await session.get("/livez")).status == 200
            server.run_next()
            assert await small == (200, {"predictions": [[4.0]]})
            assert not large.done()
            released.set()
            await parsing
            await until(lambda: server.executor.handed_over == 1)
            server.run_next()
            assert await large == (200, {"predictions": [[2.0]]})

    try:
        asyncio.run(main())
    finally:
        released.set()


@pytest.mark.parametrize("clients", [1, 8])
def test_megabytes_arrive_whole(clients: int) -> None:
    async def main() -> None:
        async with (
            served_by_hand(max_body_size=2**24) as server,
            aiohttp.ClientSession(server.url) as session,
        ):
            bodies = [body(float(n)) + b" " * (3 * JOINED_ELSEWHERE + n) for n in range(clients)]
            sending = [
                asyncio.create_task(answer_of(session.post(PREDICT, data=sent(content))))
                for content in bodies
            ]
            answered = 0
            while answered < clients:
                await until(lambda: server.executor.handed_over == 1)
                server.run_next()
                await asyncio.sleep(0)
                answered = sum(map(len, server.model.seen))
            assert await asyncio.gather(*sending) == [
                (200, {"predictions": [[2.0 * n]]}) for n in range(clients)
            ]

    asyncio.run(main())


def test_a_large_body_over_the_limit_is_refused_before_it_has_come() -> None:
    async def main() -> None:
        async with served_by_hand(max_body_size=2 * JOINED_ELSEWHERE) as server:
            reader, writer = await server.connect()
            length = 2**40
            head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
            writer.write(head.encode() + b" " * (3 * JOINED_ELSEWHERE))
            assert (await reader.readline()).startswith(b"HTTP/1.1 413")
            writer.transport.abort()

    asyncio.run(main())


def test_a_client_that_leaves_in_the_middle_of_a_large_body_takes_nobody_along() -> None:
    async def main() -> None:
        async with (
            served_by_hand(max_body_size=2**24) as server,
            aiohttp.ClientSession(server.url) as session,
        ):
            for _ in range(4):
                _, writer = await server.connect()
                head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {2**24}\r\n\r\n"
                writer.write(head.encode() + b" " * (2 * JOINED_ELSEWHERE))
                await writer.drain()
                writer.transport.abort()
            content = body(1.0) + b" " * (2 * JOINED_ELSEWHERE)
            sending = asyncio.create_task(answer_of(session.post(PREDICT, data=sent(content))))
            await until(lambda: server.executor.handed_over == 1)
            server.run_next()
            assert await sending == (200, {"predictions": [[2.0]]})

    asyncio.run(main())


# ------------------------------------------------------------------------------------ the pace


def test_only_so_many_get_a_turn_and_in_order() -> None:
    async def main() -> None:
        pace = Pace(2)
        order: list[int] = []
        counts: list[int] = []

        async def take(name: int) -> None:
            await pace.turn()
            order.append(name)

        takers = [asyncio.create_task(take(name)) for name in range(7)]
        while not all(taker.done() for taker in takers):
            before = len(order)
            await asyncio.sleep(0)
            counts.append(len(order) - before)
        assert order == list(range(7))
        assert max(counts) == 2

    asyncio.run(main())


def test_who_leaves_the_line_costs_no_turn() -> None:
    async def main() -> None:
        pace = Pace(1)
        await pace.turn()
        waiting = [asyncio.create_task(pace.turn()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[1].cancel()
        await asyncio.wait(waiting)
        assert [taker.cancelled() for taker in waiting] == [False, True, False]
        await pace.turn()

    asyncio.run(main())


def test_a_turn_is_free_again_when_nobody_waited() -> None:
    async def main() -> None:
        pace = Pace(1)
        for _ in range(3):
            await asyncio.wait_for(pace.turn(), 10)
            await asyncio.sleep(0)

    asyncio.run(main())
