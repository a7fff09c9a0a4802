"""A model is read beside those that serve, and run only on the model thread, in turns."""

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import server.models
from batcher import ThreadExecutor
from batcher.lengths import VariableLength
from server.errors import StartupError
from server.loading import Loader, Order
from server.models import Format
from server.runtime import Runtime
from server.signature import Signature, Tensors, TensorSpec

MARKER = "noting.txt"


class Noting:
    """A model, y = 2 x; notes which threads load and run it, and waits when told to."""

    platform = "noting"

    def __init__(self) -> None:
        self.loaded_on = threading.current_thread().name
        self.ran_on: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    @property
    def signatures(self) -> Mapping[str, Signature]:
        spec = {name: TensorSpec(name, "float32", (None, 1)) for name in "xy"}
        return {"f": Signature("f", {"x": spec["x"]}, {"y": spec["y"]})}

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        self.ran_on.append(threading.current_thread().name)
        self.gate.wait()
        return {"y": np.multiply(inputs["x"], np.float32(2))}


made: list[Noting] = []


def is_noting(path: Path) -> bool:
    return (path / MARKER).is_file()


def load(path: Path, _: Runtime) -> Noting:
    """What a module of a format has."""
    assert (path / MARKER).is_file()
    made.append(Noting())
    if (path / MARKER).read_text() == "held":
        made[-1].gate.clear()
    return made[-1]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of a format that is registered as any other."""
    (tmp_path / MARKER).touch()
    made.clear()
    monkeypatch.setattr(server.models, "FORMATS", (Format("Noting", MARKER, is_noting, __name__),))
    return tmp_path


def test_it_is_loaded_on_a_thread_of_its_own_and_run_on_the_model_thread(folder: Path) -> None:
    async def main() -> None:
        loaded = await Loader().load(Order(folder, (1, 2, 4)), ThreadExecutor(name="model"))
        assert loaded.model is made[0]
        assert loaded.warm.notes == ()
        assert loaded.warm.signatures["f"].batchable
        assert made[0].loaded_on == "loader"
        assert len(made[0].ran_on) > 4
        assert set(made[0].ran_on) == {"model"}

    asyncio.run(main())


def test_other_work_of_the_model_thread_gets_its_turns_between_the_runs(folder: Path) -> None:
    async def main() -> None:
        executor = ThreadExecutor(name="model")
        executor.attach(asyncio.get_running_loop())
        others: list[int] = []
        loading = asyncio.create_task(
            Loader().load(Order(folder, (1, 2, 4, 8, 16, 32, 64)), executor)
        )
        while not loading.done():
            others.append(await executor.call(lambda _: len(made and made[0].ran_on), None))
        executor.detach()
        # Some of it came after the first of the runs, and before the last of them.
        assert any(0 < ran < len(made[0].ran_on) for ran in others)

    asyncio.run(main())


def test_what_nobody_waits_for_stops_before_the_next_run(folder: Path) -> None:
    (folder / MARKER).write_text("held")

    async def main() -> None:
        executor = ThreadExecutor(name="model")
        executor.attach(asyncio.get_running_loop())
        loader = Loader()
        loading = asyncio.create_task(loader.load(Order(folder, (1, 2, 4)), executor))
        while not (made and made[0].ran_on):  # noqa: ASYNC110 - a thread sets no event of the loop
            await asyncio.sleep(0)
        (thread,) = loader._thread._threads
        loading.cancel()
        await asyncio.wait({loading})
        assert loading.cancelled()
        made[0].gate.set()
        await asyncio.to_thread(thread.join)
        assert len(made[0].ran_on) == 1
        executor.detach()

    asyncio.run(main())


def test_what_does_not_load_says_so(folder: Path) -> None:
    (folder / MARKER).unlink()

    async def main() -> None:
        with pytest.raises(StartupError, match=f"{folder} holds no model"):
            await Loader().load(Order(folder, (1, 2, 4)), ThreadExecutor(name="model"))

    asyncio.run(main())


def test_a_run_that_hangs_is_given_up_and_others_are_told_until_it_comes_back(
    folder: Path,
) -> None:
    (folder / MARKER).write_text("held")

    async def main() -> None:
        executor = ThreadExecutor(name="model")
        executor.attach(asyncio.get_running_loop())
        order = Order(folder, (1, 2, 4), run_timeout=0.01)
        with pytest.raises(StartupError, match=r"warm-up hangs: .* run_timeout=0\.01 s"):
            await Loader().load(order, executor)
        stuck = [executor.is_stuck]
        made[0].gate.set()
        # Its turn ends, and the next one is anybody's.
        await executor.call(lambda _: None, None)
        assert [*stuck, executor.is_stuck] == [True, False]
        assert len(made[0].ran_on) == 1
        executor.detach()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("lengths", "told"),
    [
        (VariableLength({"z": (1, 0)}, (4,)), "pad names 'z', .*; there are 'x'"),
        (VariableLength({"x": (1, 0)}, (4,), mask="m"), "pad_mask names 'm', .*; there are 'x'"),
        (VariableLength({"x": (1, 0)}, (4,), {"z": 1}), "cut names 'z', .*; there are 'y'"),
    ],
)
def test_padding_of_what_a_model_does_not_have_is_told(
    folder: Path, lengths: VariableLength, told: str
) -> None:
    async def main() -> None:
        with pytest.raises(StartupError, match=told):
            await Loader().load(
                Order(folder, (1, 2), lengths=lengths), ThreadExecutor(name="model")
            )

    asyncio.run(main())
