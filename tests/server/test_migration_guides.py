"""The guides to migration: what they show runs as it stands, what they name is there."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tensorflow as tf
from aiohttp.test_utils import TestClient, TestServer
from google.protobuf.descriptor import Descriptor
from tensorflow_serving.apis import prediction_service_pb2_grpc
from tritonclient.grpc import model_config_pb2

from server.config import ModelConfig
from server.configuration.tfserving_flags import FLAGS
from server.protocols.wire import message
from tests.blocks import DOCS, commands, named, run_block, write_named
from tests.guide import outputs
from tests.server.grpc_client import GrpcClient
from tests.server.user_modules import UserModules

TENSORFLOW_SERVING, TRITON, BENTOML, LITSERVE = (
    DOCS / "migration" / f"{name}.md"
    for name in ("tensorflow_serving", "triton", "bentoml", "litserve")
)
WEIGHTS = np.random.default_rng(1).normal(size=(64, 10)).astype("float32")
ROWS = np.random.default_rng(2).normal(size=(5, 64)).astype("float32")


def first_cells(page: Path, heading: str) -> Iterator[tuple[list[str], str]]:
    """The words in backticks in the first cells of a table, and the rest of their rows."""
    part = page.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    for cell, rest in re.findall(r"^\| (`[^|]*) \|(.*)", part, re.MULTILINE):
        yield re.findall(r"`([^`]+)`", cell), rest


# ------------------------------------------------------------------------------ TensorFlow Serving


def test_the_table_says_of_every_flag_what_becomes_of_it() -> None:
    told = {
        flag: rest for flags, rest in first_cells(TENSORFLOW_SERVING, "Flags") for flag in flags
    }
    assert told.keys() == {*FLAGS, "version"}
    for name, flag in FLAGS.items():
        if flag.refused:
            assert "refused" in told[name], name
        elif flag.setting:
            assert f"--{flag.setting.replace('_', '-')}`" in told[name], name
        elif flag.why:
            assert " note" in told[name], name


def test_every_key_of_its_files_is_there() -> None:
    page = TENSORFLOW_SERVING.read_text()
    for kind in ("BatchingParameters", "ModelConfig"):
        for field in message(f"tensorflow.serving.{kind}").DESCRIPTOR.fields:
            assert f"`{field.name}`" in page


def test_its_command_line_stays() -> None:
    (before,) = commands(TENSORFLOW_SERVING, "tensorflow_model_server")
    assert next(commands(TENSORFLOW_SERVING, "batcher-server")) == before


def test_its_client_is_answered(grpc_client: GrpcClient) -> None:
    ask = run_block(TENSORFLOW_SERVING, "def ask(")["ask"]
    stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc_client.channel)

    class Waiting:
        def Predict(self, request: Any, **options: Any) -> Any:  # noqa: N802 - the stub's own name
            return grpc_client.call(stub.Predict, request, **options)

    answer = ask(Waiting(), "half_plus_two", [[1.0], [2.0]])
    assert tf.make_ndarray(answer.outputs["y"]).tolist() == [[2.5], [3.0]]


# ------------------------------------------------------------------------------------------ Triton


def fields(descriptor: Descriptor, seen: set[str]) -> set[str]:
    """The names of all fields below a message."""
    if descriptor.full_name not in seen:
        seen.add(descriptor.full_name)
        for field in descriptor.fields:
            seen.add(field.name)
            if field.message_type is not None:
                fields(field.message_type, seen)
    return seen


def test_its_fields_are_those_of_config_pbtxt() -> None:
    known = fields(model_config_pb2.ModelConfig.DESCRIPTOR, set())
    told = [word for words, _ in first_cells(TRITON, "`config.pbtxt`") for word in words]
    assert len(told) > 20
    for word in told:
        assert set(word.removesuffix(" {}").split(".")) <= known, word


def test_its_function_is_served(user_modules: UserModules) -> None:
    write_named(TRITON, user_modules.folder)
    assert outputs(ModelConfig("sums", Path("sums:infer")), [[1.0, 2.0, 4.0]]) == [[7.0]]


# ---------------------------------------------------------------------------- BentoML and LitServe


@pytest.fixture
def weights(user_modules: UserModules) -> None:
    """A working folder with weights."""
    np.save(user_modules.folder / "weights.npy", WEIGHTS)


@pytest.mark.usefixtures("weights")
def test_bentomls_service_is_served_as_a_function() -> None:
    write_named(BENTOML, Path.cwd())
    answered = outputs(ModelConfig("digits", Path("digits:predict")), ROWS.tolist())
    np.testing.assert_allclose(answered, ROWS @ WEIGHTS, rtol=1e-5)


@pytest.mark.usefixtures("weights")
def test_bentomls_service_is_an_app() -> None:
    names: dict[str, Any] = {"__name__": "app"}
    exec(named(BENTOML, "app.py"), names)
    app = names["app"]

    async def main() -> None:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://app") as client,
        ):
            asked = [client.post("/predict", json=[row]) for row in ROWS.tolist()]
            answered = [answer.json()[0] for answer in await asyncio.gather(*asked)]
            np.testing.assert_allclose(answered, ROWS @ WEIGHTS, rtol=1e-5)

    asyncio.run(main())


@pytest.mark.usefixtures("weights")
def test_litserves_api_is_served_as_a_function() -> None:
    write_named(LITSERVE, Path.cwd())
    answered = outputs(ModelConfig("digits", Path("digits:predict")), ROWS.tolist())
    assert answered == (ROWS @ WEIGHTS).argmax(axis=1).tolist()


@pytest.mark.usefixtures("weights")
def test_litserves_route_stays() -> None:
    names: dict[str, Any] = {"__name__": "app"}
    exec(named(LITSERVE, "app.py"), names)

    async def main() -> None:
        async with TestClient(TestServer(names["app"])) as client:
            asked = [client.post("/predict", json={"x": row}) for row in ROWS.tolist()]
            answered = [await answer.json() for answer in await asyncio.gather(*asked)]
            expected = (ROWS @ WEIGHTS).argmax(axis=1)
            assert answered == [{"digit": digit} for digit in expected.tolist()]
            assert (await client.post("/predict", json={"x": [1.0]})).status == 400

    asyncio.run(main())
