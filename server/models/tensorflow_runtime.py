"""TensorFlow, imported once and told how to behave before it starts. Any thread.

It starts with the first model, not with the import: only then is it known how many threads to have
and how much of a GPU. From then on neither can be changed in this process.
"""

import gc
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, Final, TypeVar

from server import machine
from server.memory import keep_large_blocks
from server.models.notes import notes_held_back
from server.runtime import Runtime, existing_device, threads

LOG_LEVEL: Final = "TF_CPP_MIN_LOG_LEVEL"

R = TypeVar("R")
A = TypeVar("A")


def _without_start_up_notes() -> AbstractContextManager[None]:
    """Keep what TensorFlow writes to standard error while it starts from a server's log.

    Some lines about CPU features and absent GPUs come before its own log level holds. An operator
    who wants to see them sets the log level to 0.
    """
    if os.environ.setdefault(LOG_LEVEL, "2") == "0":
        return nullcontext()
    return notes_held_back(b"")


# Where the C library keeps large blocks, TensorFlow's own pool is told to leave them to it.
if keep_large_blocks():
    os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")

with _without_start_up_notes():
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2 as with_constants,
    )

__all__ = ["on", "placed", "saved_model_pb2", "tf", "with_constants"]


@contextmanager
def on(runtime: Runtime) -> Iterator[None]:
    """Load models for this device, TensorFlow's own choice if it is "". Starts TensorFlow.

    ValueError for a device that does not exist, and for threads or memory that TensorFlow, once
    started, can have no more.
    """
    device = existing_device(runtime.device, _tensorflow.start(runtime))
    _check(runtime)
    with tf.device(device or None):
        yield


def placed(call: Callable[[A], R], runtime: Runtime) -> Callable[[A], R]:
    """The same call, on the device of its model, where `on` has loaded it.

    It does not go there by itself: TensorFlow runs a function on the device of whoever calls, even
    if its variables are elsewhere. Costs 1 to 9 µs a call, nothing where the choice was left to it.
    """
    if not runtime.device:
        return call
    device = existing_device(runtime.device, _tensorflow.start(runtime))

    def call_there(argument: A) -> R:
        with tf.device(device):
            return call(argument)

    return call_there


class _TensorFlow:
    """Starts TensorFlow, whoever comes first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._devices: list[str] = []

    def start(self, runtime: Runtime) -> list[str]:
        """Start it with these settings unless it has started; what devices there are."""
        with self._lock:
            if not self._devices:
                with _without_start_up_notes():
                    _configure(runtime)
                    self._devices = [_short(each) for each in tf.config.list_logical_devices()]
                # Its 320,000 objects stay: no collection is to look at them ever again, which
                # would stop everything for 0.2 s.
                gc.collect()
                gc.freeze()
            return self._devices


_tensorflow: Final = _TensorFlow()


def _short(device: Any) -> str:
    return str(device.name).removeprefix("/device:")


def _configure(runtime: Runtime) -> None:
    """Say how it is to behave. What has been started by others before stays as it is."""
    cpus = machine.cpus()
    # A thread that has nothing to do for the moment would otherwise look for work all the time, and
    # take a CPU from the event loop: on 2 CPUs two layers answered 8 to 20 % less.
    config = tf.compat.v1.ConfigProto()
    config.experimental.disable_thread_spinning = True
    with suppress(ValueError):
        tf.compat.v1.enable_eager_execution(config=config)
    with suppress(RuntimeError):
        told = tf.config.threading
        told.set_intra_op_parallelism_threads(threads(runtime.intra_op_threads, cpus))
        told.set_inter_op_parallelism_threads(threads(runtime.inter_op_threads, cpus))
    with suppress(RuntimeError):
        for gpu in tf.config.list_physical_devices("GPU"):
            # In this order: of a GPU that is divided already, TensorFlow refuses the growth.
            tf.config.experimental.set_memory_growth(gpu, runtime.gpu_memory_growth)
            if runtime.gpu_memory_limit is not None:
                part = tf.config.LogicalDeviceConfiguration(_mebibytes(runtime.gpu_memory_limit))
                tf.config.set_logical_device_configuration(gpu, [part])


def _check(runtime: Runtime) -> None:
    """Refuse what was asked for and is not so. ValueError."""
    told = tf.config.threading
    held = {
        "intra_op_threads": told.get_intra_op_parallelism_threads(),
        "inter_op_threads": told.get_inter_op_parallelism_threads(),
    }
    if runtime.gpu_memory_limit is not None:
        limit = _mebibytes(runtime.gpu_memory_limit) * 2**20
        for gpu in tf.config.list_physical_devices("GPU"):
            parts = tf.config.get_logical_device_configuration(gpu) or []
            most = sum(part.memory_limit * 2**20 for part in parts)
            held["gpu_memory_limit"] = runtime.gpu_memory_limit if most == limit else most
    for name, value in held.items():
        asked = getattr(runtime, name)
        if asked not in {None, value}:
            msg = (
                f"{name} cannot become {asked}: TensorFlow has started in this process with"
                f" {value or 'its own choice'}"
            )
            raise ValueError(msg)


def _mebibytes(nbytes: int) -> int:
    """As TensorFlow counts the memory of a GPU."""
    return max(1, nbytes // 2**20)
