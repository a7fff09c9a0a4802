"""Triton's trace and logging settings, asked for and changed over HTTP, section 8 of the note."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from server.config import Config, ModelConfig
from server.demo import DIGITS
from server.exchange import Answer
from tests.server.administrator import HEADERS, TOKEN
from tests.server.conftest import Served

TRACE = "/v2/trace/setting"
MODEL_TRACE = "/v2/models/digits/trace/setting"
LOG = "/v2/logging"

TRACED_AT_FIRST = {
    "trace_level": ["OFF"],
    "trace_rate": "1000",
    "trace_count": "-1",
    "log_frequency": "0",
    "trace_file": "",
    "trace_mode": "triton",
}
LOGGED_AT_FIRST = {
    "log_file": "",
    "log_info": True,
    "log_warning": True,
    "log_error": True,
    "log_verbose_level": 0,
    "log_format": "default",
}


@pytest.fixture(scope="module")
def administered() -> Iterator[Served]:
    models = (ModelConfig("digits", DIGITS),)
    served = Served(Config(models, admin=True, admin_tokens=(TOKEN,)))
    yield served
    served.close()


@pytest.fixture
def served(administered: Served) -> Iterator[Served]:
    """With the settings of the start, and after the test again; the logging too."""
    configured, level = structlog.get_config(), logging.getLogger().level
    yield administered
    for target in (TRACE, MODEL_TRACE):
        answer = change(administered, target, dict.fromkeys(TRACED_AT_FIRST))
        assert answer.status == 200
    assert change(administered, LOG, LOGGED_AT_FIRST).status == 200
    structlog.configure(**configured)
    logging.getLogger().setLevel(level)


def change(served: Served, target: str, settings: object) -> Answer:
    raw = settings if isinstance(settings, bytes) else json.dumps(settings).encode()
    return served.ask("POST", target, raw, HEADERS)


def told(answer: Answer) -> Any:
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def get(served: Served, target: str) -> Any:
    return told(served.ask("GET", target))


def test_the_settings_of_the_start(served: Served) -> None:
    assert get(served, TRACE) == get(served, MODEL_TRACE) == TRACED_AT_FIRST
    assert get(served, LOG) == LOGGED_AT_FIRST


@pytest.mark.parametrize("body", [b"", b"{}"], ids=["empty", "no-settings"])
@pytest.mark.parametrize("target", [TRACE, MODEL_TRACE, LOG])
def test_nothing_given_changes_nothing(served: Served, target: str, body: bytes) -> None:
    assert told(change(served, target, body)) == get(served, target)
    assert get(served, target) in (TRACED_AT_FIRST, LOGGED_AT_FIRST)


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        pytest.param({"trace_level": ["TIMESTAMPS"]}, {}, id="level"),
        pytest.param({"trace_level": "TIMESTAMPS"}, {"trace_level": ["TIMESTAMPS"]}, id="string"),
        pytest.param(
            {"trace_level": ["OFF", "TIMESTAMPS"]}, {"trace_level": ["TIMESTAMPS"]}, id="both"
        ),
        pytest.param({"trace_rate": "7"}, {}, id="rate"),
        pytest.param({"trace_rate": 7}, {"trace_rate": "7"}, id="rate-number"),
        pytest.param({"trace_rate": ["7"]}, {"trace_rate": "7"}, id="rate-list"),
        pytest.param({"trace_count": "0"}, {}, id="count"),
        pytest.param({"trace_count": "-1"}, {}, id="count-without-end"),
        pytest.param({"trace_file": "", "trace_mode": "triton", "log_frequency": "0"}, {}, id="as"),
    ],
)
@pytest.mark.parametrize("target", [TRACE, MODEL_TRACE])
def test_traces_are_changed(served: Served, target: str, given: Any, changed: Any) -> None:
    expected = TRACED_AT_FIRST | given | changed
    assert told(change(served, target, given)) == expected
    assert get(served, target) == get(served, MODEL_TRACE) == expected


def test_a_model_may_have_settings_of_its_own_until_they_are_cleared(served: Served) -> None:
    change(served, TRACE, {"trace_rate": "5"})
    assert told(change(served, MODEL_TRACE, {"trace_count": "3"}))["trace_rate"] == "5"
    assert get(served, TRACE)["trace_count"] == "-1"
    change(served, TRACE, {"trace_rate": "6"})
    own = get(served, MODEL_TRACE)
    assert (own["trace_rate"], own["trace_count"]) == ("5", "3")
    own = told(change(served, MODEL_TRACE, {"trace_rate": None}))
    assert (own["trace_rate"], own["trace_count"]) == ("6", "3")
    change(served, MODEL_TRACE, {"trace_count": []})
    # It has none of its own left, and follows again.
    change(served, TRACE, {"trace_rate": "8"})
    assert get(served, MODEL_TRACE)["trace_rate"] == "8"


def test_settings_of_all_models_are_cleared_to_those_of_the_start(served: Served) -> None:
    change(served, TRACE, {"trace_rate": "5", "trace_level": ["TIMESTAMPS"]})
    assert told(change(served, TRACE, {"trace_level": None}))["trace_rate"] == "5"
    assert told(change(served, TRACE, {"trace_rate": None})) == TRACED_AT_FIRST


@pytest.mark.parametrize("on", [True, False], ids=["on", "off"])
def test_a_traced_request_leaves_an_entry(served: Served, *, on: bool) -> None:
    level = "TIMESTAMPS" if on else "OFF"
    change(served, MODEL_TRACE, {"trace_level": [level], "trace_rate": "1", "trace_count": "2"})
    images = {"name": "images", "shape": [1, 8, 8], "datatype": "FP32", "data": [0.0] * 64}
    body = json.dumps({"inputs": [images]}).encode()
    with structlog.testing.capture_logs() as entries:
        for _ in range(3):
            assert served.ask("POST", "/v2/models/digits/infer", body).status == 200
    assert [entry["event"] for entry in entries] == ["trace", "trace"] * on


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        pytest.param({"trace_level": ["TENSORS"]}, 400, ["TENSORS"], id="tensors"),
        pytest.param({"trace_level": ["MAX"]}, 400, ["MAX"], id="old-level"),
        pytest.param({"trace_level": [1]}, 400, ["an integer"], id="level-number"),
        pytest.param({"trace_level": {}}, 400, ["an object"], id="level-object"),
        pytest.param({"trace_rate": "0"}, 400, ["from 1 on", "'0'"], id="rate-0"),
        pytest.param({"trace_rate": "x"}, 400, ["'x'"], id="rate-text"),
        pytest.param({"trace_rate": "1.5"}, 400, ["'1.5'"], id="rate-fraction"),
        pytest.param({"trace_rate": 1.5}, 400, ["a floating-point"], id="rate-float"),
        pytest.param({"trace_rate": True}, 400, ["a boolean"], id="rate-boolean"),
        pytest.param({"trace_rate": ["1", "2"]}, 400, ["a list"], id="rate-list"),
        pytest.param({"trace_rate": "9" * 5000}, 400, ["from 1 on"], id="rate-long"),
        pytest.param({"trace_count": "-2"}, 400, ["from -1 on"], id="count-below"),
        pytest.param({"log_frequency": "1"}, 400, ["'log_frequency'"], id="frequency"),
        pytest.param({"trace_mode": "opentelemetry"}, 400, ["'trace_mode'"], id="mode"),
        pytest.param({"trace_file": "/tmp/x"}, 403, ["'trace_file'", "file"], id="file"),
        pytest.param({"trace_x": "1"}, 400, ["'trace_x'", "'trace_rate'"], id="unknown"),
        pytest.param([], 400, ["object"], id="list"),
        pytest.param(b"{", 400, ["not JSON"], id="broken"),
    ],
)
def test_traces_that_are_refused(served: Served, given: Any, status: int, words: list[str]) -> None:
    """As a whole: what is right beside it is not changed either."""
    if isinstance(given, dict):
        given = {"trace_count": "9"} | given
    for target in (TRACE, MODEL_TRACE):
        answer = change(served, target, given)
        assert answer.status == status
        for word in words:
            assert word in json.loads(answer.body)["error"]
        assert get(served, target) == TRACED_AT_FIRST


def test_traces_of_an_unknown_model_are_refused(served: Served) -> None:
    assert change(served, "/v2/models/nobody/trace/setting", {"trace_rate": "5"}).status == 404


@pytest.mark.parametrize(
    ("given", "level"),
    [
        pytest.param({"log_verbose_level": 1}, logging.DEBUG, id="verbose"),
        pytest.param({"log_info": False}, logging.WARNING, id="no-info"),
        pytest.param(
            {"log_info": False, "log_warning": False, "log_error": False},
            logging.CRITICAL,
            id="nothing",
        ),
        pytest.param({"log_file": "", "log_format": "default"}, logging.INFO, id="as-it-is"),
    ],
)
def test_the_log_is_changed(served: Served, given: Any, level: int) -> None:
    expected = LOGGED_AT_FIRST | given
    assert told(change(served, LOG, given)) == get(served, LOG) == expected
    assert served.application._serving.log_settings().level == level


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        pytest.param({"log_info": "yes"}, 400, ["'log_info'", "a boolean"], id="switch-string"),
        pytest.param({"log_info": None}, 400, ["'log_info'", "null"], id="switch-null"),
        pytest.param({"log_verbose_level": "1"}, 400, ["an integer"], id="verbose-string"),
        pytest.param({"log_verbose_level": True}, 400, ["an integer"], id="verbose-boolean"),
        pytest.param({"log_verbose_level": -1}, 400, ["from 0 on"], id="verbose-negative"),
        pytest.param({"log_file": "/tmp/x"}, 403, ["'log_file'", "file"], id="file"),
        pytest.param({"log_format": "ISO8601"}, 400, ["'log_format'"], id="format"),
        pytest.param({"log_x": 1}, 400, ["'log_x'", "'log_info'"], id="unknown"),
        pytest.param("x", 400, ["object"], id="string"),
    ],
)
def test_what_is_refused_of_the_log(
    served: Served, given: Any, status: int, words: list[str]
) -> None:
    if isinstance(given, dict):
        given = {"log_warning": False} | given
    answer = change(served, LOG, given)
    assert answer.status == status
    for word in words:
        assert word in json.loads(answer.body)["error"]
    assert get(served, LOG) == LOGGED_AT_FIRST
