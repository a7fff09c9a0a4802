"""Versions come and go below a real server while clients ask it: copied, broken, labelled."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict
from structlog.testing import capture_logs

from server.app import Application
from server.config import Config, ModelConfig
from server.exchange import Exchange
from server.inference import ModelAddress
from server.versions import All
from tests.server import saved_models
from tests.server.by_hand import until
from tests.server.test_metrics import samples

CLIENTS = 8

VALUES = "variables/variables.data-00000-of-00001"

LOOK = 0.01
"""Seconds between two looks: short, as tests wait for them."""


def plus(base: Path, version: int) -> Path:
    """y = x / 2 + the number of the version: an answer shows who gave it."""
    row: saved_models.Inputs = {"x": ("float32", [None, 1])}
    saved_models.save(
        base, version, {"serving_default": (lambda x: {"y": x * 0.5 + float(version)}, row)}
    )
    return base / str(version)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 1 to 3, to be copied."""
    base = tmp_path_factory.mktemp("made")
    for version in (1, 2, 3):
        plus(base, version)
    return base


@pytest.fixture
def base(made: Path, tmp_path: Path) -> Path:
    """A base folder with version 1."""
    shutil.copytree(made / "1", tmp_path / "plus" / "1")
    return tmp_path / "plus"


@asynccontextmanager
async def application(base: Path, **options: Any) -> AsyncIterator[Application]:
    model = ModelConfig("plus", base, max_batch_size=4, **options)
    app = Application(Config((model,), poll_interval=LOOK))
    app.open()
    await app.start()
    try:
        yield app
    finally:
        await app.drain()
        app.close()


async def get(app: Application, target: str) -> Any:
    answer = await app.front.handle(Exchange("GET", target, CIMultiDict(), b""))
    return json.loads(answer.body)


async def ask(app: Application, at: str = "") -> tuple[int, float]:
    """Which version says that it answered, and what it answered for x = 1."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1.0]}
    body = json.dumps({"inputs": [tensor]}).encode()
    exchange = Exchange("POST", f"/v2/models/plus{at}/infer", CIMultiDict(), body)
    answer = json.loads((await app.front.handle(exchange)).body)
    assert "error" not in answer, answer
    return int(answer["model_version"]), answer["outputs"][0]["data"][0]


async def copy(version: Path, base: Path) -> None:
    """File by file, the one that makes it a model first, with time for many looks between."""
    target = base / version.name
    for name in ("saved_model.pb", "variables/variables.index", VALUES):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        content = (version / name).read_bytes()
        with (target / name).open("wb") as file:
            for half in (content[: len(content) // 2], content[len(content) // 2 :]):
                file.write(half)
                file.flush()
                await asyncio.sleep(LOOK / 2)


def test_versions_that_are_copied_in_take_over_without_an_error_or_a_wrong_answer(
    made: Path, base: Path
) -> None:
    answers: list[tuple[int, float]] = []

    async def main() -> None:
        async with application(base) as app:

            async def client() -> None:
                newest = 0
                while not changing.done():
                    version, value = await ask(app)
                    assert version >= newest  # Nobody goes back.
                    newest = version
                    answers.append((version, value))

            async def change() -> None:
                for version in (2, 3):
                    await copy(made / str(version), base)
                    await until(lambda version=version: answers[-1][0] == version)  # type: ignore[misc]

            changing = asyncio.create_task(change())
            await asyncio.gather(*[client() for _ in range(CLIENTS)])
            await changing

    with capture_logs() as entries:
        asyncio.run(main())
    assert set(answers) == {(1, 1.5), (2, 2.5), (3, 3.5)}
    assert [e for e in entries if e["log_level"] in {"warning", "error"}] == []


def test_what_does_not_load_is_in_status_metric_and_log_and_mends_itself(
    made: Path, base: Path
) -> None:
    async def main() -> None:
        async with application(base) as app:
            (base / "2").mkdir()
            (base / "2" / "saved_model.pb").write_bytes(b"this is no protobuf")
            find = app._serving.states
            await until(lambda: find(ModelAddress("plus"))[0].state == "END")
            assert await ask(app) == (1, 1.5)
            status = (await get(app, "/v1/models/plus"))["model_version_status"]
            told = {each["version"]: (each["state"], each["status"]) for each in status}
            assert told["1"][0] == "AVAILABLE"
            assert told["2"][0] == "END"
            assert str(base / "2") in told["2"][1]["error_message"]
            answer = await app.front.handle(Exchange("GET", "/metrics", CIMultiDict(), b""))
            loads = samples(answer.body, "batcher_model_loads_total")
            assert loads == {("plus", "loaded"): 1, ("plus", "failed"): 1}
            assert ("plus", "END", "2") in samples(answer.body, "batcher_model_state")

            await copy(made / "2", base)
            await until(lambda: find(ModelAddress("plus"))[0].state == "AVAILABLE")
            assert await ask(app) == (2, 2.5)

    with capture_logs() as entries:
        asyncio.run(main())
    assert len([e for e in entries if e["event"] == "model not loaded"]) >= 1


def test_all_versions_serve_beside_each_other(made: Path, base: Path) -> None:
    async def main() -> None:
        shutil.copytree(made / "2", base / "2")
        async with application(base, policy=All(), labels={"stable": 1}) as app:
            assert await ask(app) == (2, 2.5)
            assert await ask(app, "/versions/1") == (1, 1.5)
            shutil.copytree(made / "3", base / "3")
            await until(lambda: app._upkeep._repository.serves("plus", 3))
            assert [await ask(app, f"/versions/{v}") for v in (1, 2, 3)] == [
                (1, 1.5),
                (2, 2.5),
                (3, 3.5),
            ]

    asyncio.run(main())
