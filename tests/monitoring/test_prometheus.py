"""A real Prometheus scrapes a real server, and answers what the dashboard and the alerts ask it."""

import json
import math
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.monitored import ARGUMENTS, MONITORING, dashboard, panels, rules, send_traffic
from tests.server.process import ServerProcess

if shutil.which("prometheus") is None or shutil.which("promtool") is None:
    pytest.skip("has its own environment: .ci/monitoring/run", allow_module_level=True)

HERE = Path(__file__).parent
PATIENCE = 60.0
"""Seconds for what two other processes do."""

CONFIG = {
    "global": {"scrape_interval": "200ms", "evaluation_interval": "200ms"},
    "rule_files": [str(MONITORING / "alerts.yml")],
}


def instant(expression: str) -> str:
    """An expression as Grafana sends it when everything is chosen."""
    filled = expression.replace("$__rate_interval", "2s")
    for variable in ("instance", "model", "version"):
        filled = filled.replace(f"${variable}", ".*")
    return filled


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ServerProcess(*ARGUMENTS) as process:
        yield process.url
        assert process.stop()[0] == 0


@pytest.fixture(scope="module")
def prometheus(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Its API; it scrapes the server at both paths."""
    folder = tmp_path_factory.mktemp("prometheus")
    target = {"static_configs": [{"targets": [server.removeprefix("http://")]}]}
    theirs = {"job_name": "theirs", "metrics_path": "/monitoring/prometheus/metrics"}
    scraped = {"scrape_configs": [{"job_name": "batcher"} | target, theirs | target]}
    # JSON is YAML.
    (folder / "prometheus.yml").write_text(json.dumps(CONFIG | scraped))
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        "prometheus",
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={address}",
    ]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            with httpx.Client(base_url=f"http://{address}/api/v1/") as client:
                until(lambda: process.poll() is not None or answers(client))
                assert process.poll() is None, (folder / "log").read_text()
                yield client
        finally:
            process.terminate()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("status/runtimeinfo").is_success
    except httpx.TransportError:
        return False


def asked(client: httpx.Client, expression: str) -> list[dict[str, Any]]:
    """What Prometheus finds for an expression."""
    answer = client.get("query", params={"query": expression})
    assert answer.is_success, f"{expression}: {answer.text}"
    found: list[dict[str, Any]] = answer.json()["data"]["result"]
    return found


def has_numbers(client: httpx.Client, expression: str) -> bool:
    found = asked(client, expression)
    return any(math.isfinite(float(series["value"][1])) for series in found)


def test_prometheus_takes_both_pages(prometheus: httpx.Client) -> None:
    def targets() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = prometheus.get("targets").json()["data"]["activeTargets"]
        return found

    until(lambda: [target["health"] for target in targets()] == ["up", "up"])
    assert [target["lastError"] for target in targets()] == ["", ""]


def test_every_panel_has_numbers(server: str, prometheus: httpx.Client) -> None:
    waiting = {target["expr"] for panel in panels() for target in panel["targets"]}
    assert len(waiting) > 40

    def all_have() -> bool:
        send_traffic(server)
        for expression in list(waiting):
            if has_numbers(prometheus, instant(expression)):
                waiting.discard(expression)
        return not waiting

    until(all_have)


@pytest.mark.parametrize("variable", ["instance", "model", "version"])
def test_the_choices_are_there(server: str, prometheus: httpx.Client, variable: str) -> None:
    (query,) = [
        each["query"]["query"]
        for each in dashboard()["templating"]["list"]
        if each["name"] == variable
    ]
    metric, _, label = query.removeprefix("label_values(").removesuffix(")").rpartition(", ")

    def choices() -> list[str]:
        path, match = f"label/{label}/values", {"match[]": instant(metric)}
        found: list[str] = prometheus.get(path, params=match).json()["data"]
        return found

    expected = {"instance": server.removeprefix("http://"), "model": "digits", "version": "1"}
    until(lambda: choices() == [expected[variable]])


def test_the_alerts_are_quiet_beside_a_server_that_is_well(prometheus: httpx.Client) -> None:
    def evaluated() -> list[dict[str, Any]]:
        (group,) = prometheus.get("rules").json()["data"]["groups"]
        found: list[dict[str, Any]] = group["rules"]
        return found

    until(lambda: all(rule["health"] == "ok" for rule in evaluated()))
    assert [rule["name"] for rule in evaluated()] == [rule["alert"] for rule in rules()]
    assert not [rule["name"] for rule in evaluated() if rule["state"] == "firing"]


@pytest.mark.parametrize(
    "expression",
    [
        'sum(rate(:tensorflow:serving:request_count{status="OK"}[2s]))',
        "histogram_quantile(0.99, rate(:tensorflow:serving:request_latency_bucket[2s]))",
        "rate(:tensorflow:serving:runtime_latency_sum[2s])",
        "rate(:tensorflow:serving:batching_session:queuing_latency_count[2s])",
    ],
)
def test_dashboards_of_tensorflow_serving_find_their_metrics(
    server: str, prometheus: httpx.Client, expression: str
) -> None:
    def has() -> bool:
        send_traffic(server)
        return has_numbers(prometheus, expression)

    until(has)


def test_counters_are_known_as_such(prometheus: httpx.Client) -> None:
    def kinds() -> dict[str, set[str]]:
        known = prometheus.get("metadata").json()["data"]
        return {name: {each["type"] for each in told} for name, told in known.items()}

    until(lambda: ":tensorflow:serving:request_count" in kinds())
    assert kinds()[":tensorflow:serving:request_count"] == {"counter"}
    assert kinds()["batcher_requests_total"] == {"counter"}
    assert kinds()["batcher_request_seconds"] == {"histogram"}


# ---------------------------------------------------------------------------------------- promtool


def promtool(*arguments: str, given: bytes = b"") -> str:
    ended = subprocess.run(["promtool", *arguments], input=given, capture_output=True, check=False)
    told = (ended.stdout + ended.stderr).decode()
    assert ended.returncode == 0, told
    return told


def test_our_metrics_are_as_prometheus_likes_them(server: str) -> None:
    send_traffic(server)
    assert promtool("check", "metrics", given=httpx.get(f"{server}/metrics").content) == ""


def test_the_rules_are_well_formed() -> None:
    told = promtool("check", "rules", str(MONITORING / "alerts.yml"))
    assert f"{len(rules())} rules found" in told


def test_the_configuration_of_the_guide_is_one(tmp_path: Path) -> None:
    guide = (HERE.parents[1] / "server" / "docs" / "monitoring.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", guide, flags=re.DOTALL)
    (tmp_path / "prometheus.yml").write_text(block)
    (tmp_path / "batcher.yml").write_text((MONITORING / "alerts.yml").read_text())
    told = promtool("check", "config", str(tmp_path / "prometheus.yml"))
    assert f"{len(rules())} rules found" in told


def test_each_rule_fires_when_it_should_and_only_then() -> None:
    tests = HERE / "alerts_test.yml"
    assert "SUCCESS" in promtool("test", "rules", str(tests))
    text = tests.read_text()
    for rule in rules():
        assert f"alertname: {rule['alert']}\n        exp_alerts:\n" in text
