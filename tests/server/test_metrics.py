"""What Prometheus scrapes: parsable, sums that agree, and no label from a client's hand."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from batcher import BatcherStats, BatchRecord, Reason
from server.metrics import CONTENT_TYPE, ROWS, SECONDS, Metrics
from tests.server.conftest import Served


def families(scraped: bytes) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(scraped.decode())}


def samples(scraped: bytes, name: str) -> dict[tuple[str, ...], float]:
    """Values of a metric by the values of its labels."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in families(scraped).values()
        for sample in family.samples
        if sample.name == name
    }


def stats(**counters: Any) -> BatcherStats:
    names = [field.name for field in dataclasses.fields(BatcherStats)]
    given: dict[str, Any] = dict.fromkeys(names, 0) | {"healthy": True} | counters
    return BatcherStats(**given)


def record(**fields: Any) -> BatchRecord:
    return BatchRecord(
        **{
            "size": 3,
            "padded_size": 4,
            "requests": 2,
            "bucket": None,
            "reason": Reason.IDLE,
            "queue_times": (0.002, 0.001),
            "run_time": 0.02,
            "failed": 0,
            "abandoned": 0,
            "again": 0,
            "taken": 0.0,
        }
        | fields
    )


HELD = stats(
    queued_rows=5, running_batches=1, answered=7, failed=2, expired=3, cancelled=1, refused=4
)


@pytest.fixture
def metrics() -> Metrics:
    """Of one model after two batches and three answers."""
    made = Metrics()
    model = made.model("half", 3)
    model.add(lambda: HELD)
    model.observe(record())
    model.observe(
        record(
            size=2000, padded_size=2000, reason=Reason.FULL, queue_times=(60.0,), run_time=0.0001
        )
    )
    for status in (200, 200, 503):
        made.count_answer("half", "tfserving_rest", status)
    return made


def test_counters_and_gauges_have_the_numbers_of_the_batcher(metrics: Metrics) -> None:
    scraped = metrics.scrape()
    assert samples(scraped, "batcher_queue_rows") == {("half", "3"): 5}
    assert samples(scraped, "batcher_running_batches") == {("half", "3"): 1}
    assert samples(scraped, "batcher_refused_requests_total") == {("half", "3"): 4}
    assert samples(scraped, "batcher_queued_requests_total") == {
        ("answered", "half", "3"): 7,
        ("failed", "half", "3"): 2,
        ("expired", "half", "3"): 3,
        ("cancelled", "half", "3"): 1,
    }
    assert samples(scraped, "batcher_batches_total") == {
        ("half", "full", "3"): 1,
        ("half", "idle", "3"): 1,
    }
    assert samples(scraped, "batcher_padding_rows_total") == {("half", "3"): 1}
    assert samples(scraped, "batcher_requests_total") == {
        ("half", "tfserving_rest", "200"): 2,
        ("half", "tfserving_rest", "503"): 1,
    }


@pytest.mark.parametrize(
    ("name", "values", "bounds"),
    [
        ("batcher_batch_rows", [3, 2000], ROWS),
        ("batcher_queue_seconds", [0.002, 0.001, 60.0], SECONDS),
        ("batcher_run_seconds", [0.02, 0.0001], SECONDS),
    ],
)
def test_histograms_count_every_value_at_or_below_each_bound(
    metrics: Metrics, name: str, values: list[float], bounds: tuple[float, ...]
) -> None:
    scraped = metrics.scrape()
    buckets = {float(le): n for (le, *_), n in samples(scraped, f"{name}_bucket").items()}
    assert buckets == {
        bound: sum(value <= bound for value in values) for bound in (*bounds, float("inf"))
    }
    assert samples(scraped, f"{name}_count") == {("half", "3"): len(values)}
    assert samples(scraped, f"{name}_sum") == {("half", "3"): pytest.approx(sum(values))}


def test_every_metric_is_explained_and_named_as_prometheus_likes(metrics: Metrics) -> None:
    found = families(metrics.scrape())
    assert len(found) == 12
    for name, family in found.items():
        assert name.startswith("batcher_")
        assert family.documentation.endswith(".")
        assert family.type in ("counter", "gauge", "histogram")


def test_models_are_kept_apart() -> None:
    metrics = Metrics()
    one, other = metrics.model("one", 1), metrics.model("other", 2)
    one.add(lambda: stats(answered=1))
    other.add(lambda: stats(answered=2))
    other.observe(record())
    scraped = metrics.scrape()
    assert samples(scraped, "batcher_batch_rows_count") == {("one", "1"): 0, ("other", "2"): 1}
    assert samples(scraped, "batcher_queued_requests_total")["answered", "other", "2"] == 2


def test_what_was_counted_before_a_model_was_unloaded_stays() -> None:
    metrics = Metrics()

    def before() -> BatcherStats:
        return stats(answered=5, queued_rows=0)

    metrics.model("half", 3).add(before)
    metrics.model("half", 3).remove(before)
    assert samples(metrics.scrape(), "batcher_queue_rows") == {("half", "3"): 0}
    metrics.model("half", 3).add(lambda: stats(answered=2, queued_rows=1))
    scraped = metrics.scrape()
    assert samples(scraped, "batcher_queued_requests_total")["answered", "half", "3"] == 7
    assert samples(scraped, "batcher_queue_rows") == {("half", "3"): 1}


def test_a_name_may_have_any_characters() -> None:
    metrics = Metrics()
    name = 'a"b\\c\nd{e}=ü'
    metrics.model(name, 1).add(stats)
    metrics.count_answer(name, "p", 200)
    assert samples(metrics.scrape(), "batcher_queue_rows") == {(name, "1"): 0}
    assert samples(metrics.scrape(), "batcher_requests_total") == {(name, "p", "200"): 1}


def test_nothing_has_happened_at_first() -> None:
    assert samples(Metrics().scrape(), "batcher_requests_total") == {}


def test_a_server_counts_answers_and_never_by_a_name_that_a_client_made_up(
    served: Served, models: dict[str, Path]
) -> None:
    def counted() -> dict[tuple[str, ...], float]:
        return samples(served.ask("GET", "/metrics").body, "batcher_requests_total")

    before = counted()
    for target in ("/v1/models/made_up:predict", "/v1/models/made_up2:predict", "/v1/made_up"):
        served.ask("POST", target, b'{"instances": [1.0]}')
    served.ask("POST", "/v1/models/half_plus_two:predict", b'{"instances": [1.0]}')
    served.ask("POST", "/v1/models/half_plus_two:predict", b"{")
    after = counted()
    new = {key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key)}
    assert new == {
        ("", "tfserving_rest", "404"): 2,
        ("", "tfserving_rest", "400"): 1,
        ("half_plus_two", "tfserving_rest", "200"): 1,
        ("half_plus_two", "tfserving_rest", "400"): 1,
    }
    assert {name for name, *_ in after} <= {"", *models}


def test_a_server_counts_the_rows_of_its_batches(served: Served) -> None:
    def rows() -> float:
        scraped = served.ask("GET", "/metrics")
        assert scraped.content_type == CONTENT_TYPE
        return samples(scraped.body, "batcher_batch_rows_sum")["two_by_two", "1"]

    before = rows()
    body = b'{"instances": [{"a": [1, 2], "b": [3, 4]}, {"a": [1, 2], "b": [3, 4]}]}'
    assert served.ask("POST", "/v1/models/two_by_two:predict", body).status == 200
    assert rows() == before + 2
