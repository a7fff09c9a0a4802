"""Trains and exports the bundled digit model, offline, on the main thread of its own program."""

import argparse
import math
import os
import pathlib
import tempfile
import time
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from server.demo import DIGITS
from server.demo.scans import Labels, Scans, held_out, training

# Read while TensorFlow is imported: a GPU would give other last bits.
os.environ["CUDA_VISIBLE_DEVICES"] = ""

from server.models.tensorflow_runtime import tf

# TensorFlow ships no type information.
Tensor = Any

SIDE: Final = 8
CLASSES: Final = 10
MAX_GREY: Final = 16.0
VERSION: Final = "1"

EPOCHS: Final = 80
BATCH: Final = 64
PEAK_RATE: Final = 0.03
MOMENTUM: Final = 0.9
WEIGHT_DECAY: Final = 5e-4
DROPOUT: Final = 0.3

MAX_TURN: Final = math.radians(12.0)
MAX_STRETCH: Final = 0.1
MAX_SHIFT: Final = 0.8


class Classifier(tf.Module):  # type: ignore[misc]
    """Three small convolutions and one dense layer over raw grey values 0..16."""

    def __init__(self, seed: int) -> None:
        """Draw He-normal weights from ``seed``."""
        super().__init__(name="digits")
        rng = np.random.default_rng(seed)
        flat = (SIDE // 2) ** 2 * 32
        shapes = ((3, 3, 1, 16), (3, 3, 16, 32), (3, 3, 32, 32), (flat, CLASSES))
        self.kernels = [_he_normal(rng, shape) for shape in shapes]
        self.biases = [tf.Variable(tf.zeros(shape[-1])) for shape in shapes]

    def logits(self, images: Tensor, dropout_seed: Tensor = None) -> Tensor:
        """Score ``images``; a ``dropout_seed`` switches to training behaviour."""
        hidden = tf.expand_dims(images / MAX_GREY, -1)
        convolutions = zip(self.kernels[:-1], self.biases[:-1], strict=True)
        for layer, (kernel, bias) in enumerate(convolutions):
            hidden = tf.nn.relu(tf.nn.conv2d(hidden, kernel, 1, "SAME") + bias)
            if layer == 1:
                hidden = tf.nn.max_pool2d(hidden, 2, 2, "VALID")
        flat = tf.reshape(hidden, (-1, self.kernels[-1].shape[0]))
        if dropout_seed is not None:
            flat = tf.nn.experimental.stateless_dropout(flat, DROPOUT, dropout_seed)
        return flat @ self.kernels[-1] + self.biases[-1]

    @tf.function(input_signature=[tf.TensorSpec((None, SIDE, SIDE), tf.float32, "images")])  # type: ignore[untyped-decorator]
    def serve(self, images: Tensor) -> dict[str, Tensor]:
        """Answer the one exported signature."""
        return {"probabilities": tf.nn.softmax(self.logits(images))}


def fit(scans: Scans, labels: Labels, seed: int = 0) -> Classifier:
    """Train a fresh classifier; the same arguments give the same weights."""
    tf.config.experimental.enable_op_determinism()
    model = Classifier(seed)
    parameters = model.trainable_variables
    velocities = [tf.Variable(tf.zeros_like(parameter)) for parameter in parameters]

    @tf.function  # type: ignore[untyped-decorator]
    def step(
        images: Tensor, targets: Tensor, warps: Tensor, dropout_seed: Tensor, rate: Tensor
    ) -> None:
        with tf.GradientTape() as tape:
            logits = model.logits(_warp(images, warps), dropout_seed)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
            decay = tf.add_n([tf.nn.l2_loss(kernel) for kernel in model.kernels])
            loss = tf.reduce_mean(losses) + WEIGHT_DECAY * decay
        gradients = tape.gradient(loss, parameters)
        for parameter, velocity, gradient in zip(parameters, velocities, gradients, strict=True):
            velocity.assign(MOMENTUM * velocity + gradient)
            parameter.assign_sub(rate * (MOMENTUM * velocity + gradient))

    rng = np.random.default_rng(seed)
    for rate, rows in _schedule(rng, len(scans)):
        dropout_seed = rng.integers(2**31, size=2, dtype=np.int32)
        step(*map(tf.constant, (scans[rows], labels[rows], _draw_warps(rng), dropout_seed, rate)))
    return model


def train(out: pathlib.Path) -> float:
    """Train, export to ``out``/1 and return the held-out accuracy of the reloaded export."""
    started = time.perf_counter()
    model = fit(*training())
    seconds = time.perf_counter() - started
    _export(model, out)
    reached = accuracy(out / VERSION, *held_out())
    parameters = sum(math.prod(variable.shape) for variable in model.trainable_variables)
    size = sum(file.stat().st_size for file in (out / VERSION).rglob("*") if file.is_file()) / 1000
    print(
        f"held-out accuracy {reached:.2%}, {parameters} parameters, "
        f"{size:.0f} kB, trained in {seconds:.1f} s"
    )
    return reached


def accuracy(version: pathlib.Path, scans: Scans, labels: Labels) -> float:
    """Return the share of ``scans`` that the exported model in ``version`` reads correctly."""
    loaded = tf.saved_model.load(str(version))
    answer = loaded.signatures["serving_default"](images=tf.constant(scans))
    guesses = answer["probabilities"].numpy().argmax(axis=1)
    return float((guesses == labels).mean())


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m server.demo.train", description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default=DIGITS, help="base folder to export to")
    train(parser.parse_args().out)


def _he_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    spread = math.sqrt(2.0 / math.prod(shape[:-1]))
    return tf.Variable(rng.normal(0.0, spread, shape).astype(np.float32))


def _schedule(
    rng: np.random.Generator, count: int
) -> Iterator[tuple[np.float32, NDArray[np.int64]]]:
    """Yield a cosine-decayed learning rate and the rows of each full batch."""
    batches = count // BATCH
    for epoch in range(EPOCHS):
        order = rng.permutation(count)
        for batch in range(batches):
            done = (epoch * batches + batch) / (EPOCHS * batches)
            rate = np.float32(PEAK_RATE * 0.5 * (1.0 + math.cos(math.pi * done)))
            yield rate, order[batch * BATCH : (batch + 1) * BATCH]


def _draw_warps(rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw one small turn, stretch and shift about the centre per scan of a batch."""
    turn = rng.uniform(-MAX_TURN, MAX_TURN, BATCH)
    wide, tall = 1.0 + rng.uniform(-MAX_STRETCH, MAX_STRETCH, (2, BATCH))
    right, down = rng.uniform(-MAX_SHIFT, MAX_SHIFT, (2, BATCH))
    centre = (SIDE - 1) / 2
    a, b = wide * np.cos(turn), -wide * np.sin(turn)
    c, d = tall * np.sin(turn), tall * np.cos(turn)
    x = centre - a * centre - b * centre + right
    y = centre - c * centre - d * centre + down
    zero = np.zeros(BATCH)
    return np.stack((a, b, x, c, d, y, zero, zero), axis=1).astype(np.float32)


def _warp(images: Tensor, warps: Tensor) -> Tensor:
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.expand_dims(images, -1),
        transforms=warps,
        output_shape=(SIDE, SIDE),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return tf.squeeze(moved, -1)


def _export(model: Classifier, out: pathlib.Path) -> None:
    """Replace ``out``/1 by renaming a finished folder, so no half-written version ever shows."""
    out.mkdir(parents=True, exist_ok=True)
    final = out / VERSION
    with tempfile.TemporaryDirectory(prefix=".incoming-", dir=out) as name:
        staging = pathlib.Path(name)
        tf.saved_model.save(model, str(staging / "new"), signatures=model.serve)
        if final.exists():
            final.rename(staging / "old")
        (staging / "new").rename(final)


if __name__ == "__main__":
    main()
