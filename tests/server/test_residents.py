"""Models are loaded, replaced and unloaded while requests come: real models, changed in place."""

import asyncio
import json
import shutil
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict
from structlog.testing import capture_logs
from structlog.typing import EventDict

from batcher import Executor
from server.app import Application
from server.config import Config, ModelConfig
from server.errors import Aborted, FailedPrecondition, NotFound, StartupError, Unavailable
from server.exchange import Exchange
from server.inference import ModelAddress, ServedModel, VersionState
from server.live.feed import Feed
from server.loading import Loaded, Loader, Order
from server.metrics import Metrics
from server.repository import Repository
from server.residents import Residents
from server.runtime import Runtime
from server.threads import ModelThreads
from tests.server import saved_models
from tests.server.by_hand import until
from tests.server.test_metrics import samples

Work = Callable[[Application], Coroutine[Any, Any, None]]

TURNS_OF_THE_LOOP = 100


@pytest.fixture
def base(models: dict[str, Path], tmp_path: Path) -> Path:
    """A base folder of its own, with version 1: y = x / 2 + 2."""
    shutil.copytree(models["half_plus_two"] / "123", tmp_path / "half" / "1")
    return tmp_path / "half"


@pytest.fixture(scope="session")
def half_plus_three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What version 2 becomes: y = x / 2 + 3."""
    base = tmp_path_factory.mktemp("half_plus_three")
    saved_models.save(
        base,
        2,
        {"serving_default": (lambda x: {"y": x * 0.5 + 3.0}, {"x": ("float32", [None, 1])})},
    )
    return base / "2"


def with_application(base: Path, work: Work, **options: Any) -> list[EventDict]:
    """Run a test on a started server of the model `half`; what it wrote to its log."""

    async def main() -> None:
        async with application(base, **options) as app:
            await work(app)

    with capture_logs() as entries:
        asyncio.run(main())
    return entries


@asynccontextmanager
async def application(base: Path, **options: Any) -> AsyncIterator[Application]:
    app = Application(Config((ModelConfig("half", base, max_batch_size=4, **options),)))
    app.open()
    await app.start()
    try:
        yield app
    finally:
        await app.drain()
        app.close()


async def ask(app: Application, *values: float, at: str = "") -> tuple[int, Any]:
    """Status and answer of a request for the predictions of some rows."""
    body = json.dumps({"instances": list(values)}).encode()
    target = f"/v1/models/half{at}:predict"
    answer = await app.front.handle(Exchange("POST", target, CIMultiDict(), body))
    return answer.status, json.loads(answer.body).get("predictions")


def states(app: Application) -> list[tuple[int, str]]:
    told = app._upkeep._repository.states(ModelAddress("half"))
    return [(state.version, state.state) for state in told]


@contextmanager
def held(executor: Executor) -> Iterator[Callable[[], None]]:
    """Keep a thread busy until the block calls what it is given, or ends."""
    gate = threading.Event()
    holding = asyncio.get_running_loop().create_task(executor.call(lambda _: gate.wait(), None))
    try:
        yield gate.set
    finally:
        gate.set()
        assert holding


async def a_while() -> None:
    """Let everything happen that needs no thread."""
    for _ in range(TURNS_OF_THE_LOOP):
        await asyncio.sleep(0)


def loader(app: Application) -> Executor:
    return app._upkeep._updates._loader._thread


# ------------------------------------------------------------------------------------------ loading


def test_requests_are_answered_while_the_same_version_loads_anew(base: Path) -> None:
    answers: list[tuple[int, Any]] = []

    async def until_more(count: int) -> None:
        goal = len(answers) + count
        await until(lambda: len(answers) >= goal)

    async def change(app: Application) -> None:
        before = app._serving.find(ModelAddress("half"))
        with held(loader(app)) as release:
            loading = asyncio.create_task(app._upkeep.load("half"))
            await until_more(100)
            assert not loading.done()
            assert states(app) == [(1, "AVAILABLE")]
            release()
            await loading
        assert app._serving.find(ModelAddress("half")) is not before
        assert states(app) == [(1, "AVAILABLE")]
        await until_more(100)

    async def work(app: Application) -> None:
        async def client() -> None:
            while not changing.done():
                answers.append(await ask(app, 1.0, 2.0))

        changing = asyncio.create_task(change(app))
        await asyncio.gather(*[client() for _ in range(8)])
        await changing

    with_application(base, work)
    assert set(map(str, answers)) == {"(200, [2.5, 3.0])"}


def test_a_newer_version_takes_over_and_the_older_one_ends(
    base: Path, half_plus_three: Path
) -> None:
    async def work(app: Application) -> None:
        shutil.copytree(half_plus_three, base / "2")
        with held(loader(app)) as release:
            loading = asyncio.create_task(app._upkeep.load("half"))
            await until(lambda: states(app) == [(2, "LOADING"), (1, "AVAILABLE")])
            assert await ask(app, 1.0) == (200, [2.5])
            release()
            await loading
        assert states(app) == [(2, "AVAILABLE"), (1, "END")]
        assert await ask(app, 1.0) == (200, [3.5])
        assert await ask(app, 1.0, at="/versions/1") == (404, None)

    entries = with_application(base, work)
    told = [(entry["event"], entry.get("version")) for entry in entries]
    assert told == [("model loaded", 1), ("model loaded", 2), ("model unloaded", 1)]


def test_accepted_requests_of_the_older_version_are_answered_by_it(
    base: Path, half_plus_three: Path
) -> None:
    async def work(app: Application) -> None:
        shutil.copytree(half_plus_three, base / "2")
        # They wait for a fourth, which comes too late; the end of their version ends the wait.
        accepted = [asyncio.create_task(ask(app, 1.0)) for _ in range(3)]
        await app._upkeep.load("half")
        assert [await each for each in accepted] == [(200, [2.5])] * 3
        assert await ask(app, *[1.0] * 4) == (200, [3.5] * 4)

    with_application(base, work, batch_timeout=600.0)


@pytest.mark.parametrize(
    ("replace", "at", "expected"),
    [(True, "", (200, 3.5)), (True, "/versions/1", (404, None)), (False, "", (404, None))],
    ids=["newest", "gone version", "unloaded"],
)
def test_a_request_whose_model_is_replaced_while_it_is_read_is_read_anew(
    base: Path, half_plus_three: Path, *, replace: bool, at: str, expected: tuple[int, Any]
) -> None:
    async def work(app: Application) -> None:
        with held(app._codec) as release:
            large = asyncio.create_task(ask(app, *[1.0] * 15_000, at=at))
            await a_while()
            if replace:
                shutil.copytree(half_plus_three, base / "2")
                await app._upkeep.load("half")
            else:
                await app._upkeep.unload("half")
            assert not large.done()
            release()
            status, predictions = await large
        assert (status, predictions and predictions[-1]) == expected

    with_application(base, work)


def test_a_load_goes_on_when_whoever_asked_for_it_has_gone(base: Path) -> None:
    async def work(app: Application) -> None:
        before = app._serving.find(ModelAddress("half"))
        with held(loader(app)) as release:
            asked = asyncio.create_task(app._upkeep.load("half"))
            await a_while()
            asked.cancel()
            await asyncio.wait({asked})
            with pytest.raises(Aborted):
                await app._upkeep.load("half")
            change = app._upkeep._changes._running["half"]
            release()
            await change
        assert asked.cancelled()
        assert app._serving.find(ModelAddress("half")) is not before

    with_application(base, work)


@pytest.mark.parametrize("change", ["load", "unload"])
def test_a_model_that_was_not_configured_is_not_found(base: Path, change: str) -> None:
    async def work(app: Application) -> None:
        with pytest.raises(NotFound, match="'other' is not configured here; there are 'half'"):
            await getattr(app._serving, change)("other")

    with_application(base, work)


# ---------------------------------------------------------------------------------- what goes wrong


def break_newer(base: Path) -> None:
    (base / "2").mkdir()
    (base / "2" / "saved_model.pb").write_bytes(b"this is no protobuf")


def break_in_place(base: Path) -> None:
    (base / "1" / "saved_model.pb").write_bytes(b"this is no protobuf")


def remove(base: Path) -> None:
    shutil.rmtree(base)


@pytest.mark.parametrize(
    ("spoil", "told", "after"),
    [
        (break_newer, "cannot load the SavedModel", [(2, "END"), (1, "AVAILABLE")]),
        (break_in_place, "cannot load the SavedModel", [(1, "AVAILABLE")]),
        (remove, "does not exist", [(1, "AVAILABLE")]),
    ],
)
def test_what_does_not_load_leaves_what_served_and_can_be_mended(
    models: dict[str, Path],
    base: Path,
    spoil: Callable[[Path], None],
    told: str,
    after: list[tuple[int, str]],
) -> None:
    async def work(app: Application) -> None:
        spoil(base)
        with pytest.raises(FailedPrecondition, match=told):
            await app._serving.load("half")
        assert states(app) == after
        assert await ask(app, 1.0) == (200, [2.5])
        shutil.rmtree(base, ignore_errors=True)
        shutil.copytree(models["half_plus_two"] / "123", base / "3")
        await app._serving.load("half")
        assert states(app) == [(3, "AVAILABLE"), *after[:-1], (1, "END")]
        assert await ask(app, 1.0) == (200, [2.5])

    entries = with_application(base, work)
    (entry,) = [entry for entry in entries if entry["log_level"] == "error"]
    assert entry["event"] == "model not loaded"
    assert told in entry["error"]


def test_the_state_of_what_does_not_load_says_why(base: Path) -> None:
    async def work(app: Application) -> None:
        break_newer(base)
        with pytest.raises(FailedPrecondition) as told:
            await app._serving.load("half")
        (state,) = app._serving.states(ModelAddress("half", 2))
        assert state == VersionState(2, "END", str(told.value))
        assert str(base / "2") in state.error

    with_application(base, work)


class Wordless(Loader):
    """Loads nothing, and does not say why."""

    async def load(self, order: Order, executor: Executor) -> Loaded:
        raise StartupError


def test_what_does_not_load_has_failed_even_if_the_error_says_nothing(tmp_path: Path) -> None:
    repository, threads = Repository(), ModelThreads()
    residents = Residents(
        repository, Metrics(), threads, Wordless(), Feed(), runtime=Runtime(), drain_timeout=1.0
    )

    async def main() -> None:
        with pytest.raises(StartupError):
            await residents.load(ModelConfig("half", tmp_path), 1, tmp_path)
        threads.end()

    asyncio.run(main())
    assert repository.states(ModelAddress("half")) == [VersionState(1, "END")]


# ---------------------------------------------------------------------------------------- unloading


def test_unloading_refuses_new_requests_and_answers_the_accepted_ones(base: Path) -> None:
    async def work(app: Application) -> None:
        with held(app._threads.of("")) as release:
            accepted = [asyncio.create_task(ask(app, value)) for value in (1.0, 2.0, 5.0)]
            await a_while()
            unloading = asyncio.create_task(app._serving.unload("half"))
            await a_while()
            assert states(app) == [(1, "UNLOADING")]
            assert await ask(app, 1.0) == (404, None)
            for change in (app._serving.load, app._serving.unload):
                with pytest.raises(Aborted, match="'half' is being loaded or unloaded already"):
                    await change("half")
            assert not unloading.done()
            release()
            answers = [await each for each in accepted]
            await unloading
        assert answers == [(200, [2.5]), (200, [3.0]), (200, [4.5])]
        assert states(app) == [(1, "END")]
        await app._serving.unload("half")  # There is nothing to do.
        await app._serving.load("half")
        assert states(app) == [(1, "AVAILABLE")]
        assert await ask(app, 1.0) == (200, [2.5])

    with_application(base, work)


def test_counters_never_fall_and_nothing_waits_after_a_change(base: Path) -> None:
    async def scraped(app: Application, name: str) -> dict[tuple[str, ...], float]:
        answer = await app.front.handle(Exchange("GET", "/metrics", CIMultiDict(), b""))
        return samples(answer.body, name)

    async def work(app: Application) -> None:
        for answered in range(1, 4):
            await ask(app, 1.0)
            counted = await scraped(app, "batcher_queued_requests_total")
            assert counted["answered", "half", "1"] == answered
            await app._serving.load("half")
        await app._serving.unload("half")
        counted = await scraped(app, "batcher_queued_requests_total")
        assert counted["answered", "half", "1"] == 3
        assert await scraped(app, "batcher_queue_rows") == {}

    with_application(base, work)


@pytest.mark.parametrize("change", ["load", "unload"])
def test_a_model_that_was_let_go_leaves_the_memory(base: Path, change: str) -> None:
    async def work(app: Application) -> None:
        (endpoint,) = app._upkeep._repository.versions("half")
        runner: Any = endpoint.batcher._function
        loaded = runner._model._kept
        graph = weakref.ref(loaded.signatures["serving_default"].graph)
        assert graph() is not None
        del endpoint, runner, loaded
        await getattr(app._serving, change)("half")
        assert graph() is None

    with_application(base, work)


# ----------------------------------------------------------------------------- beginning and ending


def test_nothing_changes_before_the_server_is_ready_or_when_it_ends(base: Path) -> None:
    async def main() -> None:
        app = Application(Config((ModelConfig("half", base),)))
        app.open()
        for change in (app._serving.load, app._serving.unload):
            with pytest.raises(Unavailable, match="the server is starting"):
                await change("half")
        await app.start()
        await app.drain()
        for change in (app._serving.load, app._serving.unload):
            with pytest.raises(Unavailable, match="the server is shutting down"):
                await change("half")
        app.close()

    asyncio.run(main())


def test_a_load_is_given_up_when_the_server_ends(base: Path, half_plus_three: Path) -> None:
    async def work(app: Application) -> None:
        shutil.copytree(half_plus_three, base / "2")
        with held(loader(app)):
            loading = asyncio.create_task(app._serving.load("half"))
            await a_while()
            await app.drain()
            with pytest.raises(Unavailable, match="given up: the server is shutting down"):
                await loading
            told = "the load was given up: the server is shutting down"
            (state,) = app._serving.states(ModelAddress("half", 2))
            assert state == VersionState(2, "END", told)
        assert [e.served.version for e in app._upkeep._repository.endpoints()] == [1]

    async def main() -> None:
        app = Application(Config((ModelConfig("half", base),)))
        app.open()
        await app.start()
        await work(app)
        app.close()

    asyncio.run(main())


def test_a_load_that_has_just_been_asked_for_is_given_up_too(base: Path) -> None:
    async def main() -> None:
        app = Application(Config((ModelConfig("half", base),)))
        app.open()
        await app.start()
        with held(loader(app)):
            loading = asyncio.create_task(app._upkeep.load("half"))
            await asyncio.sleep(0)  # The change has a task, which has not begun.
            async with asyncio.timeout(10):
                await app.drain()
            with pytest.raises(Unavailable, match="given up"):
                await loading
        app.close()

    asyncio.run(main())


def test_what_is_being_unloaded_when_the_server_ends_is_still_answered(base: Path) -> None:
    async def main() -> None:
        app = Application(Config((ModelConfig("half", base),)))
        app.open()
        await app.start()
        with held(app._threads.of("")) as release:
            accepted = asyncio.create_task(ask(app, 1.0))
            await a_while()
            unloading = asyncio.create_task(app._serving.unload("half"))
            await a_while()
            draining = asyncio.create_task(app.drain())
            await a_while()
            assert not draining.done()
            release()
            assert await accepted == (200, [2.5])
            await unloading
            await draining
        app.close()

    asyncio.run(main())


# ------------------------------------------------------------------------------------------- labels


def test_a_label_is_known_before_its_version_is_loaded(base: Path) -> None:
    async def main() -> None:
        app = Application(Config((ModelConfig("half", base, labels={"stable": 1}),)))
        app.open()
        with held(loader(app)) as release:
            starting = asyncio.create_task(app.start())
            await until(lambda: app._serving.names() == ["half"])
            assert (await ask(app, 1.0, at="/labels/stable"))[0] == 503
            assert (await ask(app, 1.0, at="/labels/other"))[0] == 400
            release()
            await starting
        assert await ask(app, 1.0, at="/labels/stable") == (200, [2.5])
        await app.drain()
        app.close()

    asyncio.run(main())


def test_a_labelled_version_stays_and_the_operator_hears_when_there_is_none(
    base: Path, half_plus_three: Path
) -> None:
    async def work(app: Application) -> None:
        assert await ask(app, 1.0, at="/labels/stable") == (200, [2.5])
        assert (await ask(app, 1.0, at="/labels/next"))[0] == 404
        shutil.copytree(half_plus_three, base / "2")
        await app._serving.load("half")
        assert await ask(app, 1.0, at="/labels/stable") == (200, [2.5])
        assert await ask(app, 1.0, at="/labels/next") == (200, [3.5])
        assert await ask(app, 1.0) == (200, [3.5])

    entries = with_application(base, work, labels={"stable": 1, "next": 2})
    told = [(e["label"], e["version"]) for e in entries if e["log_level"] == "warning"]
    assert told == [("next", 2)]


def test_a_served_model_is_found_by_identity(base: Path) -> None:
    async def work(app: Application) -> None:
        served: ServedModel = app._serving.find(ModelAddress("half"))
        await app._serving.load("half")
        with pytest.raises(Unavailable, match="has just been unloaded"):
            app._upkeep._repository.endpoint(served)

    with_application(base, work)
