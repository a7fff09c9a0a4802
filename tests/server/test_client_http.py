"""The client and small servers that answer as others do: refusals, broken lines, other kinds."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import numpy as np
import pytest
from aiohttp import web

from server.client import (
    BadAnswer,
    Client,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Refused,
    Retries,
    ServerFailed,
    Unreachable,
)
from tests.server.by_hand import until

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

X = {"x": np.array([[1.0, 2.0]], "float32")}
OUTPUTS = {
    "model_name": "m",
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [2.0, 4.0]}],
}
SOON = Retries(attempts=3, first=0.001, most=0.001)


class Small:
    """A server that keeps what it was sent, and answers as it is told to, path by path."""

    def __init__(self, answers: dict[str, Handler]) -> None:
        self._answers = answers
        self.seen: list[web.Request] = []
        self.left = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, web.BaseRequest)
        self.seen.append(request)  # type: ignore[arg-type]
        await request.read()
        answer = self._answers.get(request.path)
        if answer is None:
            return web.json_response({"error": f"Malformed request: {request.path}"}, status=404)
        try:
            return await answer(request)  # type: ignore[arg-type]
        except asyncio.CancelledError:
            self.left += 1
            raise

    @property
    def paths(self) -> list[str]:
        return [f"{request.method} {request.path}" for request in self.seen]


@asynccontextmanager
async def small(answers: dict[str, Handler]) -> AsyncIterator[tuple[Small, str]]:
    server = Small(answers)
    runner = web.ServerRunner(web.Server(server.handle, handler_cancellation=True))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield server, f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def always(value: Any, status: int = 200, **headers: str) -> Handler:
    told = {name.replace("_", "-"): text for name, text in headers.items()}

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(value, status=status, headers=told)

    return answer


def in_turn(*answers: Handler) -> Handler:
    left = list(answers)

    async def answer(request: web.Request) -> web.StreamResponse:
        return await left.pop(0)(request)

    return answer


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def break_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"{")
    return await hang_up(request)


async def never(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


INFER = "/v2/models/m/infer"
FULL = always({"error": "full"}, 503, Retry_After="9", Retry_After_Ms="1")


# --------------------------------------------------------------------------- refused and unreached


def test_who_is_refused_comes_again_as_told() -> None:
    async def main() -> None:
        async with small({INFER: in_turn(FULL, FULL, always(OUTPUTS))}) as (server, url):
            async with Client(url, "m", protocol="oip", retries=SOON) as client:
                outputs, receipt = await client.infer_with_receipt(X, timeout=60.0)
            assert outputs["y"].tolist() == [[2.0, 4.0]]
            assert receipt.attempts == 3
            left = [float(request.headers["X-Request-Timeout-Ms"]) for request in server.seen]
            assert 60_000 >= left[0] >= left[1] >= left[2] > 0

    asyncio.run(main())


def test_who_is_refused_again_and_again_is_told_the_last_words() -> None:
    async def main() -> None:
        async with small({INFER: FULL}) as (server, url):
            async with Client(url, "m", protocol="oip", retries=SOON) as client:
                with pytest.raises(Refused, match="full") as told:
                    await client.infer(X)
            error = told.value
            assert (error.status, error.retry_after, error.attempts) == (503, 0.001, 3)
            assert len(server.seen) == 3

    asyncio.run(main())


def test_a_line_that_breaks_before_an_answer_is_made_again() -> None:
    async def main() -> None:
        async with small({INFER: in_turn(hang_up, always(OUTPUTS))}) as (_, url):
            async with Client(url, "m", protocol="oip", retries=SOON) as client:
                _, receipt = await client.infer_with_receipt(X)
            assert receipt.attempts == 2

    asyncio.run(main())


def test_a_line_that_breaks_within_an_answer_is_told() -> None:
    async def main() -> None:
        async with small({INFER: in_turn(break_off)}) as (_, url):
            async with Client(url, "m", protocol="oip", retries=SOON) as client:
                with pytest.raises(Unreachable) as told:
                    await client.infer(X)
            assert (told.value.begun, told.value.attempts) == (True, 1)
            assert isinstance(told.value, ConnectionError)

    asyncio.run(main())


def test_a_name_that_nobody_knows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def main() -> None:
        async with Client("http://nobody.invalid", "m", retries=SOON) as client:
            with pytest.raises(Unreachable, match="cannot connect: Name or service not known"):
                await client.predict([[1.0]])

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    asyncio.run(main())


def test_where_nobody_listens_is_told() -> None:
    async def main() -> None:
        async with small({}) as (_, url):
            pass
        async with Client(url, "m", retries=SOON) as client:
            with pytest.raises(
                Unreachable, match=f"{url}: cannot connect: Connection refused"
            ) as told:
                await client.predict([[1.0]])
            assert told.value.attempts == 3
            assert await client.ready() is False

    asyncio.run(main())


def test_a_host_without_an_address_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    async def main() -> None:
        async with Client("http://nowhere", "m", retries=SOON) as client:
            with pytest.raises(Unreachable, match="cannot connect: Name or service not known"):
                await client.predict([[1.0]])

    asyncio.run(main())


def test_who_speaks_no_tls_is_told() -> None:
    async def main() -> None:
        async with small({}) as (_, url):
            client = Client(url.replace("http", "https"), "m", retries=Retries(attempts=1))
            async with client:
                with pytest.raises(Unreachable, match=r"cannot connect: .*SSL"):
                    await client.predict([[1.0]])

    asyncio.run(main())


@pytest.mark.parametrize(
    ("raw", "kind", "words"),
    [
        (b"SSH-2.0-OpenSSH\r\n", BadAnswer, "no HTTP: "),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", BadAnswer, "chunk"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20000 + b"\r\n\r\n", BadAnswer, "no HTTP: "),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Encoding: gzip\r\n\r\n{}",
            Unreachable,
            "Can not decode content-encoding: gzip",
        ),
    ],
)
def test_what_cannot_be_read_is_told_on_a_line_and_not_asked_again(
    raw: bytes, kind: type[Exception], words: str
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(raw)
        return await hang_up(request)

    async def main() -> None:
        async with small({INFER: answer}) as (server, url):
            async with Client(url, "m", protocol="oip", retries=SOON) as client:
                with pytest.raises(kind, match=words) as told:
                    await client.infer(X)
            assert "\n" not in str(told.value)
            assert len(server.seen) == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    ("status", "kind"), [(500, ServerFailed), (400, InvalidRequest), (404, NotFound)]
)
def test_what_the_server_made_up_its_mind_about_is_not_asked_again(
    status: int, kind: type[Exception]
) -> None:
    async def main() -> None:
        async with small({INFER: always({"error": "the words"}, status)}) as (server, url):
            async with Client(url, "m", protocol="oip", retries=SOON) as client:
                with pytest.raises(kind, match="the words"):
                    await client.infer(X)
            assert len(server.seen) == 1

    asyncio.run(main())


def test_redirections_are_not_followed() -> None:
    async def main() -> None:
        elsewhere = always({}, 307, Location="http://127.0.0.1:1/")
        async with (
            small({INFER: elsewhere}) as (_, url),
            Client(url, "m", protocol="oip", token="secret") as client,
        ):
            with pytest.raises(ServerFailed, match="307"):
                await client.infer(X)

    asyncio.run(main())


# ------------------------------------------------------------------------- in time, and not


def test_who_does_not_answer_in_time_is_left() -> None:
    async def main() -> None:
        async with small({INFER: never}) as (_, url), Client(url, "m", protocol="oip") as client:
            with pytest.raises(DeadlineExceeded, match="no answer within") as told:
                await client.infer(X, timeout=0.05)
            assert told.value.attempts == 1

    asyncio.run(main())


def test_a_call_that_is_under_way_when_the_client_is_closed_fails() -> None:
    async def main() -> None:
        async with small({INFER: never}) as (server, url):
            async with Client(url, "m", protocol="oip", retries=SOON) as client:
                calling = asyncio.create_task(client.infer(X))
                await until(lambda: len(server.seen) == 1)
            with pytest.raises(Unreachable):
                await calling
            assert len(server.seen) == 1

    asyncio.run(main())


def test_who_is_left_learns_of_it() -> None:
    async def main() -> None:
        async with (
            small({INFER: never}) as (server, url),
            Client(url, "m", protocol="oip") as client,
        ):
            calling = asyncio.create_task(client.infer(X))
            await until(lambda: len(server.seen) == 1)
            calling.cancel()
            await until(lambda: server.left == 1)
            with pytest.raises(asyncio.CancelledError):
                await calling

    asyncio.run(main())


def test_a_server_that_tells_of_nothing_in_time_is_left_too() -> None:
    async def main() -> None:
        for path in ("/v2", "/v2/models/m"):
            answers = {"/v2": always({"name": "other"}), path: never}
            async with small(answers) as (_, url), Client(url, "m") as client:
                with pytest.raises(DeadlineExceeded):
                    await client.predict([[1.0]], timeout=0.05)

    asyncio.run(main())


def test_as_many_connections_as_told_are_kept_and_used_again() -> None:
    ports: set[int] = set()

    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername")[1])
        await asyncio.sleep(0)
        return web.json_response(OUTPUTS)

    async def main() -> None:
        async with small({INFER: answer}) as (server, url):
            async with Client(url, "m", protocol="oip", connections=3) as client:
                await asyncio.gather(*[client.infer(X) for _ in range(50)])
            assert len(server.seen) == 50
            assert len(ports) == 3

    asyncio.run(main())


# --------------------------------------------------------------------------- other kinds of servers


METADATA = {
    "name": "m",
    "versions": ["v0.1"],
    "platform": "sklearn",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
}


def test_a_server_of_the_open_inference_protocol_is_known_by_what_it_tells() -> None:
    async def main() -> None:
        answers = {
            "/v2": always({"name": "mlserver", "version": "1.6", "extensions": []}),
            "/v2/models/m": always(METADATA),
            "/v2/health/ready": always({}),
            "/v2/models/m/ready": always({"error": "not ready"}, 400),
            INFER: always(OUTPUTS),
        }
        async with small(answers) as (server, url), Client(url, "m") as client:
            assert (await client.predict([[1, 2]])).tolist() == [[2.0, 4.0]]
            assert (await client.metadata()).versions == ("v0.1",)
            assert json.loads(await server.seen[2].read()) == {
                "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}]
            }
            assert await client.ready() is False
            assert await client.ready(model="") is True
            assert server.paths == [
                "GET /v2",
                "GET /v2/models/m",
                f"POST {INFER}",
                "GET /v2/models/m",
                "GET /v2/models/m/ready",
                "GET /v2/health/ready",
            ]

    asyncio.run(main())


def signature_def(dtype: str, output: str = "y") -> Handler:
    shape = {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
    info = {"dtype": dtype, "tensor_shape": shape, "name": "x:0"}
    definition = {
        "inputs": {"x": info},
        "outputs": {output: info},
        "method_name": "tensorflow/serving/predict",
    }
    return always(
        {
            "model_spec": {"name": "m", "signature_name": "", "version": "7"},
            "metadata": {"signature_def": {"signature_def": {"serving_default": definition}}},
        }
    )


V1 = "/v1/models/m"


def test_a_server_that_knows_nothing_of_that_is_tensorflow_serving() -> None:
    async def main() -> None:
        status = {"version": "7", "state": "LOADING", "status": {"error_message": ""}}
        answers = {
            V1: always({"model_version_status": [status]}),
            f"{V1}/metadata": signature_def("DT_INT32"),
            f"{V1}:predict": always({"outputs": [2, 4]}),
        }
        async with small(answers) as (server, url), Client(url, "m") as client:
            answered = await client.predict([1, 2])
            assert (answered.dtype.name, answered.tolist()) == ("int32", [2, 4])
            assert json.loads(await server.seen[-1].read()) == {"inputs": {"x": [1, 2]}}
            (state,) = await client.models()
            assert (state.version, state.state, state.ready) == ("7", "LOADING", False)
            assert await client.ready() is False

    asyncio.run(main())


def test_metadata_is_read_once_and_again_when_an_answer_does_not_fit() -> None:
    async def main() -> None:
        answers = {
            f"{V1}/metadata": in_turn(signature_def("DT_INT32"), signature_def("DT_FLOAT")),
            f"{V1}:predict": in_turn(
                always({"outputs": [1]}),
                always({"outputs": [2]}),
                always({"outputs": [0.5]}),
                always({"outputs": [0.5]}),
            ),
        }
        async with (
            small(answers) as (server, url),
            Client(url, "m", protocol="tfserving") as client,
        ):
            for _ in range(2):
                await client.predict([1])
            with pytest.raises(BadAnswer, match="does not fit the model's metadata"):
                await client.predict([1])
            assert (await client.predict([1])).tolist() == [0.5]
            assert server.paths.count(f"GET {V1}/metadata") == 2

    asyncio.run(main())


def test_many_first_calls_ask_but_once_what_the_server_is() -> None:
    async def main() -> None:
        answers = {
            "/v2": always({"name": "other", "extensions": ["binary_tensor_data"]}),
            "/v2/models/m": always(METADATA),
            INFER: always(OUTPUTS),
        }
        async with small(answers) as (server, url), Client(url, "m") as client:
            await asyncio.gather(*[client.predict([[1, 2]]) for _ in range(20)])
            assert server.paths.count("GET /v2") == 1
            assert server.paths.count("GET /v2/models/m") == 1
            assert "Inference-Header-Content-Length" in server.seen[-1].headers

    asyncio.run(main())


def test_an_answer_without_the_output_is_told() -> None:
    async def main() -> None:
        answers = {"/v2/models/m": always(METADATA), INFER: always({"outputs": []})}
        async with small(answers) as (_, url), Client(url, "m", protocol="oip") as client:
            with pytest.raises(BadAnswer, match="the answer has none, not 'y'"):
                await client.predict([[1, 2]])

    asyncio.run(main())


def test_headers_are_those_that_were_asked_for() -> None:
    async def main() -> None:
        async with small({INFER: always(OUTPUTS)}) as (server, url):
            options: dict[str, Any] = {"token": "secret", "headers": {"X-Team": "a"}}
            async with Client(url, "m", protocol="oip", **options) as client:
                await client.infer(X, timeout=float("inf"), headers={"Traceparent": "00"})
            headers = server.seen[0].headers
            assert headers["Authorization"] == "Bearer secret"
            assert headers["X-Team"] == "a"
            assert headers["Traceparent"] == "00"
            assert headers["Accept-Encoding"] == "identity"
            assert "X-Request-Timeout-Ms" not in headers
            assert "X-Request-Priority" not in headers

    asyncio.run(main())
