"""The guide to formats keeps its word: its recipes are served as they stand; it stays short.

Those of frameworks with an environment of their own are served in `tests/frameworks`.
"""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from server.demo.scans import held_out, training
from tests.guide import RECIPES, TEXT, answers, outputs, write


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in RECIPES.keys() & (set(sys.modules) - before):
        del sys.modules[name]


def test_it_is_short() -> None:
    assert len(TEXT.split()) < 1000


def test_every_recipe_is_served_by_a_test() -> None:
    folder = Path(__file__).parent
    tests = [Path(__file__), *sorted((folder / "frameworks").glob("test_*.py"))]
    sources = "".join(path.read_text() for path in tests)
    for module in RECIPES:
        assert f'write("{module}", ' in sources
    assert TEXT.count("```python") == len(RECIPES)


def test_a_plain_function_is_served(folder: Path) -> None:
    model = write("words", folder)
    texts = ["a few words", "", "one" * 1000, "word " * 1001]
    bodies = [{"inputs": {"text": [text], "least": [n]}} for text in texts for n in (1, 3)]
    assert answers(model, bodies) == [
        (200, {"outputs": [3]}),
        (200, {"outputs": [2]}),
        (200, {"outputs": [0]}),
        (200, {"outputs": [0]}),
        (200, {"outputs": [1]}),
        (200, {"outputs": [1]}),
        (400, {"error": "the model refused the input: a text may have 1000 words"}),
        (400, {"error": "the model refused the input: a text may have 1000 words"}),
    ]


def test_an_estimator_is_served(folder: Path) -> None:
    scans, labels = training()
    fitted = LogisticRegression(max_iter=100, tol=0.01).fit(scans.reshape(-1, 64) / 16, labels)
    joblib.dump(fitted, "digits.joblib")
    rows = held_out()[0].reshape(-1, 64)[:40].astype("float64")
    answered = outputs(write("digits", folder), rows.tolist())
    direct = importlib.import_module("digits").model.predict_proba(rows)
    np.testing.assert_allclose(answered, direct, rtol=1e-9)
