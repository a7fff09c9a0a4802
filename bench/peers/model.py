"""The model that every peer runs: TensorFlow's own call of a signature, warmed up as ours is.

It runs in whatever thread of whatever process the peer calls it.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from bench.peers.settings import MAX_BATCH_SIZE, model_folder

WARMED_UP = (1, 2, MAX_BATCH_SIZE)
"""Batch sizes that run once before the first request: TensorFlow prepares itself for each."""

Rows = npt.NDArray[np.float32]


class Model:
    """A SavedModel with one float32 input `x` and one float32 output `y`, rows first."""

    def __init__(self) -> None:
        # The signature holds no reference to the variables; whoever loaded them must.
        self._loaded: Any = tf.saved_model.load(str(model_folder()))
        self._signature: Any = self._loaded.signatures["serving_default"]
        _, inputs = self._signature.structured_input_signature
        self.row_shape = tuple(inputs["x"].shape[1:])
        self.output_shape = tuple(self._signature.structured_outputs["y"].shape[1:])
        for size in WARMED_UP:
            self(np.zeros((size, *self.row_shape), np.float32))

    def __call__(self, rows: Rows) -> Rows:
        """The outputs of some rows, in their order."""
        outputs: Rows = self._signature(x=tf.constant(rows, tf.float32))["y"].numpy()
        return outputs
