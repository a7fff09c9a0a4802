"""The recipe for Ray: its actor and its deployment, as they stand, answer from few batches."""

import json
import os
import re
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

ray: Any = pytest.importorskip("ray", reason="has its own environment: .ci/ray/run")

from ray import serve
from ray.serve.config import HTTPOptions

from batcher import BatcherClosed, QueueFull
from tests.recipes.pages import FOLDER, exchanges, written

SERVED = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ModuleType]]:
    """The files of the page, in a small cluster whose workers find them."""
    folder: Path = tmp_path_factory.mktemp("ray")
    with written("ray", folder) as written_modules:
        paths = os.pathsep.join([str(FOLDER.parents[2]), str(folder)])
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=100 * 2**20,
            runtime_env={"env_vars": {"PYTHONPATH": paths}},
            _node_ip_address="127.0.0.1",
        )
        yield written_modules
        serve.shutdown()
        ray.shutdown()


def test_it_prints_what_the_page_says(
    modules: dict[str, ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    modules["actor"].main()
    out, shown = capsys.readouterr().out, exchanges("ray")[0][1]
    # How many batches they are is for the machine to say.
    answered = re.compile(r"from (\d+) batches")
    assert answered.sub("", out) == answered.sub("", shown)
    assert 500 / 64 < int(answered.findall(out)[0]) < 50


@pytest.fixture
def actor(modules: dict[str, ModuleType]) -> Iterator[Any]:
    handle = modules["actor"].Model.remote()
    yield handle
    ray.kill(handle)


def test_whoever_finds_the_queue_full_is_told_so_on_the_other_side(actor: Any) -> None:
    many = np.ones((64, 3))
    ray.get(actor.ask.remote(many))
    told = []
    for call in [actor.ask.remote(many) for _ in range(400)]:
        try:
            assert ray.get(call).tolist() == [3.0] * 64
        except QueueFull as error:
            told.append(error.retry_after)
    # 16 batches may wait, each of which takes 20 ms.
    assert 0 < len(told) < 400 - 16
    assert min(told) > 0.2


def test_a_call_that_is_cancelled_touches_nobody_else(actor: Any) -> None:
    many = np.ones((64, 3))
    ray.get(actor.stats.remote())
    calls = [actor.ask.remote(many) for _ in range(16)]
    last = actor.ask.remote(many)
    ray.cancel(last)
    with pytest.raises((ray.exceptions.TaskCancelledError, ray.exceptions.RayTaskError)):
        ray.get(last)
    assert [answer.tolist() for answer in ray.get(calls)] == [[3.0] * 64] * 16
    assert ray.get(actor.stats.remote()).failed == 0


def test_it_is_there_again_after_a_restart(actor: Any) -> None:
    ray.get(actor.ask.remote(np.ones((1, 3))))
    ray.kill(actor, no_restart=False)
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(actor.ask.remote(np.ones((1, 3))))
    until_back = actor.ask.options(max_task_retries=-1).remote(np.ones((1, 3)))
    assert ray.get(until_back).tolist() == [3.0]


def test_whoever_comes_after_the_drain_is_refused(actor: Any) -> None:
    waiting = [actor.ask.remote(np.ones((1, 3))) for _ in range(100)]
    ray.get(waiting[0])
    assert ray.get(actor.drain.remote())
    with pytest.raises(BatcherClosed):
        ray.get(actor.ask.remote(np.ones((1, 3))))
    assert len(ray.get(waiting)) == 100


def test_the_deployment_answers_over_http(modules: dict[str, ModuleType]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/"
    serve.start(proxy_location="HeadOnly", http_options=HTTPOptions(host="127.0.0.1", port=port))
    serve.run(modules["served"].app)

    def ask(body: Any) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(url, json.dumps(body).encode()) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    with ThreadPoolExecutor(50) as callers:
        answers = list(callers.map(ask, [{"rows": [[n, 1, 2]]} for n in range(200)]))
    assert answers == [(200, {"sums": [n + 3.0]}) for n in range(200)]
    assert ask({})[0] == ask({"rows": [[1, 2]]})[0] == 400

    _, (command, shown) = exchanges("ray")
    asked = command.replace(SERVED + "/", url)
    answer = subprocess.run(asked, shell=True, capture_output=True, check=True, text=True)
    assert answer.stdout == shown.rstrip("\n")
