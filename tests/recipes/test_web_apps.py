"""FastAPI, Starlette, aiohttp: the app of each page answers in batches and refuses as it says."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from batcher import Batcher
from tests.recipes.pages import exchanges, written
from tests.recipes.serving import Held, Served, aiohttp_served, pasted, uvicorn_served
from tests.server.by_hand import until

RED = {"colours": [[255, 0, 0]]}
COLOURS = {
    "black": [0, 0, 0],
    "white": [255, 255, 255],
    "red": [255, 0, 0],
    "green": [0, 128, 0],
    "blue": [0, 0, 255],
    "yellow": [255, 255, 0],
}


@dataclass
class Running:
    """An app on its server, and what is inside."""

    server: Served
    batcher: Batcher[Any, Any]
    model: Held

    @property
    def client(self) -> httpx.AsyncClient:
        return self.server.client

    async def ask(self, question: Any = RED) -> httpx.Response:
        return await self.client.post("/nearest", json=question)

    async def occupied(self) -> "asyncio.Task[httpx.Response]":
        """Let the model be busy with one request."""
        first = asyncio.create_task(self.ask())
        await self.model.entered()
        return first


@asynccontextmanager
async def running(module: ModuleType, model: Any = None) -> AsyncIterator[Running]:
    """The app of a module, whose model is held until it is let go; nobody is late meanwhile."""
    module.TIMEOUT = 60.0  # type: ignore[attr-defined]
    held = module.model = Held(model or module.model)  # type: ignore[attr-defined]
    if hasattr(module, "create"):
        app = module.create()
        async with aiohttp_served(app) as server:
            yield Running(server, app[module.BATCHER], held)
    else:
        async with uvicorn_served(module.app) as server:
            yield Running(server, module.app.state.batcher, held)


@pytest.fixture(params=["fastapi", "starlette", "aiohttp"])
def page(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def module(page: str, tmp_path: Path) -> Any:
    with written(page, tmp_path) as modules:
        yield modules["colours"]


def test_the_request_is_answered_as_printed(page: str, module: ModuleType) -> None:
    async def main() -> None:
        async with running(module) as app:
            app.model.let_go()
            ((command, answer),) = exchanges(page)
            assert await pasted(command, app.client) == answer.rstrip("\n")

    asyncio.run(main())


def test_callers_share_batches_and_get_their_own_answers(module: ModuleType) -> None:
    names = [*COLOURS] * 20

    async def main() -> None:
        async with running(module) as app:
            first = await app.occupied()
            questions = [{"colours": [COLOURS[name]]} for name in names]
            asking = [asyncio.create_task(app.ask(question)) for question in questions]
            await until(lambda: app.batcher.stats().queued_rows == len(names))
            app.model.let_go()
            answers = [(await each).json() for each in asking]
            assert answers == [{"names": [name]} for name in names]
            assert (await first).json() == {"names": ["red"]}
            # One alone, then 64 of the 120, then the rest.
            assert app.batcher.stats().batches == 3

    asyncio.run(main())


def test_whoever_finds_the_queue_full_is_told_to_come_again(module: ModuleType) -> None:
    many = {"colours": RED["colours"] * 64}

    async def main() -> None:
        async with running(module) as app:
            first = await app.occupied()
            full = app.batcher.max_queue_size
            waiting = [asyncio.create_task(app.ask(many)) for _ in range(full // 64)]
            await until(lambda: app.batcher.stats().queued_rows == full)
            refused = await app.ask()
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
            assert "max_queue_size" in refused.text
            app.model.let_go()
            answers = await asyncio.gather(first, *waiting)
            assert {answer.status_code for answer in answers} == {200}

    asyncio.run(main())


def test_whoever_waits_too_long_is_told_so(module: ModuleType) -> None:
    async def main() -> None:
        async with running(module) as app:
            first = await app.occupied()
            module.TIMEOUT = 0.01  # type: ignore[attr-defined]
            late = await app.ask()
            assert late.status_code == 504
            app.model.let_go()
            assert (await first).status_code == 200
            assert app.batcher.stats().expired == 1

    asyncio.run(main())


def test_a_client_that_hangs_up_does_not_disturb_its_neighbours(
    page: str, module: ModuleType
) -> None:
    async def main() -> None:
        async with running(module) as app:
            first = await app.occupied()
            asking = [asyncio.create_task(app.ask()) for _ in range(3)]
            await until(lambda: app.batcher.stats().queued_rows == len(asking))
            asking[1].cancel()
            if page != "fastapi":
                await until(lambda: app.batcher.stats().cancelled == 1)
                assert app.batcher.stats().queued_rows == 2
            app.model.let_go()
            answers = await asyncio.gather(first, asking[0], asking[2])
            assert [answer.json() for answer in answers] == [{"names": ["red"]}] * 3
            # Of the app that is not told the row runs all the same.
            assert app.batcher.stats().answered == (4 if page == "fastapi" else 3)

    asyncio.run(main())


def test_who_was_accepted_is_answered_when_the_app_stops(module: ModuleType) -> None:
    async def main() -> None:
        async with running(module) as app:
            first = await app.occupied()
            asking = [asyncio.create_task(app.ask()) for _ in range(3)]
            await until(lambda: app.batcher.stats().queued_rows == len(asking))
            app.server.stop()
            await until(app.server.is_closed)
            app.model.let_go()
            answers = await asyncio.gather(first, *asking)
            assert [answer.json() for answer in answers] == [{"names": ["red"]}] * 4

    asyncio.run(main())


def test_a_model_that_fails_keeps_its_reasons_to_the_log(module: ModuleType) -> None:
    def broken(rows: Any) -> Any:
        if (rows == 255).all():
            msg = "a secret"
            raise ValueError(msg)
        return rows[:, 0].astype(int)

    async def main() -> None:
        async with running(module, broken) as app:
            app.model.let_go()
            failed = await app.ask({"colours": [[255, 255, 255]]})
            assert failed.status_code == 500
            assert "secret" not in failed.text
            assert (await app.ask({"colours": [[1, 0, 0]]})).json() == {"names": ["white"]}

    asyncio.run(main())


@pytest.mark.parametrize("state", ["draining", "stuck"])
def test_what_cannot_answer_says_so(module: ModuleType, state: str) -> None:
    async def main() -> None:
        async with running(module) as app:
            if state == "draining":
                await app.batcher.close()
            else:
                app.batcher._executor.lose_slot()
            assert (await app.ask()).status_code == 503
            app.model.let_go()

    asyncio.run(main())


BAD = [
    "no JSON",
    "[]",
    "{}",
    '{"colours": []}',
    '{"colours": [[1, 2]]}',
    '{"colours": [[1, 2, 3], [1, 2]]}',
    '{"colours": [["red", 2, 3]]}',
    json.dumps({"colours": [[1, 2, 3]] * 65}),
]
NAN = '{"colours": [[NaN, 2, 3]]}'


def test_bad_rows_never_reach_a_batch(page: str, module: ModuleType) -> None:
    # FastAPI's own 422 repeats what it refuses, and JSON has no NaN.
    expected = [400] * len(BAD) + [400] if page != "fastapi" else [422] * len(BAD) + [500]

    async def main() -> None:
        async with running(module) as app:
            app.model.let_go()
            headers = {"Content-Type": "application/json"}
            got = [
                await app.client.post("/nearest", content=body, headers=headers)
                for body in [*BAD, NAN]
            ]
            assert [answer.status_code for answer in got] == expected
            assert app.batcher.stats().accepted == 0

    asyncio.run(main())
