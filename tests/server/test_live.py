"""The live page's events over real HTTP: who may look, what they see, and how it ends."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from server import create_app
from server.adapters import aiohttp_stream
from server.adapters.aiohttp_server import HttpServer
from server.app import Application
from server.config import Config, ModelConfig
from server.exchange import Answer
from server.live.stream import MOST_VIEWERS
from server.tokens import make_token
from tests.server.by_hand import until

EVENTS = "/live/events"
PREDICT = "/v1/models/half:predict"


class Viewer:
    """Reads events as a browser does."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def block(self) -> list[str]:
        """The lines up to the next empty one; none at the end of the stream."""
        lines = []
        while line := (await self.response.content.readline()).decode().rstrip("\n"):
            lines.append(line)
        return lines

    async def event(self) -> dict[str, Any]:
        """The next event."""
        while lines := await self.block():
            for line in lines:
                if line.startswith("data: "):
                    told: dict[str, Any] = json.loads(line.removeprefix("data: "))
                    return told
        msg = "the stream has ended"
        raise EOFError(msg)

    async def until(self, good: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """The first event that is good."""
        while True:
            event = await self.event()
            if good(event):
                return event


class Live:
    """A server with sockets, and a client of it."""

    def __init__(self, application: Application, session: aiohttp.ClientSession) -> None:
        self.application = application
        self.session = session
        self.stream = application._stream
        self.feed = self.stream._feed

    @asynccontextmanager
    async def look(self, **headers: str) -> AsyncIterator[Viewer]:
        async with self.session.get(EVENTS, headers=headers) as response:
            assert response.status == 200, await response.text()
            yield Viewer(response)

    async def ask(self, *values: float) -> aiohttp.ClientResponse:
        async with self.session.post(PREDICT, json={"instances": list(values)}) as answer:
            await answer.read()
            return answer


@pytest.fixture(scope="module")
def half(models: dict[str, Path]) -> Config:
    model = ModelConfig("half", models["half_plus_two"], max_batch_size=4, allowed_batch_sizes=(4,))
    return Config((model,))


@asynccontextmanager
async def live(config: Config) -> AsyncIterator[Live]:
    application = Application(config)
    application.open()
    await application.start()
    http = HttpServer(application.front)
    try:
        async with asyncio.timeout(30):
            url = await http.open("127.0.0.1", 0)
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(url, connector=connector) as session:
                yield Live(application, session)
    finally:
        await application.drain()
        await http.close(1.0)
        application.close()


def at(config: Config, work: Callable[[Live], Coroutine[Any, Any, None]]) -> None:
    """Have a server for a test."""

    async def main() -> None:
        async with live(config) as server:
            await work(server)

    asyncio.run(main())


# --------------------------------------------------------------------------------------- looking


def test_a_viewer_sees_the_batches_of_others(half: Config) -> None:
    async def work(server: Live) -> None:
        async with server.look(Accept="text/event-stream") as viewer:
            assert viewer.response.content_type == "text/event-stream"
            assert await viewer.block() == ["retry: 1000"]
            await viewer.event()
            await server.ask(1.0, 2.0, 5.0)
            event = await viewer.until(lambda told: told["versions"][0]["batches"])
            (version,) = event["versions"]
            ((taken, run_time, *others),) = version["batches"]
            assert others == [3, 4, 1, "idle", 0]
            assert taken + run_time <= event["at"]
            assert version["sums"] | {"busy": 0} == {
                "batches": 1,
                "size": 3,
                "padded_size": 4,
                "busy": 0,
            }
            assert version["totals"]["answered"] == 1
            assert (version["model"], version["version"]) == ("half", 123)
            assert (event["phase"], event["viewers"], event["ended"]) == ("ready", 1, False)

    at(half, work)


def test_a_viewer_sees_where_the_time_of_requests_goes_and_their_errors(half: Config) -> None:
    async def work(server: Live) -> None:
        async with server.look() as viewer:
            await viewer.event()
            assert (await server.ask(1.0)).status == 200
            async with server.session.post(PREDICT, data=b"{}") as refused:
                assert refused.status == 400
            async with server.session.get("/nowhere"):
                pass
            event = await viewer.until(lambda told: "" in told["errors"])
            assert event["errors"][""] == {"NOT_FOUND": 1}

    at(half, work)


def test_stages_are_told_by_how_many_took_how_long(half: Config) -> None:
    async def work(server: Live) -> None:
        async with server.look() as viewer:
            await viewer.event()
            await server.ask(1.0)
            event = await viewer.until(lambda told: told["versions"][0]["stages"])
            stages = event["versions"][0]["stages"]
            assert list(stages) == ["read", "queue", "run", "write", "total"]
            assert all(sum(many for _, many in steps) == 1 for steps in stages.values())

    at(half, work)


def test_the_whole_time_has_what_lies_between_the_stages_as_well(half: Config) -> None:
    async def work(server: Live) -> None:
        server.feed.watched = True
        await server.ask(1.0)
        (times,) = server.feed.take().versions["half", 123].times
        assert times.total > times.read + times.queue + times.run + times.write

    at(half, work)


def test_without_viewers_nothing_is_taken_down(half: Config) -> None:
    async def work(server: Live) -> None:
        await server.ask(1.0)
        assert server.feed.take().versions == {}
        async with server.look() as viewer:
            await viewer.event()
        await until(lambda: not server.stream.viewers)
        assert not server.feed.watched
        await server.ask(1.0)
        assert server.feed.take().versions == {}

    at(half, work)


def test_each_viewer_keeps_one_connection_and_those_too_many_are_sent_away(half: Config) -> None:
    async def work(server: Live) -> None:
        viewers = [await server.session.get(EVENTS) for _ in range(MOST_VIEWERS)]
        await until(lambda: server.stream.viewers == MOST_VIEWERS)
        async with server.session.get(EVENTS) as refused:
            assert refused.status == 503
            assert refused.headers["Retry-After"] == "1"
            assert "16 pages look already" in (await refused.json())["error"]
        viewers[0].close()
        await until(lambda: server.stream.viewers < MOST_VIEWERS)
        async with server.look() as viewer:
            await viewer.event()
        for each in viewers:
            each.close()

    at(half, work)


def test_head_tells_what_events_are_and_looks_at_none(half: Config) -> None:
    async def work(server: Live) -> None:
        async with server.session.head(EVENTS) as told:
            assert (told.status, told.content_type) == (200, "text/event-stream")
        async with server.session.post(EVENTS) as refused:
            assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD")
        assert server.stream.viewers == 0

    at(half, work)


def test_events_need_a_token_where_there_are_any(half: Config) -> None:
    secret, token = make_token("reader")

    async def work(server: Live) -> None:
        async with server.session.get(EVENTS) as refused:
            assert refused.status == 401
        async with server.session.post("/live/burst?model=half&version=123") as refused:
            assert refused.status == 401
        async with server.session.get("/") as page:
            assert page.status == 200
        async with server.look(Authorization=f"Bearer {secret}") as viewer:
            await viewer.event()

    at(Config(half.models, tokens=(token,)), work)


# --------------------------------------------------------------------------------------- the end


def test_the_last_event_says_that_the_server_ends(half: Config) -> None:
    async def work(server: Live) -> None:
        async with server.look() as viewer:
            await viewer.event()
            draining = asyncio.create_task(server.application.drain())
            last = await viewer.until(lambda told: told["ended"])
            assert last["phase"] == "the server is shutting down"
            assert await viewer.response.content.read() == b""
            await draining
            async with server.session.get(EVENTS) as refused:
                assert refused.status == 503

    at(half, work)


def test_who_does_not_read_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiohttp_stream, "UNREAD_SECONDS", 0.0)
    more_than_sockets_hold = b"." * 2**26

    async def main() -> None:
        closed = asyncio.Event()

        async def parts() -> AsyncGenerator[bytes, None]:
            try:
                while True:
                    yield more_than_sockets_hold
            finally:
                closed.set()

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            return await aiohttp_stream.stream(request, Answer(200, b"", more=parts()))

        runner = web.ServerRunner(web.Server(handle))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection(*runner.addresses[0])
            writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            await closed.wait()
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await reader.readexactly(len(more_than_sockets_hold))
            writer.close()
        await runner.cleanup()

    asyncio.run(main())


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_mounted_server_streams_behind_its_prefix(half: Config, *, cancelled: bool) -> None:
    async def main() -> None:
        outer = web.Application()
        outer.add_subapp("/ml", create_app(half))
        runner = web.AppRunner(outer, handler_cancellation=cancelled, shutdown_timeout=30.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        async with (
            asyncio.timeout(20),
            aiohttp.ClientSession(f"http://{host}:{port}") as session,
            session.get(f"/ml{EVENTS}") as gone,
            session.get(f"/ml{EVENTS}") as response,
        ):
            viewer = Viewer(response)
            await viewer.until(lambda told: told["viewers"] == 2)
            gone.close()
            await viewer.until(lambda told: told["viewers"] == 1)
            ending = asyncio.create_task(runner.cleanup())
            assert (await viewer.until(lambda told: told["ended"]))["phase"]
            await ending

    asyncio.run(main())
