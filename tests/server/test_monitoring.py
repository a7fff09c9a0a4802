"""The dashboard and the alert rules in the package: whole, and about metrics that there are."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.monitored import (
    ARGUMENTS,
    MONITORING,
    Selector,
    dashboard,
    expressions,
    grouping,
    panels,
    rules,
    selectors,
    send_traffic,
)
from tests.server.process import ServerProcess
from tests.server.test_metrics import families

GUIDE = (Path(__file__).parents[2] / "server" / "docs" / "monitoring.md").read_text()

PROMETHEUS = {"job", "instance"}
"""Labels that Prometheus gives to what it scrapes."""


@pytest.fixture(scope="module")
def scraped() -> Iterator[bytes]:
    """What a real server shows after some traffic, TensorFlow Serving's names included."""
    with ServerProcess(*ARGUMENTS) as server:
        send_traffic(server.url)
        yield httpx.get(f"{server.url}/monitoring/prometheus/metrics").content
        assert server.stop()[0] == 0


@pytest.fixture(scope="module")
def labels(scraped: bytes) -> dict[str, set[str]]:
    """The labels of every sample."""
    found = {
        sample.name: set(sample.labels)
        for family in families(scraped).values()
        for sample in family.samples
    }
    return found | {"up": set()}


@pytest.fixture(scope="module")
def values() -> dict[str, set[str]]:
    """The values of labels that have a few fixed ones."""
    return {
        "end": {"answered", "failed", "expired", "cancelled"},
        "outcome": {"loaded", "failed"},
        "generation": {"0", "1", "2"},
    }


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_every_metric_and_label_is_there(
    labels: dict[str, set[str]], values: dict[str, set[str]], where: str, expression: str
) -> None:
    asked = list(selectors(expression))
    assert asked
    for selector in asked:
        assert selector.metric in labels, where
        known = labels[selector.metric] | PROMETHEUS
        assert selector.labels.keys() <= known
        for label in selector.labels.keys() & values.keys():
            assert selector.labels[label] in values[label]
    known = set().union(*(labels[selector.metric] for selector in asked)) | PROMETHEUS
    assert grouping(expression) <= known
    shown = set(re.findall(r"\$labels\.(\w+)", str(annotations(where))))
    assert shown <= (grouping(expression) or known)


def annotations(alert: str) -> Any:
    """What an alert says; None for a panel."""
    return next((rule["annotations"] for rule in rules() if rule["alert"] == alert), None)


def test_expressions_are_taken_apart_rightly() -> None:
    expression = (
        'sum by (job, le) (rate(a_total{x="1", y=~"a|b"}[5m])) / on (z) b:c > 0.5e3 and up{} == 1'
    )
    assert list(selectors(expression)) == [
        Selector("a_total", {"x": "1", "y": "a|b"}),
        Selector("up", {}),
        Selector("b:c", {}),
    ]
    assert grouping(expression) == {"job", "le", "z"}


# ---------------------------------------------------------------------------------- the dashboard


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    made = dashboard()["panels"]
    assert len({panel["id"] for panel in made}) == len(made)
    taken: dict[tuple[int, int], int] = {}
    for panel in made:
        place = panel["gridPos"]
        assert 0 <= place["x"] <= place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["id"]) == panel["id"]


def test_every_panel_says_what_it_shows_and_in_which_unit() -> None:
    for panel in panels():
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"]
        names = [target["refId"] for target in panel["targets"]]
        assert len(set(names)) == len(names)
    titles = [panel["title"] for panel in panels()]
    assert len(titles) > 35


def test_the_rows_are_in_the_order_of_a_request() -> None:
    rows = [panel["title"] for panel in dashboard()["panels"] if panel["type"] == "row"]
    assert rows == [
        "Traffic",
        "Latency by stage",
        "Batches",
        "Queue and shedding",
        "Device",
        "Models",
        "Process",
    ]


def test_the_source_and_what_is_looked_at_can_be_chosen() -> None:
    made = dashboard()
    chosen = {variable["name"]: variable for variable in made["templating"]["list"]}
    assert list(chosen) == ["datasource", "instance", "model", "version"]
    assert chosen["datasource"]["type"] == "datasource"
    source = {"type": "prometheus", "uid": "${datasource}"}
    for panel in panels():
        assert panel["datasource"] == source
        assert all(target["datasource"] == source for target in panel["targets"])
    used = {name for _, expression in expressions() for name in re.findall(r"\$(\w+)", expression)}
    assert used == {"instance", "model", "version", "__rate_interval"}
    assert made["schemaVersion"] >= 39
    assert "id" not in made, "Grafana gives it its own"


