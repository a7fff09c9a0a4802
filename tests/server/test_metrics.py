"""What Prometheus scrapes: parsable, sums that agree, and no label from a client's hand."""

import dataclasses
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from batcher import BatcherStats, BatchRecord, Reason
from server.errors import canonical
from server.histogram import ROWS, SECONDS
from server.inference import VersionState
from server.metrics import CONTENT_TYPE, Metrics
from server.statistics import VersionStatistics
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


class FakeBatcher:
    """Has the statistics that it is given."""

    max_queue_size = 100
    expected_wait = 0.25

    def __init__(self, **counters: Any) -> None:
        self.counters = counters

    def stats(self) -> BatcherStats:
        return stats(**self.counters)


HELD = FakeBatcher(
    queued_requests=2,
    queued_rows=5,
    queued_bytes=640,
    running_batches=1,
    answered=7,
    failed=2,
    expired=3,
    cancelled=1,
    refused=4,
    max_batch_size=64,
)


def statistics(*latencies: float, protocol: str = "tfserving_rest") -> VersionStatistics:
    """Of requests of one row that took so long; half of it in the queue."""
    made = VersionStatistics("half", 3)
    for seconds in latencies:
        made.count_answered(protocol, 1, seconds / 2, 0.001, 0.003, 0.002, 50.0, 50.0 + seconds)
    return made


@pytest.fixture
def metrics() -> Metrics:
    """Of one model after two batches and three answers."""
    made = Metrics(lambda: [("half", VersionState(3, "AVAILABLE"))], lambda: True)
    model = made.version("half", 3)
    model.add(HELD, statistics(0.02, 0.25))
    model.observe(record())
    model.observe(
        record(
            size=2000, padded_size=2000, reason=Reason.FULL, queue_times=(60.0,), run_time=0.0001
        )
    )
    for status in (200, 200, 503):
        made.count_answer("half", "tfserving_rest", status)
    made.count_answer("half", "oip_grpc", 14)
    made.count_load("half", 3, 1.5, loaded=True)
    made.device("CPU:0").add(0.0201)
    return made


def test_counters_and_gauges_have_the_numbers_of_the_batcher(metrics: Metrics) -> None:
    scraped = metrics.scrape()
    assert samples(scraped, "batcher_queue_rows") == {("half", "3"): 5}
    assert samples(scraped, "batcher_running_batches") == {("half", "3"): 1}
    assert samples(scraped, "batcher_queue_requests") == {("half", "3"): 2}
    assert samples(scraped, "batcher_queue_bytes") == {("half", "3"): 640}
    assert samples(scraped, "batcher_queue_limit_rows") == {("half", "3"): 100}
    assert samples(scraped, "batcher_expected_wait_seconds") == {("half", "3"): 0.25}
    assert samples(scraped, "batcher_batch_limit_rows") == {("half", "3"): 64}
    assert samples(scraped, "batcher_healthy") == {("half", "3"): 1}
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
        ("OK", "half", "tfserving_rest", "200"): 2,
        ("UNAVAILABLE", "half", "tfserving_rest", "503"): 1,
        ("UNAVAILABLE", "half", "oip_grpc", "14"): 1,
    }


def test_the_server_and_its_models_tell_how_they_are(metrics: Metrics) -> None:
    metrics.count_load("half", 4, 0.5, loaded=False)
    scraped = metrics.scrape()
    assert samples(scraped, "batcher_ready") == {(): 1}
    assert samples(Metrics().scrape(), "batcher_ready") == {(): 0}
    assert samples(scraped, "batcher_build_info") == {
        (version("tensorflow"), version("batcher")): 1
    }
    assert samples(scraped, "batcher_model_state") == {("half", "AVAILABLE", "3"): 1}
    assert samples(scraped, "batcher_model_broken") == {("half", "3"): 0}
    assert samples(scraped, "batcher_model_loads_total") == {
        ("half", "loaded"): 1,
        ("half", "failed"): 1,
    }
    assert samples(scraped, "batcher_model_load_seconds_sum") == {("half",): 2}
    assert samples(scraped, "batcher_model_load_seconds_count") == {("half",): 2}
    assert samples(scraped, "batcher_device_busy_seconds_total") == {("CPU:0",): 0.0201}
    (loaded,) = samples(scraped, "batcher_model_loaded_timestamp_seconds").values()
    (started,) = samples(scraped, "process_start_time_seconds").values()
    assert loaded > started > 0


def test_a_version_that_did_not_load_is_broken() -> None:
    states = [VersionState(1, "END", "cannot be read"), VersionState(2, "END")]
    metrics = Metrics(lambda: [("half", state) for state in states])
    assert samples(metrics.scrape(), "batcher_model_broken") == {("half", "1"): 1, ("half", "2"): 0}


def test_the_stages_are_those_of_the_requests_that_were_answered(metrics: Metrics) -> None:
    scraped = metrics.scrape()
    spent = {"read": 0.002, "queue": 0.135, "run": 0.006, "write": 0.004}
    assert samples(scraped, "batcher_stage_seconds_sum") == {
        ("half", stage, "3"): pytest.approx(seconds) for stage, seconds in spent.items()
    }
    assert set(samples(scraped, "batcher_stage_seconds_count").values()) == {2}


