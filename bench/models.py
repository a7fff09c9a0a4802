"""The models that benchmarks serve: made once, into a cache, by a process that ends afterwards.

    python -m bench.models ~/.cache/batcher-bench tiny mlp mobilenet

Each is a SavedModel in `NAME/1`: float32 input `x`, first dimension free, and output `y`. Only the
process that makes them imports TensorFlow, which would disturb whatever is measured beside it.
"""

import functools
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from bench.record import ROOT

CACHE: Final = pathlib.Path("~/.cache/batcher-bench")

SEED: Final = 20240607

VERSION: Final = 1234567.25
"""The version that is written into graphs; `bench.versions` puts others in its place."""

BALLASTS: Final = (1, 4, 16, 64, 256)
"""Megabytes of the models that have a version."""

TIME_LIMIT: Final = 300.0
"""Seconds for making a model; most go into importing TensorFlow."""

SHOWN_OF_LOG: Final = 3000


def cached(name: str, cache: pathlib.Path = CACHE) -> pathlib.Path:
    """The folder of a model, which is made now if it does not exist. ClickException."""
    folder = cache.expanduser().absolute() / name
    if not (folder / "1" / "saved_model.pb").exists():
        command = [sys.executable, "-m", "bench.models", str(folder.parent), name]
        made = subprocess.run(
            command, cwd=ROOT, capture_output=True, check=False, text=True, timeout=TIME_LIMIT
        )
        if made.returncode:
            msg = f"the model {name} could not be made:\n{made.stderr[-SHOWN_OF_LOG:]}"
            raise click.ClickException(msg)
    return folder


def tiny(tf: Any) -> Any:
    """One number a row, y = x * 0.5 + 2: costs next to nothing, so all the rest shows."""
    module = tf.Module()
    module.scale = tf.Variable(0.5, trainable=False)
    module.shift = tf.Variable(2.0, trainable=False)
    return _served(tf, module, lambda x: x * module.scale + module.shift, (1,))


def wide(tf: Any) -> Any:
    """The mean of 27,648 numbers a row: next to all of the time goes into reading the request."""
    return _served(tf, tf.Module(), lambda x: tf.reduce_mean(x, axis=1, keepdims=True), (27_648,))


def slow(tf: Any) -> Any:
    """One number a row, returned after some multiplications: 50 ms a batch, however large."""
    module = tf.Module()
    chance = tf.random.Generator.from_seed(SEED)
    module.matrix = tf.Variable(chance.uniform((512, 512), maxval=2e-3), trainable=False)

    def after_a_while(x: Any) -> Any:
        product = module.matrix * tf.reduce_max(x)
        for _ in range(20):
            product = module.matrix @ product
        return x + 0.0 * product[0, 0]

    return _served(tf, module, after_a_while, (1,))


def versioned(tf: Any, megabytes: int) -> Any:
    """One number a row, y = x * 0.5 + VERSION, for which it looks into so many megabytes."""
    module = tf.Module()
    chance = tf.random.Generator.from_seed(SEED)
    numbers = megabytes * 2**20 // 4
    module.ballast = tf.Variable(chance.uniform((numbers,)), trainable=False)
    # That it is nothing cannot be told from the graph, so the ballast stays.
    module.nothing = tf.Variable(0.0, trainable=False)

    def with_ballast(x: Any) -> Any:
        place = tf.cast(tf.math.floormod(tf.abs(x), numbers), tf.int32)
        return x * 0.5 + VERSION + tf.gather(module.ballast, place) * module.nothing

    return _served(tf, module, with_ballast, (1,))


def mlp(tf: Any) -> Any:
    """Two wide dense layers, 784 numbers a row: gains much from batches."""
    tf.keras.utils.set_random_seed(SEED)
    layers = tf.keras.layers
    network = tf.keras.Sequential(
        [
            layers.Input((784,)),
            layers.Dense(1024, activation="relu"),
            layers.Dense(1024, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    return _served_network(tf, network, (784,))


def mobilenet(tf: Any) -> Any:
    """MobileNetV2 with random weights, 96 x 96 pixels a row: the model is what takes the time."""
    tf.keras.utils.set_random_seed(SEED)
    shape = (96, 96, 3)
    network = tf.keras.applications.MobileNetV2(weights=None, input_shape=shape)
    return _served_network(tf, network, shape)


MODELS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "tiny": tiny,
    "wide": wide,
    "slow": slow,
    "mlp": mlp,
    "mobilenet": mobilenet,
    **{f"versioned-{size}": functools.partial(versioned, megabytes=size) for size in BALLASTS},
}


def _served_network(tf: Any, network: Any, shape: tuple[int, ...]) -> Any:
    module = tf.Module()
    module.network = network
    return _served(tf, module, lambda x: network(x, training=False), shape)


def _served(tf: Any, module: Any, function: Callable[[Any], Any], shape: tuple[int, ...]) -> Any:
    """Give a module, which keeps the variables, its one signature."""
    rows = tf.TensorSpec((None, *shape), tf.float32, "x")
    module.serve = tf.function(lambda x: {"y": function(x)}, input_signature=[rows])
    return module


def main() -> None:
    """Make the models that the arguments name, if need be; half a model is never left behind."""
    # TensorFlow reads both while it is imported.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf  # noqa: PLC0415 - whoever asks for a path must not import it

    cache, *names = sys.argv[1:]
    for name in names:
        final = pathlib.Path(cache, name, "1")
        if final.exists():
            continue
        final.parent.mkdir(parents=True, exist_ok=True)
        module = MODELS[name](tf)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            made = pathlib.Path(folder, "1")
            tf.saved_model.save(module, str(made), signatures={"serving_default": module.serve})
            made.rename(final)


if __name__ == "__main__":
    main()
