"""What loading a model comes to: the line of an operator, or answers as the trained model's own."""

import json
from pathlib import Path

import numpy as np
import pytest

from server.demo.scans import held_out
from server.errors import StartupError
from server.models import load
from tests.server import keras_files
from tests.server.conftest import Served


def line_of(path: Path) -> str:
    """What an operator is told of a model that does not load."""
    with pytest.raises(StartupError) as told:
        load(path)
    message = str(told.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def assert_answers_as_trained(served: Served, name: str) -> None:
    """A model made of `keras_files.trained` reads held-out scans, and as that itself does."""
    scans, labels = held_out()
    body = json.dumps({"instances": scans.tolist()}).encode()
    answer = served.ask("POST", f"/v1/models/{name}:predict", body)
    assert answer.status == 200
    predictions = np.array(json.loads(answer.body)["predictions"])
    direct = keras_files.trained()(scans, training=False).numpy()
    np.testing.assert_allclose(predictions, direct, rtol=1e-5, atol=1e-6)
    assert (predictions.argmax(axis=1) == labels).mean() > 0.9
