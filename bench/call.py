"""`python -m bench call`: what a call of a resident model costs, by TensorFlow's two ways to it."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import click

from bench.models import CACHE, cached

ROWS = {"tiny": (1,), "mlp": (784,), "mobilenet": (96, 96, 3)}


@click.command(short_help="The call of a signature against the operation beneath it.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 100))
@click.option("--seconds", default=0.5, show_default=True, help="For each measurement.")
@click.option("--model", "names", multiple=True, type=click.Choice(list(ROWS)), default=list(ROWS))
def command(rounds: int, seconds: float, names: tuple[str, ...]) -> None:
    """Time a model called as its signature, and as the server calls it, in turns."""
    # Only this benchmark has TensorFlow in its own process: there is nothing beside to disturb.
    import numpy as np  # noqa: PLC0415

    from server.models import load  # noqa: PLC0415
    from server.models.tensorflow_runtime import tf  # noqa: PLC0415

    print("| model | batch | signature µs | operation µs | ratio |\n|---|---|---|---|---|")
    for name in names:
        path = cached(name, CACHE) / "1"
        signature: Any = tf.saved_model.load(str(path)).signatures["serving_default"]
        model = load(path)
        for size in (1, 64):
            x = np.random.default_rng(0).random((size, *ROWS[name]), dtype=np.float32)

            def by_signature(x: Any = x, signature: Any = signature) -> Any:
                return signature(x=tf.constant(x))["y"].numpy()

            def as_operation(x: Any = x, model: Any = model) -> Any:
                return model.run("serving_default", {"x": x})["y"]

            np.testing.assert_allclose(by_signature(), as_operation(), rtol=1e-5, atol=1e-6)
            slow, fast = [], []
            for _ in range(rounds):
                slow.append(_microseconds(by_signature, seconds))
                fast.append(_microseconds(as_operation, seconds))
            a, b = statistics.median(slow), statistics.median(fast)
            print(f"| {name} | {size} | {_range(slow)} | {_range(fast)} | {a / b:.2f} |")


def _microseconds(function: Callable[[], object], seconds: float) -> float:
    calls = 0
    began = time.perf_counter()
    while (took := time.perf_counter() - began) < seconds:
        function()
        calls += 1
    return took / calls * 1e6


def _range(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f}..{max(values):.1f})"