@pytest.mark.parametrize(
    ("name", "values", "bounds"),
    [
        ("batcher_batch_rows", [3, 2000], ROWS),
        ("batcher_queue_seconds", [0.002, 0.001, 60.0], SECONDS),
        ("batcher_run_seconds", [0.02, 0.0001], SECONDS),
        ("batcher_request_seconds", [0.02, 0.25], SECONDS),
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
    assert list(samples(scraped, f"{name}_count").values()) == [len(values)]
    assert list(samples(scraped, f"{name}_sum").values()) == [pytest.approx(sum(values))]


def test_every_metric_is_explained_and_named_as_prometheus_likes(metrics: Metrics) -> None:
    found = families(metrics.scrape())
    ours = {name: family for name, family in found.items() if name.startswith("batcher_")}
    assert len(ours) == 26
    for family in ours.values():
        assert family.documentation.endswith(".")
        assert family.type in ("counter", "gauge", "histogram", "summary")
    assert all(name.startswith(("process_", "python_")) for name in found.keys() - ours)


def test_models_are_kept_apart() -> None:
    metrics = Metrics()
    one, other = metrics.version("one", 1), metrics.version("other", 2)
    one.add(FakeBatcher(answered=1), statistics())
    other.add(FakeBatcher(answered=2), statistics())
    other.observe(record())
    scraped = metrics.scrape()
    assert samples(scraped, "batcher_batch_rows_count") == {("one", "1"): 0, ("other", "2"): 1}
    assert samples(scraped, "batcher_queued_requests_total")["answered", "other", "2"] == 2


def test_answers_that_are_printed_after_their_batcher_has_ended_are_counted() -> None:
    metrics = Metrics()
    version = metrics.version("half", 3)
    for ended in range(1, 4):
        batcher, counted = FakeBatcher(), statistics(0.02)
        version.add(batcher, counted)
        version.remove(batcher)
        counted.count_answered("oip_http", 1, 0.001, 0.002, 0.003, 0.004, 5.0, 5.02)
        scraped = metrics.scrape()
        assert sum(samples(scraped, "batcher_request_seconds_count").values()) == 2 * ended
        assert set(samples(scraped, "batcher_stage_seconds_count").values()) == {2 * ended}


def test_what_was_counted_before_a_model_was_unloaded_stays() -> None:
    metrics = Metrics()
    version, before = metrics.version("half", 3), FakeBatcher(answered=5)
    version.add(before, statistics(0.02, 0.02))
    version.remove(before)
    scraped = metrics.scrape()
    assert samples(scraped, "batcher_queue_rows") == {}
    assert samples(scraped, "batcher_healthy") == {}
    assert samples(scraped, "batcher_queued_requests_total")["answered", "half", "3"] == 5
    version.add(FakeBatcher(answered=2, queued_rows=1), statistics(0.03))
    scraped = metrics.scrape()
    assert samples(scraped, "batcher_queued_requests_total")["answered", "half", "3"] == 7
    assert samples(scraped, "batcher_queue_rows") == {("half", "3"): 1}
    assert set(samples(scraped, "batcher_request_seconds_count").values()) == {3}
    assert set(samples(scraped, "batcher_stage_seconds_count").values()) == {3}
    assert sum(samples(scraped, "batcher_request_seconds_sum").values()) == pytest.approx(0.07)


def test_while_a_batcher_replaces_another_both_count() -> None:
    metrics = Metrics()
    version = metrics.version("half", 3)
    version.add(FakeBatcher(queued_rows=4, healthy=False, max_batch_size=8), statistics(0.02))
    version.add(FakeBatcher(queued_rows=1, max_batch_size=64), statistics(0.03))
    scraped = metrics.scrape()
    assert samples(scraped, "batcher_queue_rows") == {("half", "3"): 5}
    assert samples(scraped, "batcher_healthy") == {("half", "3"): 0}
    assert samples(scraped, "batcher_batch_limit_rows") == {("half", "3"): 64}
    assert set(samples(scraped, "batcher_request_seconds_count").values()) == {2}


def test_a_name_may_have_any_characters() -> None:
    metrics = Metrics()
    name = 'a"b\\c\nd{e}=ü'
    metrics.version(name, 1).add(FakeBatcher(), statistics())
    metrics.count_answer(name, "p", 200)
    assert samples(metrics.scrape(), "batcher_queue_rows") == {(name, "1"): 0}
    assert samples(metrics.scrape(), "batcher_requests_total") == {("OK", name, "p", "200"): 1}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        *[(0, "OK"), (200, "OK"), (302, "OK"), (14, "UNAVAILABLE"), (503, "UNAVAILABLE")],
        *[(3, "INVALID_ARGUMENT"), (400, "INVALID_ARGUMENT"), (415, "INVALID_ARGUMENT")],
        *[(405, "UNIMPLEMENTED"), (413, "RESOURCE_EXHAUSTED"), (16, "UNAUTHENTICATED")],
        *[(500, "INTERNAL"), (504, "DEADLINE_EXCEEDED"), (418, "UNKNOWN"), (2, "UNKNOWN")],
    ],
)
def test_a_status_has_one_name_whatever_protocol_it_is_of(status: int, code: str) -> None:
    assert canonical(status) == code


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
        ("NOT_FOUND", "", "tfserving_rest", "404"): 2,
        ("INVALID_ARGUMENT", "", "tfserving_rest", "400"): 1,
        ("OK", "half_plus_two", "tfserving_rest", "200"): 1,
        ("INVALID_ARGUMENT", "half_plus_two", "tfserving_rest", "400"): 1,
    }
    assert {name for _, name, *_ in after} <= {"", *models}


def test_a_server_counts_the_rows_of_its_batches(served: Served) -> None:
    def rows() -> float:
        scraped = served.ask("GET", "/metrics")
        assert scraped.content_type == CONTENT_TYPE
        return samples(scraped.body, "batcher_batch_rows_sum")["two_by_two", "1"]

    before = rows()
    body = b'{"instances": [{"a": [1, 2], "b": [3, 4]}, {"a": [1, 2], "b": [3, 4]}]}'
    assert served.ask("POST", "/v1/models/two_by_two:predict", body).status == 200
    assert rows() == before + 2
