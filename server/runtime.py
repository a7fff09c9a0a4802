"""How the frameworks of models may use the machine: threads and devices. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_DEVICE: Final = re.compile(r"/?(?:device:)?([a-z]\w*)(?::(\d{1,3}))?", re.ASCII | re.IGNORECASE)


MANY_CPUS: Final = 4
"""So many that one of them can be left to the event loop: a smaller part than it would use."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What holds for all models of a process, and the device of one. ValueError.

    intra_op_threads
        Threads that share the work of one operation, such as the multiplication of two matrices.
        None takes as many as there are CPUs; from 4 on one less, which is left to the event loop.
        Take 1 where requests come one by one: on 2 CPUs, a lone client of MobileNetV2 then waits
        6.6 ms and not 11.6, while 32 clients get 360 answers a second and not 440.
    inter_op_threads
        Operations of one model that may run at a time. None takes as many as `intra_op_threads`
        would. It matters only to models with branches beside each other.
    device
        Where a model runs: "cpu", "gpu", "gpu:1"; "" leaves it to the framework.
    gpu_memory_growth
        Take the memory of a GPU as it is needed, not all of it at once.
    gpu_memory_limit
        Most bytes to take of each GPU. None takes what there is.
    """

    intra_op_threads: int | None = None
    inter_op_threads: int | None = None
    device: str = ""
    gpu_memory_growth: bool = True
    gpu_memory_limit: int | None = None

    def __post_init__(self) -> None:
        for name in ("intra_op_threads", "inter_op_threads", "gpu_memory_limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                msg = f"{name} must be at least 1, not {value}"
                raise ValueError(msg)
        device_name(self.device)


def threads(asked: int | None, cpus: int) -> int:
    """How many threads to have: as many as asked for, or all CPUs, of many but one."""
    return asked or (cpus if cpus < MANY_CPUS else cpus - 1)


def device_name(device: str) -> str:
    """The one name of a device: "GPU:0" for "gpu", "/GPU:0" and "/device:GPU:0"; "" for "".

    ValueError for what cannot be a device.
    """
    if not device:
        return ""
    parts = _DEVICE.fullmatch(device)
    if parts is None:
        msg = f'a device must be like "cpu", "gpu" or "gpu:1", not {device!r}'
        raise ValueError(msg)
    return f"{parts[1].upper()}:{int(parts[2] or 0)}"


def existing_device(device: str, existing: Sequence[str]) -> str:
    """The name of a device, which must be among those that exist; "" for "". ValueError."""
    name = device_name(device)
    if name and name not in existing:
        msg = f"there is no device {device!r} here; there are {', '.join(existing)}"
        raise ValueError(msg)
    return name