def test_the_choices_are_labels_that_there_are(labels: dict[str, set[str]]) -> None:
    for variable in dashboard()["templating"]["list"][1:]:
        query = variable["query"]["query"]
        ((metric, label),) = re.findall(r"^label_values\((\w+)(?:\{.*\})?, (\w+)\)$", query)
        assert label in labels[metric] | PROMETHEUS


def test_everything_that_is_counted_is_shown(labels: dict[str, set[str]]) -> None:
    shown = {selector.metric for _, text in expressions() for selector in selectors(text)}
    whole = re.compile(r"_(bucket|sum|count)$")
    counted = {whole.sub("", name) for name in labels if name.startswith("batcher_")}
    assert counted <= {whole.sub("", name) for name in shown}


def test_both_files_are_printed_as_they_are(run: Callable[..., tuple[int, str, str]]) -> None:
    for what, name in (("dashboard", "dashboard.json"), ("alerts", "alerts.yml")):
        assert run("monitoring", what) == (0, (MONITORING / name).read_text(), "")
    code, _, told = run("monitoring", "everything")
    assert code == 2
    assert "'dashboard', 'alerts'" in told


# ------------------------------------------------------------------------------- the alert rules


def test_every_alert_says_what_is_wrong_and_how_bad_it_is() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["alert"].startswith("Batcher")
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert set(rule["annotations"]) == {"summary", "description"}
        assert all(text.endswith((".", "?")) for text in rule["annotations"].values())


# ------------------------------------------------------------------------------------- the guide


def table(title: str) -> list[list[str]]:
    """The cells of the table in a chapter of the guide, its head left out."""
    chapter = GUIDE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in chapter.splitlines() if line.startswith("| ")]
    return [[cell.strip(" `") for cell in line[1:-1].split("|")] for line in lines[1:]]


def kinds(scraped: bytes) -> dict[str, str]:
    """What kind each metric is."""
    words = [line.split() for line in scraped.decode().splitlines() if line.startswith("# TYPE")]
    return {name: kind for _, _, name, kind in words}


def labels_of(labels: dict[str, set[str]], name: str) -> set[str]:
    """The labels of a metric, of whatever kind."""
    samples = [labels.get(name + ending) for ending in ("", "_total", "_sum")]
    return next(found for found in samples if found is not None)


def test_the_guide_lists_every_metric(scraped: bytes, labels: dict[str, set[str]]) -> None:
    listed = {name: (kind, given) for name, kind, given, _ in table("What there is")}
    ours = {name: kind for name, kind in kinds(scraped).items() if name.startswith("batcher_")}
    assert {name: kind for name, (kind, _) in listed.items()} == ours
    for name, (_, given) in listed.items():
        assert set(given.split(", ")) - {""} == labels_of(labels, name), name
    for name in kinds(scraped):
        if name.startswith(("process_", "python_")):
            assert f"`{name}`" in GUIDE


def test_the_guide_lists_the_names_of_tensorflow_serving(
    scraped: bytes, labels: dict[str, set[str]]
) -> None:
    listed = table("TensorFlow Serving's names")
    assert [name for name, *_ in listed] == [name for name in kinds(scraped) if name[0] == ":"]
    for name, given, source, _ in listed:
        assert set(given.split(", ")) - {""} == labels_of(labels, name), name
        assert source in kinds(scraped) or source in labels


def test_the_guide_says_what_to_do_about_every_alert() -> None:
    listed = table("The alerts")
    assert [alert for alert, *_ in listed] == [rule["alert"] for rule in rules()]
    assert all(what for *_, what in listed)


def test_the_expressions_of_the_guide_are_about_what_there_is(labels: dict[str, set[str]]) -> None:
    (block,) = re.findall(r"```promql\n(.*?)```", GUIDE, flags=re.DOTALL)
    asked = [line for line in block.splitlines() if not line.startswith("#")]
    assert len(asked) == 4
    for expression in asked:
        for selector in selectors(expression):
            assert selector.metric in labels


def test_the_configuration_of_the_guide_is_of_the_job_that_an_alert_is_about() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", GUIDE, flags=re.DOTALL)
    (job,) = yaml.safe_load(block)["scrape_configs"]
    (down,) = [rule["expr"] for rule in rules() if rule["alert"] == "BatcherDown"]
    assert f'job="{job["job_name"]}"' in down


def test_the_guide_is_not_long() -> None:
    assert len(GUIDE.split()) < 1600
