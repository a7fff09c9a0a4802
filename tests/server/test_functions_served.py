"""Python functions behind the real front: right answers, and nobody pays for another's row."""

import asyncio
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from multidict import CIMultiDict
from structlog.testing import capture_logs

from server.config import Config, ModelConfig
from server.demo.scans import held_out
from server.errors import StartupError
from server.exchange import Exchange
from tests.server.conftest import Served
from tests.server.user_modules import UserModules

BATCHES = re.compile(r'^batcher_batch_rows_count\{model="digits",version="1"\} (.+)$', re.MULTILINE)

DIGITS = """
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from server.demo.scans import training

scans, labels = training()
model = make_pipeline(StandardScaler(), LogisticRegression())
model.fit(scans.reshape(-1, 64), labels)
"""

ODD = """
BATCHES = []

@signature({"x": "float64[-1]"}, {"y": "float64[-1]"})
def f(x):
    BATCHES.append(len(x))
    if (x == 13).any():
        raise InputRejected("13 brings no luck")
    if (x == 14).any():
        raise ValueError(f"secret {x}")
    if (x == 15).any():
        raise SystemExit("secret")
    x *= 2
    return x[x != 32]
"""


@pytest.fixture
def odd(user_modules: UserModules) -> Iterator[Served]:
    """The double of a number; some numbers cause trouble."""
    user_modules.write("odd", ODD)
    served = Served(Config((ModelConfig("odd", Path("odd:f"), max_batch_size=16),)))
    yield served
    served.close()


def ask_together(served: Served, model: str, rows: Sequence[Any]) -> list[tuple[int, Any]]:
    """Status and body of a request for each row, all under way at once."""

    async def ask(row: Any) -> tuple[int, Any]:
        body = json.dumps({"instances": [row]}).encode()
        target = f"/v1/models/{model}:predict"
        answer = await served.application.front.handle(
            Exchange("POST", target, CIMultiDict(), body)
        )
        return answer.status, json.loads(answer.body)

    async def main() -> list[tuple[int, Any]]:
        return await asyncio.gather(*[ask(row) for row in rows])

    return served.run(main())


def test_an_estimator_is_answered_as_called_directly(user_modules: UserModules) -> None:
    user_modules.write("digits_by_hand", DIGITS)
    scans, labels = held_out()
    rows = scans.reshape(-1, 64).astype("float64")
    config = ModelConfig("digits", Path("digits_by_hand:model.predict_proba"), max_batch_size=32)
    served = Served(Config((config,)))
    try:
        answers = ask_together(served, "digits", rows.tolist())
        metadata = json.loads(served.ask("GET", "/v2/models/digits").body)
        metrics = served.ask("GET", "/metrics").body.decode()
    finally:
        served.close()
    assert {status for status, _ in answers} == {200}
    predictions = np.array([body["predictions"][0] for _, body in answers])
    direct = user_modules.module("digits_by_hand").model.predict_proba(rows)
    np.testing.assert_allclose(predictions, direct, rtol=1e-9)
    assert (predictions.argmax(axis=1) == labels).mean() >= 0.95
    assert float(BATCHES.findall(metrics)[0]) < len(rows)
    assert metadata["platform"] == "python"
    assert metadata["inputs"] == [{"name": "X", "datatype": "FP64", "shape": [-1, 64]}]


@pytest.mark.parametrize(
    ("poison", "status", "told"),
    [
        (13, 400, "the model refused the input: 13 brings no luck"),
        (14, 500, "the model failed: ValueError"),
        (15, 500, "the model failed: RuntimeError"),
        (16, 500, "the model failed: WrongOutput"),
    ],
)
def test_a_row_that_brings_trouble_is_its_own_callers(
    odd: Served, user_modules: UserModules, poison: float, status: int, told: str
) -> None:
    rows = [1.0, 2.0, 3.0, poison, 5.0, 6.0, 7.0, 8.0]
    sizes = user_modules.module("odd").BATCHES
    sizes.clear()
    with capture_logs() as entries:
        answers = ask_together(odd, "odd", rows)
    for row, answer in zip(rows, answers, strict=True):
        if row == poison:
            assert answer == (status, {"error": told})
        else:
            assert answer == (200, {"predictions": [row * 2]})
    assert max(sizes) > 1
    assert len([e for e in entries if e["event"] == "inference failed"]) == (status == 500)


def test_details_are_in_the_log(odd: Served) -> None:
    with capture_logs() as entries:
        ask_together(odd, "odd", [16.0])
    (entry,) = [e for e in entries if e["event"] == "inference failed"]
    assert entry["model"] == "odd"
    cause = entry["exc_info"].__cause__.__cause__
    assert str(cause) == (
        "odd:f, signature 'serving_default', returned output 'y' of shape [0] for 1 rows"
    )


def test_a_module_is_replaced_while_it_serves(odd: Served, user_modules: UserModules) -> None:
    user_modules.write("odd", ODD.replace("x *= 2", "x *= 10"))
    odd.run(odd.application._serving.load("odd"))
    assert ask_together(odd, "odd", [1.0]) == [(200, {"predictions": [10.0]})]


def test_a_module_that_got_worse_is_not_taken(odd: Served, user_modules: UserModules) -> None:
    user_modules.write("odd", "f = None")
    with pytest.raises(Exception, match="odd:f is a NoneType"):
        odd.run(odd.application._serving.load("odd"))
    assert ask_together(odd, "odd", [1.0]) == [(200, {"predictions": [2.0]})]


@pytest.mark.parametrize(
    ("returned", "told"),
    [("x[:1]", "rows"), ("x.astype('float32')", "float32"), ("None", "NoneType")],
)
def test_a_function_that_never_returns_what_it_says_does_not_come_to_serve(
    user_modules: UserModules, returned: str, told: str
) -> None:
    user_modules.write(
        "wrong",
        f"""
@signature({{"x": "float64[-1]"}}, {{"y": "float64[-1]"}})
def f(x):
    return {returned}
""",
    )
    with pytest.raises(StartupError, match=f"wrong:f cannot be served: .*{told}"):
        Served(Config((ModelConfig("wrong", Path("wrong:f")),)))
