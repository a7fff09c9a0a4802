"""The classification extension of the Open Inference Protocol: best classes of rows. Pure."""

from typing import Final

import numpy as np

from server.errors import InvalidArgument
from server.signature import Array, shape_text

_ROWS_AND_CLASSES: Final = 2


def best_classes(scores: Array, count: int, where: str) -> Array:
    """The `count` highest of floats [n, classes], as "score:index": objects [n, at most count].

    The highest comes first, of equal ones the first. Scores have six decimals, as Triton writes
    them. InvalidArgument for other scores.
    """
    if scores.ndim != _ROWS_AND_CLASSES or not _are_floats(scores):
        msg = (
            f"{where}: classification needs floats of the shape [rows, classes],"
            f" it is {scores.dtype}{shape_text(scores.shape)}"
        )
        raise InvalidArgument(msg)
    wide = scores.astype(np.float64)
    best = np.argsort(-wide, axis=1, kind="stable")[:, :count]
    told = [
        b"%f:%d" % (score, index)
        for score, index in zip(
            np.take_along_axis(wide, best, axis=1).ravel().tolist(),
            best.ravel().tolist(),
            strict=True,
        )
    ]
    classes = np.empty(len(told), object)
    classes[:] = told
    return classes.reshape(best.shape)


def _are_floats(array: Array) -> bool:
    # bfloat16 is no float to NumPy, but becomes one.
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"
