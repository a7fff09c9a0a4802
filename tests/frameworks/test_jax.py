"""JAX: the guide's recipe, answered as by JAX itself."""

import importlib
from pathlib import Path

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="has its own environment: .ci/frameworks/run")

from tests.guide import outputs, write

ROWS = np.random.default_rng(0).random((20, 4)).astype("float32")


def test_a_compiled_function_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("iris.npy", np.random.default_rng(1).random((4, 3)).astype("float32"))
    answered = outputs(write("iris", tmp_path), ROWS.tolist())
    direct = importlib.import_module("iris").classify(ROWS)
    assert isinstance(direct, jax.Array)
    np.testing.assert_allclose(answered, direct, rtol=1e-5)
