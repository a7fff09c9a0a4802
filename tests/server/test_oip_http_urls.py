"""The Open Inference Protocol over HTTP: what is at which target, and who is not there.

The ids name sections and rows of the protocol note.
"""

import asyncio
import json
from typing import Any

import pytest

from server.app import Application
from server.config import Config
from server.exchange import Answer, Exchange
from tests.server.conftest import Served
from tests.server.oip_asking import HALF, assert_refused, infer


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        pytest.param("GET", "/v2/health/live", {"live": True}, id="1-live"),
        pytest.param("GET", "/v2/health/ready", {"ready": True}, id="1-ready"),
        pytest.param(
            "GET", f"{HALF}/ready", {"name": "half_plus_two", "ready": True}, id="1-model-ready"
        ),
        pytest.param(
            "GET",
            f"{HALF}/versions/123/ready",
            {"name": "half_plus_two", "ready": True},
            id="1-version-ready",
        ),
        pytest.param(
            "GET",
            HALF,
            {
                "name": "half_plus_two",
                "versions": ["123"],
                "platform": "tensorflow_savedmodel",
                "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1]}],
                "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 1]}],
            },
            id="1-metadata",
        ),
        pytest.param(
            "POST",
            "/v2/repository/index",
            [
                {"name": name, "version": version, "state": "READY"}
                for name, version in [
                    ("half_plus_two", "123"),
                    ("two_by_two", "1"),
                    ("every_dtype", "1"),
                    ("odd_ones", "1"),
                    ("words", "1"),
                ]
            ],
            id="1-index",
        ),
    ],
)
def test_these_are_answered(served: Served, method: str, target: str, expected: Any) -> None:
    answer = served.ask(method, target)
    assert answer.status == 200
    assert answer.content_type == "application/json"
    told = json.loads(answer.body)
    if isinstance(expected, list):
        # Other tests bring models of their own.
        told = [entry for entry in told if entry in expected]
    assert told == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("/v2", "/v2/", id="1-slash"),
        pytest.param("/v2", "/v2?x=1", id="1-query-of-the-server"),
        pytest.param(HALF, f"{HALF}?versions=9&a=/b", id="1-query"),
        pytest.param(HALF, "/v2/models/half%5Fplus%5ftwo", id="1-percent-encoded"),
        pytest.param(HALF, f"{HALF}/versions/000123", id="1-leading-zeros"),
    ],
)
def test_these_are_the_same(served: Served, one: str, other: str) -> None:
    answers = [served.ask("GET", target) for target in (one, other)]
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].body == answers[1].body


@pytest.mark.parametrize(
    ("method", "target"),
    [
        pytest.param("GET", "/v2/nothing", id="1-unknown-path"),
        pytest.param("GET", "/v2//", id="1-slashes"),
        pytest.param("GET", "/v2/models", id="1-models"),
        pytest.param("GET", f"{HALF}/", id="1-model-slash"),
        pytest.param("POST", f"{HALF}/versions/abc/infer", id="1-version-of-letters"),
        pytest.param("GET", f"{HALF}/versions/-1", id="1-version-negative"),
        pytest.param("GET", f"{HALF}/versions/", id="1-version-empty"),
        pytest.param("POST", f"{HALF}/generate", id="1-generate"),
        pytest.param("GET", "/v2/systemsharedmemory/status", id="1-shared-memory"),
        pytest.param("GET", "/v2/models/%68alf/x/y", id="1-too-long"),
    ],
)
def test_an_unknown_path_is_not_found(served: Served, method: str, target: str) -> None:
    assert_refused(served.ask(method, target), 404, "Not Found")


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        pytest.param("POST", "/v2", "GET", id="1-server"),
        pytest.param("POST", "/v2/health/ready", "GET", id="1-ready"),
        pytest.param("DELETE", HALF, "GET", id="1-metadata"),
        pytest.param("GET", f"{HALF}/infer", "POST", id="1-infer"),
        pytest.param("PUT", f"{HALF}/versions/123/infer", "POST", id="1-infer-version"),
        pytest.param("POST", f"{HALF}/config", "GET", id="1-config"),
        pytest.param("POST", "/v2/models/stats", "GET", id="1-stats"),
        pytest.param("GET", "/v2/repository/index", "POST", id="1-index"),
        pytest.param("GET", "/v2/repository/models/a/load", "POST", id="1-load"),
        pytest.param("GET", "/v2/repository/models/a/unload", "POST", id="1-unload"),
        pytest.param("PUT", "/v2/logging", "GET, POST", id="1-logging"),
        pytest.param("PUT", "/v2/trace/setting", "GET, POST", id="1-trace"),
        pytest.param("PUT", f"{HALF}/trace/setting", "GET, POST", id="1-trace-model"),
    ],
)
def test_another_method_is_not_allowed(
    served: Served, method: str, target: str, allowed: str
) -> None:
    answer = served.ask(method, target)
    assert_refused(answer, 405, "Method Not Allowed")
    assert answer.headers is not None
    assert answer.headers["Allow"] == allowed


