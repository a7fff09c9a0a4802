"""A worked example: encoded images for a model that decodes them, by every protocol.

Encoded images are a tenth of their pixels, and the decoding runs beside the model. A signature for
that takes strings `[n]`. The warm-up tries pictures as well, and so its requests share batches.
"""

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
from tritonclient.utils import serialize_byte_tensor

from server.config import Config, ModelConfig
from server.exchange import Exchange
from server.models.tensorflow_runtime import tf
from tests.server import saved_models
from tests.server.conftest import Served
from tests.server.grpc_served import GrpcServed

SIZE = 8
PREDICT = "/v1/models/colours:predict"
INFER = "/v2/models/colours/infer"
BROKEN = b"\x89PNG, and then nothing of the kind"


def _pixels(encoded: Any) -> Any:
    """One encoded image to SIZE x SIZE pixels from 0 to 1."""
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    return tf.image.resize(tf.cast(image, tf.float32) / 255.0, [SIZE, SIZE])


def _mean_colours(image: Any) -> dict[str, Any]:
    pixels = tf.map_fn(
        _pixels, image, fn_output_signature=tf.TensorSpec([SIZE, SIZE, 3], tf.float32)
    )
    return {"rgb": tf.reduce_mean(pixels, axis=[1, 2])}


def png(red: int, green: int, blue: int) -> bytes:
    """An image of one colour."""
    pixels = np.full((20, 30, 3), (red, green, blue), np.uint8)
    encoded: bytes = tf.io.encode_png(pixels).numpy()
    return encoded


RED, GREEN = png(255, 0, 0), png(0, 255, 0)
SEEN = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("colours")
    signature = (_mean_colours, {"image": ("string", [None])})
    return saved_models.save(base, 1, {"serving_default": signature})


@pytest.fixture(scope="module")
def colours(model: Path) -> Iterator[Served]:
    served = Served(Config((ModelConfig("colours", model),)))
    yield served
    served.close()


def of_rest(*images: bytes) -> bytes:
    encoded = [{"b64": base64.b64encode(image).decode()} for image in images]
    return json.dumps({"instances": encoded}).encode()


def test_tensorflow_serving_rest_takes_images_in_base64(colours: Served) -> None:
    answer = colours.ask("POST", PREDICT, of_rest(RED, GREEN))
    assert answer.status == 200
    assert json.loads(answer.body)["predictions"] == SEEN


def test_the_open_inference_protocol_takes_them_as_bytes(colours: Served) -> None:
    raw: bytes = serialize_byte_tensor(np.array([RED, GREEN], object)).item()
    parameters = {"binary_data_size": len(raw)}
    tensor = {"name": "image", "shape": [2], "datatype": "BYTES", "parameters": parameters}
    head = json.dumps({"inputs": [tensor]}).encode()
    length = {"Inference-Header-Content-Length": str(len(head))}
    answer = colours.ask("POST", INFER, head + raw, length)
    (output,) = json.loads(answer.body)["outputs"]
    assert output["shape"] == [2, 3]
    assert output["data"] == [value for rgb in SEEN for value in rgb]


def test_grpc_takes_them_as_strings(model: Path) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "colours"
    image = request.inputs["image"]
    image.dtype = tf.string.as_datatype_enum
    image.tensor_shape.dim.add().size = 2
    image.string_val.extend([RED, GREEN])
    config = Config((ModelConfig("colours", model),))
    with GrpcServed(config) as served, grpc.insecure_channel(served.address) as channel:
        reply = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request)
    assert list(reply.outputs["rgb"].float_val) == [value for rgb in SEEN for value in rgb]


@pytest.mark.parametrize("neighbours", [1, 20])
def test_a_broken_image_is_refused_and_its_neighbours_are_answered(
    colours: Served, neighbours: int
) -> None:
    front = colours.application.front

    async def ask_all() -> list[Any]:
        bodies = [of_rest(RED)] * neighbours + [of_rest(BROKEN)] + [of_rest(GREEN)] * neighbours
        exchanges = [Exchange("POST", PREDICT, {}, body) for body in bodies]
        return await asyncio.gather(*[front.handle(exchange) for exchange in exchanges])

    answers = colours.run(ask_all())
    refused = answers.pop(neighbours)
    assert refused.status == 400
    assert "refused the input" in json.loads(refused.body)["error"]
    assert [json.loads(answer.body) for answer in answers] == [
        {"predictions": [seen]} for seen in SEEN for _ in range(neighbours)
    ]


def test_requests_with_images_share_batches(colours: Served) -> None:
    statistics = json.loads(colours.ask("GET", "/v2/models/colours/stats").body)["model_stats"][0]
    assert statistics["execution_count"] < statistics["inference_count"]
