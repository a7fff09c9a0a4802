"""The model threads: one for each device, shared by the models that run there. Event loop."""

import asyncio

from batcher import Executor, ThreadExecutor
from server.machine import has_gpu
from server.runtime import device_name


class ModelThreads:
    """Starts a thread when the first model of its device comes; all end together."""

    def __init__(self) -> None:
        self._executors: dict[str, Executor] = {}

    def name_of(self, device: str) -> str:
        """The full name of a device; "" is where frameworks run models by themselves."""
        return device_name(device) or ("GPU:0" if has_gpu() else "CPU:0")

    def of(self, device: str) -> Executor:
        """The thread of a device, started if it is the first time."""
        name = self.name_of(device)
        executor = self._executors.get(name)
        if executor is None:
            executor = ThreadExecutor(name=f"model {name}")
            executor.attach(asyncio.get_running_loop())
            self._executors[name] = executor
        return executor

    def end(self) -> None:
        """Nothing runs any more after this."""
        for executor in self._executors.values():
            executor.detach()
        self._executors.clear()
