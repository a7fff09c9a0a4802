"""Metrics, tests of apps, and models that share a device: their pages run as they stand."""

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tests.recipes.pages import FOLDER, exchanges, files, written
from tests.recipes.serving import Held, pasted, uvicorn_serves
from tests.server.by_hand import until

ROOT = FOLDER.parents[2]


def run_in(folder: Path, *arguments: str) -> str:
    """What a Python prints that finds the library, run to its end in a folder."""
    ended = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_batches_are_counted(tmp_path: Path) -> None:
    async def main(module: ModuleType) -> None:
        held = module.model = Held(module.model)  # type: ignore[attr-defined]
        async with uvicorn_serves(module.app) as client:

            async def shown() -> dict[str, float]:
                lines = (await client.get("/metrics")).text.splitlines()
                told = [line.rpartition(" ") for line in lines if not line.startswith("#")]
                return {name: float(value) for name, _, value in told}

            first = asyncio.create_task(pasted(exchanges("metrics")[0][0], client))
            await held.entered()
            more = [asyncio.create_task(client.post("/sum", json=[n, 1, 2])) for n in range(5)]
            await until(lambda: module.app.state.batcher.stats().queued_rows == 5)
            assert (await shown())["batch_waiting_rows"] == 5
            held.let_go()
            assert await first == exchanges("metrics")[0][1].rstrip("\n")
            assert [(await answer).json() for answer in more] == [n + 3 for n in range(5)]
            metrics = await shown()
            assert metrics["batch_waiting_rows"] == metrics["batch_failed_requests_total"] == 0
            assert (metrics["batch_rows_sum"], metrics["batch_rows_count"]) == (6, 2)
            assert metrics['batches_total{reason="idle"}'] == 2

    with written("metrics", tmp_path) as modules:
        asyncio.run(main(modules["watched"]))


def test_the_metrics_are_shown_as_printed(tmp_path: Path) -> None:
    async def main(module: ModuleType) -> None:
        async with uvicorn_serves(module.app) as client:
            for command, answer in exchanges("metrics"):
                assert (await pasted(command, client)).rstrip("\n") == answer.rstrip("\n")

    with written("metrics", tmp_path) as modules:
        asyncio.run(main(modules["watched"]))


def test_the_tests_pass(tmp_path: Path) -> None:
    for name, source in files("testing").items():
        (tmp_path / name).write_text(source)
    out = run_in(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_pricing.py")
    assert "4 passed" in out


def test_a_pipeline_prints_what_the_page_says(tmp_path: Path) -> None:
    (tmp_path / "pipeline.py").write_text(files("two_models")["pipeline.py"])
    ((command, answer),) = exchanges("two_models")
    assert command == "python pipeline.py\n"
    assert run_in(tmp_path, "pipeline.py") == answer


def test_models_of_one_device_run_one_at_a_time_on_one_thread(tmp_path: Path) -> None:
    ran: list[tuple[str, int, str]] = []

    def noted(function: Any) -> Any:
        def call(rows: Any) -> Any:
            ran.append((function.__name__, len(rows), threading.current_thread().name))
            return function(rows)

        return call

    async def main(module: ModuleType) -> None:
        module.crop, module.side = noted(module.crop), noted(module.side)  # type: ignore[attr-defined]
        pictures = np.random.default_rng(1).random((100, 8, 8))
        async with module.pipeline() as steps:
            await asyncio.gather(*[steps.name(picture) for picture in pictures])
        sizes = [(name, rows) for name, rows, _ in ran]
        assert sorted(sizes) == [("crop", 36), ("crop", 64), ("side", 36), ("side", 64)]
        assert {thread for _, _, thread in ran} == {"device"}

    with written("two_models", tmp_path) as modules:
        asyncio.run(main(modules["pipeline"]))
