"""`create_app` mounted into another aiohttp application, under a prefix of its choice."""

import asyncio
import collections
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

from server import Config, ModelConfig, create_app


@asynccontextmanager
async def asked(outer: web.Application) -> AsyncIterator[aiohttp.ClientSession]:
    """Start an application on a free port, and stop it in the end."""
    runner = web.AppRunner(outer, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    try:
        async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
            yield session
    finally:
        await runner.cleanup()


async def run_with(outer: web.Application, *requests: tuple[str, str, str]) -> list[object]:
    """Ask an application; the JSON answers."""
    async with asked(outer) as session:
        answers = []
        for method, path, body in requests:
            # aiohttp warns of large bodies unless they come as a file.
            sent = io.BytesIO(body.encode())
            async with session.request(method, path, data=sent) as response:
                answers.append(await response.json())
        return answers


def config(models: dict[str, Path]) -> Config:
    return Config((ModelConfig("half", models["half_plus_two"], max_batch_size=4),))


def test_models_are_served_under_the_prefix_beside_the_outer_routes(
    models: dict[str, Path],
) -> None:
    async def hello(_: web.Request) -> web.Response:
        return web.json_response("hello")

    outer = web.Application()
    outer.router.add_get("/hello", hello)
    outer.add_subapp("/ml", create_app(config(models)))
    predictions, greeting, wrong = asyncio.run(
        run_with(
            outer,
            ("POST", "/ml/v1/models/half:predict", '{"instances": [1.0, 2.0, 5.0]}'),
            ("GET", "/hello", ""),
            ("GET", "/ml/v1/models/half/nonsense", ""),
        )
    )
    assert predictions == {"predictions": [2.5, 3.0, 4.5]}
    assert greeting == "hello"
    assert wrong == {"error": "Malformed request: GET /v1/models/half/nonsense"}


def test_bodies_are_read_up_to_our_limit_and_not_the_frameworks(models: dict[str, Path]) -> None:
    framework_limit = 2**20
    padded = json.dumps({"instances": [1.0]}) + " " * framework_limit
    ask = ("POST", "/v1/models/half:predict", padded)
    (answer,) = asyncio.run(run_with(create_app(config(models)), ask))
    assert answer == {"predictions": [2.5]}
    small = Config(config(models).models, max_body_size=framework_limit)
    (refused,) = asyncio.run(run_with(create_app(small), ask))
    assert refused == {
        "error": f"the body is larger than the {framework_limit} bytes that this server reads"
    }


def test_every_header_of_an_answer_goes_out_once(models: dict[str, Path]) -> None:
    async def main() -> None:
        headers = {"X-Request-Id": "a", "Content-Type": "application/octet-stream"}
        async with asked(create_app(config(models))) as session:
            for method, path, sent, status in (
                ("POST", "/v1/models/half:predict", b"\0\0\x80?", 200),
                ("HEAD", "/livez", None, 200),
                ("POST", "/livez", None, 405),
                ("POST", "/v1/models/half:predict", b"{", 400),
            ):
                answer = await session.request(method, path, data=sent, headers=headers)
                assert answer.status == status
                counted = collections.Counter(name.lower() for name, _ in answer.raw_headers)
                assert set(counted.values()) == {1}
                assert ("allow" in answer.headers) == (status == 405)
            answer = await session.post(
                "/v1/models/half:predict", data=b"\0\0\x80?", headers=headers
            )
            assert await answer.read() == b"\0\0\x20@"
            assert answer.headers["X-Tensor-Shape"] == "1,1"
            assert answer.headers["X-Request-Id"] == "a"
            assert answer.headers["Server-Timing"].startswith("queue;dur=")

    asyncio.run(main())
