"""tritonclient without TensorFlow beside it: each of its four clients, from health to an answer."""

import asyncio
from typing import Any

import numpy as np
import pytest

from tests.clients.served import DIGITS, LENGTHS, PIXELS, TEXTS, served_to

SERVED = served_to("tritonclient")

import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio

CLIENTS = [
    pytest.param(tritonclient.http, SERVED.http, id="http"),
    pytest.param(tritonclient.http.aio, SERVED.http, id="http-aio"),
    pytest.param(tritonclient.grpc, SERVED.grpc, id="grpc"),
    pytest.param(tritonclient.grpc.aio, SERVED.grpc, id="grpc-aio"),
]

INPUTS = {
    "digits": ("images", np.array(PIXELS, np.float32).reshape(-1, 8, 8), "FP32"),
    "words": ("text", np.array(TEXTS, np.object_), "BYTES"),
}


def ask(package: Any, address: str, method: str, *arguments: Any) -> Any:
    """Call one method of a new client of either kind."""
    if not package.__name__.endswith(".aio"):
        with package.InferenceServerClient(address) as client:
            return getattr(client, method)(*arguments)

    async def main() -> Any:
        async with package.InferenceServerClient(address) as client:
            return await getattr(client, method)(*arguments)

    return asyncio.run(main())


@pytest.mark.parametrize(("package", "address"), CLIENTS)
def test_the_server_is_well(package: Any, address: str) -> None:
    assert ask(package, address, "is_server_live")
    assert ask(package, address, "is_server_ready")
    assert ask(package, address, "is_model_ready", "digits")
    assert not ask(package, address, "is_model_ready", "digits", "9")


@pytest.mark.parametrize(("package", "address"), CLIENTS)
@pytest.mark.parametrize("model", INPUTS)
def test_a_model_answers(package: Any, address: str, model: str) -> None:
    name, array, datatype = INPUTS[model]
    tensor = package.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    answer = ask(package, address, "infer", model, [tensor])
    if model == "digits":
        assert answer.as_numpy("probabilities").argmax(axis=1).tolist() == DIGITS
    else:
        assert answer.as_numpy("text").tolist() == TEXTS
        assert answer.as_numpy("length").tolist() == LENGTHS
