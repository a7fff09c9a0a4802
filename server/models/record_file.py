"""Files of records (TFRecord): the bytes of each, checked against their sums. Any thread."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from server.models.tensorflow_runtime import tf

FRAME: Final = 16
"""Bytes around a record: its length, and the sums of both."""


def read(path: Path) -> Iterator[bytes]:
    """The records of a file, one after the other. ValueError where it is broken.

    OSError where it cannot be read.
    """
    with path.open("rb") as file:
        left = file.seek(0, os.SEEK_END)
    broken = "it is no whole file of records (TFRecord)"
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            left -= len(record) + FRAME
            yield record
    except tf.errors.DataLossError as error:
        raise ValueError(broken) from error
    if left:
        # What TensorFlow takes for an end: a few bytes that are less than a length.
        raise ValueError(broken)
