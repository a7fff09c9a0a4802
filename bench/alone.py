"""TensorFlow alone, in a process of its own: one call after the other on the thread that reads.

    python -m bench.alone FOLDER

Each line `SIZE SECONDS` on standard input is answered by a line with the microseconds that a call
with so many rows takes. TensorFlow has all CPUs, unlike in the server.
"""

import pathlib
import sys
import time
from typing import Any

import numpy as np

from server import machine
from server.models import load
from server.runtime import Runtime
from server.signature import DEFAULT_SIGNATURE, Tensors


def main() -> None:
    """Answer until the input ends."""
    cpus = machine.cpus()
    model = load(pathlib.Path(sys.argv[1]), Runtime(intra_op_threads=cpus, inter_op_threads=cpus))
    shape = model.signatures[DEFAULT_SIGNATURE].inputs["x"].row_shape or ()
    print("ready", flush=True)
    for line in sys.stdin:
        size, seconds = line.split()
        rows: Any = np.random.default_rng(0).random((int(size), *shape), dtype=np.float32)
        print(_microseconds(model, {"x": rows}, float(seconds)), flush=True)


def _microseconds(model: Any, inputs: Tensors, seconds: float) -> float:
    model.run(DEFAULT_SIGNATURE, inputs)
    calls = 0
    began = time.perf_counter()
    while (took := time.perf_counter() - began) < seconds:
        model.run(DEFAULT_SIGNATURE, inputs)
        calls += 1
    return took / calls * 1e6


if __name__ == "__main__":
    main()
