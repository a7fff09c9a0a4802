"""Models made once a session, and a front that serves them without sockets."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from multidict import CIMultiDict

from server.adapters.grpc_server import GrpcServer
from server.app import Application
from server.config import Config, ModelConfig
from server.exchange import Answer, Exchange
from tests.server import rest_models, saved_models
from tests.server.grpc_client import GrpcClient
from tests.server.user_modules import UserModules

R = TypeVar("R")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Base folders of the SavedModels by name."""
    root = tmp_path_factory.mktemp("models")
    makers: list[Callable[[Path], Path]] = [
        saved_models.half_plus_two,
        saved_models.two_by_two,
        saved_models.every_dtype,
        saved_models.odd_ones,
        saved_models.words,
        rest_models.any_shape,
        rest_models.of_examples,
        saved_models.examples,
        saved_models.left_out,
    ]
    return {make.__name__: make(root / make.__name__) for make in makers}


class Served:
    """A started application, its loop, and exchanges with its front."""

    def __init__(self, config: Config) -> None:
        self._runner = asyncio.Runner()
        self.application = Application(config)
        # As adapters have it: numbers become infinities without a warning. The runner keeps the
        # context of its first run.
        with np.errstate(over="ignore"):
            self.run(self._start())

    async def _start(self) -> None:
        self.application.open()
        await self.application.start()

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine on the application's loop."""
        return self._runner.run(work)

    def ask(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One exchange."""
        known = CIMultiDict(headers or {})
        return self.run(self.application.front.handle(Exchange(method, target, known, body)))

    def close(self) -> None:
        """Drain, and end the loop."""
        self.run(self.application.drain())
        self.application.close()
        self._runner.close()


@pytest.fixture(scope="session")
def served(models: dict[str, Path]) -> Iterator[Served]:
    """All the models in one server, batches of at most 8 rows; one of them has a label."""
    labels = {"half_plus_two": {"stable": 123}}
    config = Config(
        tuple(
            ModelConfig(name, path, max_batch_size=8, labels=labels.get(name, {}))
            for name, path in models.items()
        )
    )
    served = Served(config)
    yield served
    served.close()


@pytest.fixture(scope="session")
def grpc_address(served: Served) -> Iterator[str]:
    """Host and port of gRPC in front of `served`: for clients of `grpc.aio`, run by its `run`."""
    server = GrpcServer(served.application.front)
    address = served.run(server.open("127.0.0.1", 0))
    yield address.removeprefix("grpc://")
    served.run(server.close(1.0))


@pytest.fixture(scope="session")
def grpc_client(served: Served, grpc_address: str) -> Iterator[GrpcClient]:
    """A connection to `grpc_address`."""
    client = GrpcClient(served.run, grpc_address)
    yield client
    client.close()


@pytest.fixture
def user_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[UserModules]:
    """A working folder for modules of Python functions."""
    modules = UserModules(tmp_path, monkeypatch)
    yield modules
    modules.forget()


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """`run_to_end`, for what ends before any server starts, without a process of its own."""
    from server.cli import main  # noqa: PLC0415 - few tests need all that the command line imports

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["batcher-server", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return ended.value.code, *capfd.readouterr()

    return run
