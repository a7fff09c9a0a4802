"""The batching options of a server, seen by its clients: real models through the front."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batcher.lengths import VariableLength
from server.config import Config, ConfigError, ModelConfig
from server.exchange import Answer, Exchange
from server.models.tensorflow_runtime import tf
from tests.server import saved_models
from tests.server.conftest import Served

LENGTHS = VariableLength({"ids": (1, 7)}, boundaries=(4, 8), outputs={"tags": 1}, mask="real")


def _texts(ids: Any, real: Any) -> dict[str, Any]:
    """A tag for each word, and the sum of the real ones."""
    return {"tags": ids * 10, "total": tf.reduce_sum(ids * real, axis=1)}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    base = tmp_path_factory.mktemp("texts")
    inputs = {"ids": ("int32", [None, None]), "real": ("int32", [None, None])}
    saved_models.save(base, 1, {"serving_default": (_texts, inputs)})
    served = Served(Config((ModelConfig("texts", base, lengths=LENGTHS),)))
    yield served
    served.close()


def ask_all(
    served: Served, target: str, bodies: list[Any], headers: Mapping[str, str] | None = None
) -> list[Answer]:
    """Answers of requests that come at once."""
    front = served.application.front

    async def ask() -> list[Answer]:
        exchanges = [
            Exchange("POST", target, headers or {}, json.dumps(body).encode()) for body in bodies
        ]
        return await asyncio.gather(*[front.handle(exchange) for exchange in exchanges])

    return served.run(ask())


def test_texts_of_different_lengths_share_batches_and_never_see_their_padding(
    texts: Served,
) -> None:
    asked = [list(range(1, length + 1)) for length in (1, 2, 3, 4, 5, 6, 7, 8) * 4]
    bodies = [{"instances": [{"ids": ids}]} for ids in asked]
    answers = ask_all(texts, "/v1/models/texts:predict", bodies)
    assert [json.loads(answer.body) for answer in answers] == [
        {"predictions": [{"tags": [10 * i for i in ids], "total": sum(ids)}]} for ids in asked
    ]
    statistics = json.loads(texts.ask("GET", "/v2/models/texts/stats").body)["model_stats"][0]
    assert statistics["execution_count"] <= statistics["inference_count"] // 4


def test_a_text_beyond_the_largest_boundary_is_refused(texts: Served) -> None:
    (answer,) = ask_all(texts, "/v1/models/texts:predict", [{"inputs": [[1] * 9]}])
    assert answer.status == 400
    assert "a length of 9 is above the largest boundary, 8" in json.loads(answer.body)["error"]


def test_the_mask_is_not_the_clients_business(texts: Served) -> None:
    shown = json.loads(texts.ask("GET", "/v2/models/texts").body)
    assert [tensor["name"] for tensor in shown["inputs"]] == ["ids"]


def test_rows_that_the_model_refuses_harm_no_others_however_many_they_are(served: Served) -> None:
    rows = [[1.0, -1.0] if number % 3 == 0 else [1.0, 1.0] for number in range(24)]
    bodies = [{"signature_name": "no_negatives", "instances": [row]} for row in rows]
    answers = ask_all(served, "/v1/models/odd_ones:predict", bodies)
    for row, answer in zip(rows, answers, strict=True):
        if min(row) < 0:
            assert answer.status == 400
            assert "refused the input" in json.loads(answer.body)["error"]
        else:
            assert json.loads(answer.body) == {"predictions": [row]}


def test_a_deadline_and_a_priority_reach_the_batcher(served: Served) -> None:
    wishes = {"X-Request-Timeout-Ms": "60000", "X-Request-Priority": "-1"}
    body = {"instances": [[1.0]]}
    (answer,) = ask_all(served, "/v1/models/half_plus_two:predict", [body], wishes)
    assert json.loads(answer.body) == {"predictions": [[2.5]]}
    late = {"X-Request-Timeout-Ms": "0.000001"}
    (answer,) = ask_all(served, "/v1/models/half_plus_two:predict", [body], late)
    assert answer.status == 504


def test_batches_are_padded_to_the_allowed_sizes(models: dict[str, Path]) -> None:
    config = ModelConfig(
        "half", models["half_plus_two"], max_batch_size=8, allowed_batch_sizes=(4, 8)
    )
    served = Served(Config((config,)))
    try:
        bodies = [{"instances": [[float(number)]]} for number in range(3)]
        answers = ask_all(served, "/v1/models/half:predict", bodies)
        values = [json.loads(answer.body)["predictions"][0][0] for answer in answers]
        assert np.allclose(values, [2.0, 2.5, 3.0])
        metrics = served.ask("GET", "/metrics").body.decode()
        assert 'batcher_padding_rows_total{model="half",version="123"} 1.0' in metrics
    finally:
        served.close()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"allowed_batch_sizes": (8, 4)}, "must ascend"),
        ({"allowed_batch_sizes": (4, 8)}, "the last of allowed_batch_sizes"),
        ({"run_timeout": 0.0}, "run_timeout must be more than 0 seconds"),
        ({"max_queue_bytes": 0}, "max_queue_bytes must be at least 1"),
        ({"max_wait": -1.0}, "max_wait must be finite seconds"),
        ({"ageing": 0.0}, "ageing must be more than 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        ModelConfig("m", Path(), **options)
