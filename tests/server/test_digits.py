"""The bundled model over real HTTP: 64 clients, held-out scans, each its own answer."""

import asyncio
import subprocess
import sys
from pathlib import Path

import aiohttp
import numpy as np

from server.demo import DIGITS
from server.demo.scans import held_out
from server.models import load
from tests.server.process import ServerProcess

CLIENTS = 64


async def ask_all(url: str, scans: list[list[list[float]]]) -> list[list[float]]:
    """One request a scan, from 64 clients that each have one under way at a time."""
    answers: list[list[float]] = [[] for _ in scans]
    places = iter(range(len(scans)))

    async def client(session: aiohttp.ClientSession) -> None:
        for place in places:
            body = {"instances": [scans[place]]}
            async with session.post(f"{url}/v1/models/digits:predict", json=body) as response:
                assert response.status == 200, await response.text()
                answers[place] = (await response.json())["predictions"][0]

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        await asyncio.gather(*[client(session) for _ in range(CLIENTS)])
    return answers


def test_held_out_scans_are_read_right_and_answered_as_by_tensorflow_itself(
    digits_server: ServerProcess,
) -> None:
    scans, labels = held_out()
    answers = np.array(asyncio.run(ask_all(digits_server.url, scans.tolist())), np.float32)
    model = load(DIGITS / "1")
    direct = [
        model.run("serving_default", {"images": scan[None]})["probabilities"][0] for scan in scans
    ]
    np.testing.assert_allclose(answers, np.array(direct), rtol=1e-5, atol=1e-5)
    right = (answers.argmax(axis=1) == labels).mean()
    assert right >= 0.98


def test_batches_form_under_concurrency(digits_server: ServerProcess) -> None:
    scans, _ = held_out()
    batches, rows = asyncio.run(_batches_and_rows(digits_server.url))
    asyncio.run(ask_all(digits_server.url, scans.tolist()))
    batches_after, rows_after = asyncio.run(_batches_and_rows(digits_server.url))
    assert rows_after - rows == len(scans)
    assert batches_after - batches < len(scans)


async def _batches_and_rows(url: str) -> tuple[float, float]:
    async with aiohttp.request("GET", f"{url}/metrics") as response:
        lines = (await response.text()).splitlines()
    seen = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    of = '{model="digits",version="1"}'
    return float(seen[f"batcher_batch_rows_count{of}"]), float(seen[f"batcher_batch_rows_sum{of}"])


def test_the_training_script_reaches_its_accuracy_again(tmp_path: Path) -> None:
    # A process of its own: training makes TensorFlow deterministic for the rest of a process.
    ended = subprocess.run(
        [sys.executable, "-m", "server.demo.train", "--out", str(tmp_path / "digits")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    accuracy = float(ended.stdout.partition("accuracy ")[2].partition("%")[0])
    assert accuracy >= 98.0
    size = sum(file.stat().st_size for file in DIGITS.rglob("*") if file.is_file())
    assert size < 300_000