UNKNOWN = [
    "/v2/models/nobody",
    "/v2/models/nobody/versions/1",
    f"{HALF}/versions/124",
    f"{HALF}/versions/{2**63}",
    f"{HALF}/versions/{'9' * 5000}",
    "/v2/models/half%2Fplus",
]


@pytest.mark.parametrize(
    ("method", "what"),
    [
        pytest.param("POST", "/infer", id="5-infer"),
        pytest.param("GET", "", id="5-metadata"),
        pytest.param("GET", "/config", id="5-config"),
        pytest.param("GET", "/stats", id="5-stats"),
        pytest.param("GET", "/ready", id="5-ready"),
    ],
)
@pytest.mark.parametrize("model", UNKNOWN, ids=lambda model: model[11:40])
def test_an_unknown_model_is_not_found(served: Served, model: str, method: str, what: str) -> None:
    assert_refused(served.ask(method, f"{model}{what}", b"{"), 404)


def test_settings_of_an_unknown_model_are_not_found(served: Served) -> None:
    assert_refused(served.ask("GET", "/v2/models/nobody/trace/setting"), 404, "nobody")


@pytest.mark.parametrize("target", ["/v20", "/v2x/health/live", "/V2/health/live"])
def test_others_are_not_of_this_protocol(served: Served, target: str) -> None:
    assert_refused(served.ask("GET", target), 404, "nothing is served")


def before_the_start(config: Config, target: str) -> Answer:
    """What a server says that has not begun to load."""
    return asyncio.run(Application(config).front.handle(Exchange("GET", target, {}, b"")))


def test_a_server_that_starts_lives_and_is_not_ready() -> None:
    assert before_the_start(Config(), "/v2/health/live").status == 200
    assert_refused(before_the_start(Config(), "/v2/health/ready"), 400, "not ready")


def test_a_server_that_drains_lives_and_is_not_ready() -> None:
    served = Served(Config())
    try:
        assert served.ask("GET", "/v2/models/digits/ready").status == 200
        served.run(served.application.drain())
        assert served.ask("GET", "/v2/health/live").status == 200
        assert_refused(served.ask("GET", "/v2/health/ready"), 400, "not ready")
        assert_refused(served.ask("GET", "/v2/models/digits/ready"), 400, "not ready")
        assert_refused(infer(served, "/v2/models/digits", {}), 503, "shutting down")
    finally:
        served.close()


def test_pages_of_other_origins_may_read_the_length_of_the_json() -> None:
    headers = before_the_start(Config(cors=True), "/v2").headers
    assert headers is not None
    assert headers["Access-Control-Expose-Headers"] == "Inference-Header-Content-Length"


def test_a_browser_may_ask_what_a_page_may_do(served: Served) -> None:
    asked = served.ask("OPTIONS", "/v2/models/digits/infer", headers={"Origin": "http://a.page"})
    assert (asked.status, asked.body) == (200, b"")
    # Anything else that asks this way is told what the target takes.
    refused = served.ask("OPTIONS", "/v2/models/digits/infer")
    assert refused.status == 405
    assert refused.headers == {"Allow": "POST"}
