"""TensorFlow Serving's names for the metrics: the same numbers as under our own, in its units."""

from collections import defaultdict
from collections.abc import Iterable

import pytest
from tensorflow_serving.apis import prediction_service_pb2_grpc

from server.metrics import CONTENT_TYPE, Metrics
from server.tfserving_metrics import TensorFlowServingMetrics
from tests.server.conftest import Served
from tests.server.grpc_client import GrpcClient
from tests.server.test_metrics import families, record, samples
from tests.server.test_tfserving_grpc import asking

PATH = "/monitoring/prometheus/metrics"
PREFIX = ":tensorflow:serving:"
REQUESTS = f"{PREFIX}request_count_total"
RUNS = f"{PREFIX}batching_session:wrapped_run_count_total"
"""Counters, which the parser gives the ending that the page leaves out."""

PREDICT = "/v1/models/half_plus_two:predict"


@pytest.fixture(scope="module")
def scraped(served: Served) -> bytes:
    """The page at TensorFlow Serving's path, after requests of several kinds and ends."""
    for rows in (1, 3, 3):
        body = f'{{"instances": {[1.0] * rows}}}'.encode()
        assert served.ask("POST", PREDICT, body).status == 200
    served.ask("POST", PREDICT, b"{")
    served.ask("GET", "/v1/models/no_such_model")
    page = served.ask("GET", PATH)
    assert (page.status, page.content_type) == (200, CONTENT_TYPE)
    return page.body


def by(names: Iterable[str], scraped: bytes, sample: str) -> dict[tuple[str, ...], float]:
    """Values added up by some of their labels."""
    found: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for family in families(scraped).values():
        for each in family.samples:
            if each.name == sample:
                found[tuple(each.labels[name] for name in names)] += each.value
    return dict(found)


def test_requests_are_counted_by_model_and_canonical_code(scraped: bytes) -> None:
    theirs = by(["model_name", "status"], scraped, REQUESTS)
    assert theirs == by(["model", "code"], scraped, "batcher_requests_total")
    assert theirs["half_plus_two", "OK"] >= 3
    assert theirs["half_plus_two", "INVALID_ARGUMENT"] >= 1
    assert theirs["", "NOT_FOUND"] >= 1


@pytest.mark.parametrize(
    ("their_name", "our_name", "scale"),
    [
        ("request_latency", "batcher_request_seconds", 1e6),
        ("batching_session:queuing_latency", "batcher_queue_seconds", 1e6),
        ("batching_session:processed_batch_size", "batcher_batch_rows", 1),
    ],
)
def test_distributions_are_the_same_in_their_unit(
    scraped: bytes, their_name: str, our_name: str, scale: float
) -> None:
    for part in ("count", "sum"):
        theirs = by([], scraped, f"{PREFIX}{their_name}_{part}")[()]
        ours = by([], scraped, f"{our_name}_{part}")[()]
        assert theirs == pytest.approx(ours * (scale if part == "sum" else 1))
        assert theirs > 0
    their_buckets = by(["le"], scraped, f"{PREFIX}{their_name}_bucket")
    our_buckets = by(["le"], scraped, f"{our_name}_bucket")
    assert {float(le): count for (le,), count in their_buckets.items()} == {
        round(float(le) * scale, 6): count for (le,), count in our_buckets.items()
    }


def test_the_run_of_a_batch_counts_for_each_of_its_requests(scraped: bytes) -> None:
    by_request = by(["model_name"], scraped, f"{PREFIX}runtime_latency_count")
    assert by_request == by(["model"], scraped, "batcher_queue_seconds_count")
    labels = by(["API", "runtime"], scraped, f"{PREFIX}runtime_latency_count")
    assert labels.keys() == {("Predict", "TF1")}


def test_batches_are_counted(scraped: bytes) -> None:
    batches = by([], scraped, "batcher_batch_rows_count")
    assert by([], scraped, RUNS) == batches
    assert by([], scraped, f"{PREFIX}batching_session:padding_size_count") == {}


def test_padding_is_told_by_size_where_there_is_any() -> None:
    metrics = Metrics()
    for size in (3, 4, 2):
        metrics.version("half", 3).observe(record(size=size, padded_size=4))
    metrics.version("half", 3).observe(record(size=8, padded_size=8))
    metrics.version("other", 1).observe(record(size=5, padded_size=5))
    scraped = TensorFlowServingMetrics(metrics).scrape()
    name = f"{PREFIX}batching_session:padding_size"
    assert by(["execution_batch_size"], scraped, f"{name}_count") == {("4",): 3, ("8",): 1}
    assert by(["execution_batch_size"], scraped, f"{name}_sum") == {("4",): 3, ("8",): 0}
    assert by([], scraped, "batcher_padding_rows_total") == {(): 3}


def test_its_counters_have_no_total(scraped: bytes) -> None:
    theirs = [line for line in scraped.decode().splitlines() if line.startswith("# TYPE :")]
    assert len(theirs) == 7
    assert f"# TYPE {PREFIX}request_count counter" in theirs
    assert not [line for line in theirs if "_total" in line]


def test_grpc_has_its_own_entrypoint(served: Served, grpc_client: GrpcClient) -> None:
    def counted() -> float:
        page = served.ask("GET", PATH).body
        labels = ["model_name", "API", "entrypoint"]
        found = by(labels, page, f"{PREFIX}request_latency_count")
        return found.get(("half_plus_two", "Predict", "GRPC"), 0)

    before = counted()
    stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc_client.channel)
    grpc_client.call(stub.Predict, asking("half_plus_two", {"x": [1.0]}))
    assert counted() == before + 1


def test_the_names_are_at_its_path_only(served: Served, scraped: bytes) -> None:
    ours = served.ask("GET", "/metrics").body
    assert PREFIX not in ours.decode()
    assert {name for name in families(scraped) if not name.startswith(PREFIX)} == set(
        families(ours)
    )
    assert samples(ours, "batcher_ready") == {(): 1}


def test_it_takes_no_query_there(served: Served) -> None:
    refused = served.ask("GET", f"{PATH}?name=x")
    assert refused.status == 400
    assert b"without a query" in refused.body
    assert served.ask("GET", "/metrics?name=x").status == 200
    assert served.ask("GET", "/monitoring/prometheus/metric").status == 404
    assert served.ask("POST", PATH).status == 405
