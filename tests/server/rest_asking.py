"""How tests ask TensorFlow Serving's REST API, and look at what it says."""

import json
from typing import Any

import pytest

from tests.server.conftest import Served

HALF = "/v1/models/half_plus_two"
TWO = "/v1/models/two_by_two"
DTYPES = "/v1/models/every_dtype"
ODD = "/v1/models/odd_ones"
SHAPES = "/v1/models/any_shape"
FEATURES = "/v1/models/of_examples"
EXAMPLES = "/v1/models/examples"

Said = tuple[int, Any]


def ask(served: Served, method: str, target: str, body: str | bytes = "") -> Said:
    """Status and parsed body of an answer."""
    raw = body.encode() if isinstance(body, str) else body
    answer = served.ask(method, target, raw)
    assert answer.content_type == "application/json"
    return answer.status, json.loads(answer.body)


def predict(served: Served, model: str, body: str | bytes) -> Said:
    """Status and parsed body of a predict."""
    return ask(served, "POST", f"{model}:predict", body)


def assert_refused(said: Said, status: int, *words: str) -> None:
    """One object with one key, whose text has these words."""
    assert said[0] == status, said
    assert list(said[1]) == ["error"]
    for word in words:
        assert word in said[1]["error"]


def of_signature(name: str, form: str, values: str) -> str:
    """A body for a signature that is not the default one."""
    return f'{{"signature_name": "{name}", "{form}": {values}}}'


def rows(instances: str, more: str = "") -> str:
    """A body of rows, and more members after them."""
    return f'{{"instances": {instances}{more}}}'


def columns(inputs: str) -> str:
    """A body of columns."""
    return f'{{"inputs": {inputs}}}'


def case(number: str, method: str, target: str, body: str, *, status: int, said: Any) -> Any:
    """A case of the note: a request, and what comes of it.

    `said` are the words of an error, the very bytes of an answer, or its JSON.
    """
    return pytest.param((method, target, body), status, said, id=number)


def yes(number: str, model: str, body: str, said: Any, verb: str = "predict") -> Any:
    """A POST that is answered."""
    return case(number, "POST", f"{model}:{verb}", body, status=200, said=said)


def no(
    number: str, model: str, body: str, *words: str, status: int = 400, verb: str = "predict"
) -> Any:
    """A POST that is refused with these words."""
    return case(number, "POST", f"{model}:{verb}", body, status=status, said=words)
