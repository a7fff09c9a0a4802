"""The recipe for PyTorch, run and served as it stands."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

torch = pytest.importorskip("torch", reason="has its own environment: .ci/frameworks/run")

from tests.recipes.pages import blocks, exchanges, written
from tests.server.process import ServerProcess

SERVED = "http://127.0.0.1:8501"


@pytest.fixture
def tagger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.chdir(tmp_path)
    with written("pytorch", tmp_path) as modules:
        yield modules["tagger"]


@pytest.mark.usefixtures("tagger")
def test_it_prints_what_the_page_says() -> None:
    (command, shown), _ = exchanges("pytorch")
    assert command == "pip install torch\npython tagger.py\n"
    ended = subprocess.run(
        [sys.executable, "tagger.py"], capture_output=True, text=True, check=True
    )
    assert ended.stdout == shown


def test_texts_of_all_lengths_get_the_tags_that_they_get_alone(tagger: ModuleType) -> None:
    texts = [[1 + (n * k) % 999 for k in range(n)] for n in range(1, 201)]
    ran: list[int] = []
    tagger.network.register_forward_hook(lambda _, given, __: ran.append(given[0].numel()))

    async def main() -> list[list[int]]:
        async with tagger.tagging() as batcher:
            return list(await asyncio.gather(*[batcher.submit(text) for text in texts]))

    tags = asyncio.run(main())
    # Beside the cost nothing keeps them apart: 200 rows in batches of 64 would be 4.
    assert 4 < len(ran) - 1 < 20
    assert max(ran) <= tagger.MAX_TOKENS
    assert tags == [tagger.network(torch.tensor([text]))[0].tolist() for text in texts]


@pytest.mark.usefixtures("tagger")
def test_it_is_served_as_the_page_says() -> None:
    _, (command, shown) = exchanges("pytorch")
    (line,) = [block for block in blocks("pytorch", "sh") if block.startswith("batcher-server")]
    with ServerProcess(*line.split()[1:]) as server:
        asked = command.replace(SERVED, server.url)
        answer = subprocess.run(asked, shell=True, capture_output=True, check=True, text=True)
    assert answer.stdout == shown.rstrip("\n")
