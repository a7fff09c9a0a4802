"""The public surface, pinned: what `import batcher` gives, and what it leaves alone."""

import importlib
import subprocess
import sys

import pytest

import batcher

PUBLIC = [
    "Admission",
    "Batch",
    "BatchFailed",
    "BatchRecord",
    "Batcher",
    "BatcherClosed",
    "BatcherError",
    "BatcherStats",
    "BatcherStuck",
    "DeadlineExceeded",
    "Executor",
    "Fairness",
    "Isolation",
    "LoopExecutor",
    "Outcome",
    "QueueFull",
    "Reason",
    "Receipt",
    "RequestTooLarge",
    "ThreadExecutor",
]


def test_the_public_names_are_these_and_sorted() -> None:
    assert batcher.__all__ == PUBLIC
    assert sorted(batcher.__all__) == batcher.__all__


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_can_be_imported_and_is_documented(name: str) -> None:
    thing = getattr(batcher, name)
    assert thing.__module__.startswith("batcher.")
    assert thing.__doc__


def test_nothing_else_is_public() -> None:
    submodules = {name for name in vars(batcher) if f"batcher.{name}" in sys.modules}
    others = {name for name in vars(batcher) if not name.startswith("_")}
    assert others - submodules == set(PUBLIC)


LIBRARY = """
import sys, batcher, batcher.testing
names = sorted(name.partition(".")[0] for name in sys.modules)
print([name for name in dict.fromkeys(names)
       if name in {"numpy", "aiohttp", "tensorflow", "server", "pytest"}])
"""


def test_importing_the_library_imports_neither_numpy_nor_a_server() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LIBRARY], capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stdout == "[]\n"


def test_arrays_and_testing_are_there_for_those_who_ask() -> None:
    assert importlib.import_module("batcher.arrays").on_arrays
    assert importlib.import_module("batcher.testing").run
