"""How the frameworks of models may use the machine: threads and devices. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Runtime:
    """What holds for all models of a process, and the device of one.

    Threads of None are sized to the machine, leaving the event loop a core. `device` is where a
    model runs ("cpu", "gpu:1"); "" leaves it to the framework. `gpu_memory_growth` takes memory of
    a GPU as it is needed, not all of it at once; `gpu_memory_limit` is the most of it, in bytes.
    """

    intra_op_threads: int | None = None
    inter_op_threads: int | None = None
    device: str = ""
    gpu_memory_growth: bool = True
    gpu_memory_limit: int | None = None
