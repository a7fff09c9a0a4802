"""What the dashboard and the alert rules ask of Prometheus; traffic that has it counted."""

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any, NamedTuple

import httpx
import yaml

MONITORING = files("server") / "monitoring"

DIGIT = [[0.0] * 8] * 8
PREDICT = "/v1/models/digits:predict"

ARGUMENTS = ("--grpc-port", "none", "--allowed-batch-sizes", "4,64")
"""A server whose metrics all have something to tell."""


def dashboard() -> dict[str, Any]:
    made: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text())
    return made


def panels() -> list[dict[str, Any]]:
    """The panels that show something."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def rules() -> list[dict[str, Any]]:
    """The alert rules."""
    (group,) = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def expressions() -> list[tuple[str, str]]:
    """Every expression, with the name of the panel or rule that has it."""
    shown = [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]
    return shown + [(rule["alert"], rule["expr"]) for rule in rules()]


def send_traffic(url: str) -> None:
    """Answered requests in two protocols, and one that is wrong."""
    body = {"instances": [DIGIT] * 3}
    for _ in range(3):
        httpx.post(url + PREDICT, json=body).raise_for_status()
    tensor = {"name": "image", "shape": [1, 8, 8], "datatype": "FP32", "data": DIGIT}
    httpx.post(f"{url}/v2/models/digits/infer", json={"inputs": [tensor]})
    assert httpx.post(url + PREDICT, content=b"{").status_code == 400


class Selector(NamedTuple):
    """A metric in an expression, and the labels that it is selected by, with their values."""

    metric: str
    labels: dict[str, str]


_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}")
_LABEL = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_RANGE = re.compile(r"\[[^\]]*\]")
_NAME = re.compile(r"(?<![\w.$:])([a-zA-Z_:][\w:]*)(?!\s*\(|[\w:])")
_WORDS = {"and", "or", "unless", "bool", "offset"}


def selectors(expression: str) -> Iterator[Selector]:
    """The metrics of an expression."""
    rest = _RANGE.sub("", expression)
    for metric, inside in _SELECTOR.findall(rest):
        yield Selector(metric, {name: value for name, _, value in _LABEL.findall(inside)})
    rest = _GROUPING.sub("", _SELECTOR.sub("", rest))
    for name in _NAME.findall(rest):
        if name not in _WORDS:
            yield Selector(name, {})


def grouping(expression: str) -> set[str]:
    """The labels that an expression groups or joins by."""
    return {
        label.strip() for inside in _GROUPING.findall(expression) for label in inside.split(",")
    }
