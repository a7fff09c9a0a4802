"""The recipe for JAX, run as it stands: few shapes are compiled, all before the first caller."""

import asyncio
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="has its own environment: .ci/frameworks/run")

from tests.recipes.pages import exchanges, written


def test_it_prints_what_the_page_says(tmp_path: Path) -> None:
    with written("jax", tmp_path):
        ((command, shown),) = exchanges("jax")
        assert command == "pip install jax\npython flowers.py\n"
        ended = subprocess.run(
            [sys.executable, "flowers.py"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
    assert ended.stdout == shown


def test_callers_find_everything_compiled(tmp_path: Path) -> None:
    async def main() -> None:
        async with flowers.classifying() as batcher:
            compiled = flowers.classify._cache_size()
            assert compiled == len(flowers.SIZES)
            for callers in (1, 2, 5, 17, 64, 100):
                rows = np.random.default_rng(callers).random((callers, 1, 4)).astype("float32")
                answers = await asyncio.gather(*[batcher.submit(row) for row in rows])
                direct = jax.nn.softmax(jax.numpy.tanh(rows[:, 0]) @ flowers.WEIGHTS)
                np.testing.assert_allclose(np.concatenate(answers), direct, rtol=1e-5)
            assert flowers.classify._cache_size() == compiled

    with written("jax", tmp_path) as modules:
        flowers = modules["flowers"]
        asyncio.run(main())
