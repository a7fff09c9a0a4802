"""KServe's own clients work unchanged, REST and gRPC."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import numpy as np
import pytest

from tests.clients.served import DIGITS, LENGTHS, PIXELS, TEXTS, served_to

SERVED = served_to("kserve")

import httpx
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

R = TypeVar("R")

SCANS = np.array(PIXELS, np.float32).reshape(-1, 8, 8)


def over_http(use: Callable[[Any, str], Awaitable[R]], protocol: str = "v2") -> R:
    """What a REST client and the server's URL make of each other."""

    async def main() -> R:
        async with InferenceRESTClient(RESTConfig(protocol=protocol)) as client:
            return await use(client, f"http://{SERVED.http}")

    return asyncio.run(main())


def over_grpc(use: Callable[[Any], Awaitable[R]]) -> R:
    """What a gRPC client makes of the server."""

    async def main() -> R:
        async with InferenceGRPCClient(SERVED.grpc) as client:
            return await use(client)

    return asyncio.run(main())


def asked(
    model: str, name: str, datatype: str, array: Any, *, binary: bool, answer: bool = False
) -> Any:
    """A request for one tensor; `answer`: its answer has to be binary as well."""
    tensor = InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return InferRequest(model, [tensor], parameters={"binary_data_output": answer})


def digits(*, binary: bool, answer: bool = False) -> Any:
    return asked("digits", "images", "FP32", SCANS, binary=binary, answer=answer)


def words(*, binary: bool, answer: bool = False) -> Any:
    texts = np.array(TEXTS, np.object_)
    return asked("words", "text", "BYTES", texts, binary=binary, answer=answer)


def read(answer: Any) -> list[Any]:
    """The digits that the answer's one output tells of."""
    (output,) = answer.outputs
    assert output.as_numpy().shape == (2, 10)
    best: list[int] = output.as_numpy().argmax(axis=1).tolist()
    return best


def test_rest_asks_for_health() -> None:
    assert over_http(lambda client, url: client.is_server_live(url)) is True
    assert over_http(lambda client, url: client.is_server_ready(url)) is True
    assert over_http(lambda client, url: client.is_model_ready(url, "digits")) is True
    assert over_http(lambda client, url: client.is_model_ready(url, "absent")) is False


@pytest.mark.parametrize("binary", [False, True], ids=["asks-json", "asks-binary"])
@pytest.mark.parametrize("answer", [False, True], ids=["gets-json", "gets-binary"])
def test_rest_infers(*, binary: bool, answer: bool) -> None:
    request = digits(binary=binary, answer=answer)
    assert read(over_http(lambda client, url: client.infer(url, request, "digits"))) == DIGITS


@pytest.mark.parametrize("binary", [False, True], ids=["asks-json", "asks-binary"])
@pytest.mark.parametrize("answer", [False, True], ids=["gets-json", "gets-binary"])
def test_rest_sends_and_gets_texts(*, binary: bool, answer: bool) -> None:
    request = words(binary=binary, answer=answer)
    got = over_http(lambda client, url: client.infer(url, request, "words"))
    assert [text.encode() for text in got.get_output_by_name("text").data] == TEXTS
    assert got.get_output_by_name("length").as_numpy().tolist() == LENGTHS


def test_rest_is_told_what_was_wrong() -> None:
    request = asked("digits", "wrong", "FP32", SCANS, binary=True)
    with pytest.raises(httpx.HTTPStatusError, match=r"images.*'400 Bad Request' for url"):
        over_http(lambda client, url: client.infer(url, request, "digits"))


def test_rest_speaks_version_1_as_well() -> None:
    body = {"instances": SCANS.tolist()}
    got = over_http(lambda client, url: client.infer(url, body, "digits"), protocol="v1")
    assert np.argmax(got["predictions"], axis=1).tolist() == DIGITS


def test_grpc_asks_for_health() -> None:
    assert over_grpc(lambda client: client.is_server_live()) is True
    assert over_grpc(lambda client: client.is_server_ready()) is True
    assert over_grpc(lambda client: client.is_model_ready("digits")) is True


@pytest.mark.parametrize("binary", [False, True], ids=["typed", "raw"])
def test_grpc_infers(*, binary: bool) -> None:
    answer = over_grpc(lambda client: client.infer(digits(binary=binary)))
    assert (answer.model_name, answer.model_version) == ("digits", "1")
    assert read(answer) == DIGITS


@pytest.mark.parametrize("binary", [False, True], ids=["typed", "raw"])
def test_grpc_sends_and_gets_texts(*, binary: bool) -> None:
    answer = over_grpc(lambda client: client.infer(words(binary=binary)))
    assert answer.get_output_by_name("text").as_numpy().tolist() == TEXTS
    assert answer.get_output_by_name("length").as_numpy().tolist() == LENGTHS
