"""The one row that every server is asked for, and TensorFlow's own answer to it.

    python -m bench.compare.rows ~/.cache/batcher-bench tiny mlp mobilenet

The answers are cached beside the models. Only the process that computes them imports TensorFlow.
"""

import json
import math
import os
import pathlib
import random
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import click

from bench.models import SHOWN_OF_LOG, TIME_LIMIT, cached
from bench.record import ROOT

SHAPES: Final = {"tiny": (1,), "mlp": (784,), "mobilenet": (96, 96, 3)}

SEED: Final = 7

RELATIVE: Final = 1e-4
ABSOLUTE: Final = 1e-6
"""How far an answer may be from TensorFlow's: the size of a batch changes the last bits."""


class Row(NamedTuple):
    """The numbers of a model's input in C order, each with four digits, and their shape."""

    numbers: list[float]
    shape: tuple[int, ...]

    def nested(self) -> Any:
        """The numbers as lists of lists, as JSON writes a tensor."""
        lists: list[Any] = self.numbers
        for size in reversed(self.shape[1:]):
            lists = [lists[start : start + size] for start in range(0, len(lists), size)]
        return lists


def row_of(model: str) -> Row:
    """The row for a model: 3 for tiny, otherwise random numbers that are always the same."""
    shape = SHAPES[model]
    if model == "tiny":
        return Row([3.0], shape)
    chance = random.Random(SEED)
    return Row([round(chance.random(), 4) for _ in range(math.prod(shape))], shape)


def expected(model: str, cache: pathlib.Path) -> list[float]:
    """TensorFlow's own answer, computed now unless it was before. ClickException."""
    folder = cached(model, cache)
    file = _file(folder)
    if not file.exists():
        command = [sys.executable, "-m", "bench.compare.rows", str(folder.parent), model]
        ended = subprocess.run(
            command, cwd=ROOT, capture_output=True, check=False, text=True, timeout=TIME_LIMIT
        )
        if ended.returncode:
            msg = f"TensorFlow did not answer for {model}:\n{ended.stderr[-SHOWN_OF_LOG:]}"
            raise click.ClickException(msg)
    answer: list[float] = json.loads(file.read_text())
    return answer


def same(got: Sequence[float], wanted: Sequence[float]) -> bool:
    """Whether an answer is TensorFlow's, but for rounding."""
    return len(got) == len(wanted) and all(
        math.isclose(one, other, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
        for one, other in zip(got, wanted, strict=True)
    )


def _file(folder: pathlib.Path) -> pathlib.Path:
    return folder / "expected.json"


def main() -> None:
    """Write the answers for the models that the arguments name."""
    # TensorFlow reads both while it is imported.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf  # noqa: PLC0415 - whoever asks for a row must not import it

    cache, *names = sys.argv[1:]
    for name in names:
        folder = pathlib.Path(cache, name)
        loaded = tf.saved_model.load(str(folder / "1"))
        rows = tf.constant([row_of(name).nested()], tf.float32)
        outputs = loaded.signatures["serving_default"](x=rows)["y"].numpy()
        _file(folder).write_text(json.dumps(outputs[0].tolist()))


if __name__ == "__main__":
    main()
