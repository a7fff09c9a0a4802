"""TensorFlow, imported once and told how to behave before it starts. Any thread."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from server.runtime import Runtime

LOG_LEVEL: Final = "TF_CPP_MIN_LOG_LEVEL"


@contextmanager
def _without_start_up_notes() -> Iterator[None]:
    """Keep what TensorFlow writes to standard error while it starts from a server's log.

    Some lines about CPU features and absent GPUs come before its own log level holds, so the file
    descriptor itself is turned away; an error shows them after all. An operator who wants to see
    them sets the log level to 0.
    """
    if os.environ.setdefault(LOG_LEVEL, "2") == "0":
        yield
        return
    kept = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            yield
        except BaseException:
            notes.seek(0)
            os.write(kept, notes.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextmanager
def on(runtime: Runtime) -> Iterator[None]:
    """Load models for this device, TensorFlow's own choice if it is ""."""
    with tf.device(runtime.device or None):
        yield


with _without_start_up_notes():
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    # Looks for devices, which has its own notes to write.
    tf.config.list_logical_devices()

__all__ = ["on", "saved_model_pb2", "tf"]
