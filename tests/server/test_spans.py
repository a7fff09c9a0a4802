"""Spans of requests and batches: their tree, their times, their links, and who is followed."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from structlog.testing import capture_logs
from tensorflow_serving.apis import prediction_service_pb2_grpc

from server.adapters.grpc_server import GrpcServer
from server.config import Config, ModelConfig
from tests.server.by_hand import PREDICT, ByHand, body, served_by_hand, until
from tests.server.conftest import Served
from tests.server.grpc_client import GrpcClient
from tests.server.spanned import (
    CALLER,
    NOT_SAMPLED,
    SAMPLED,
    TRACE,
    Collected,
    batches,
    below,
    linked,
    number,
    roots,
    told,
    trace_of,
)
from tests.server.test_tfserving_grpc import asking

HALF = "/v1/models/half_plus_two:predict"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def collected() -> Collected:
    return Collected()


@pytest.fixture(scope="module")
def spanned(models: dict[str, Path], collected: Collected) -> Iterator[Served]:
    """Two models in a server around which an application has a tracer provider."""
    configs = [
        ModelConfig(name, models[name], max_batch_size=8) for name in ("half_plus_two", "words")
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "_TRACER_PROVIDER", collected.provider)
        served = Served(Config(tuple(configs), otel=True))
    yield served
    served.close()


@pytest.fixture
def ask(spanned: Served, collected: Collected) -> Callable[..., list[Any]]:
    """One exchange; its status and its spans."""

    def ask(target: str, sent: bytes, headers: dict[str, str] | None = None) -> list[Any]:
        status = spanned.ask("POST", target, sent, headers).status
        # The batch's span goes out when the loop has come round.
        spanned.run(asyncio.sleep(0))
        return [status, collected.take()]

    return ask


# ------------------------------------------------------------------------------------ the tree


@pytest.mark.parametrize(
    ("target", "sent", "rows"),
    [
        (HALF, {"instances": [1.0, 2.0]}, 2),
        ("/v1/models/half_plus_two/versions/123:predict", {"inputs": {"x": [1.0]}}, 1),
        (
            "/v2/models/half_plus_two/infer",
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": [3], "data": [1, 2, 3]}]},
            3,
        ),
    ],
)
def test_a_request_has_its_stages_below_it(
    ask: Callable[..., Any], target: str, sent: dict[str, Any], rows: int
) -> None:
    status, spans = ask(target, json.dumps(sent).encode(), {"X-Request-Id": "mine"})
    assert status == 200
    (root,), (batch,) = roots(spans), batches(spans)
    assert root.name == f"POST {target}"
    assert root.kind is SpanKind.SERVER
    assert root.status.status_code is StatusCode.UNSET
    assert told(root) == {
        "http.request.method": "POST",
        "url.path": target,
        "url.scheme": "http",
        "http.route": target,
        "http.response.status_code": 200,
        "batcher.model": "half_plus_two",
        "batcher.version": 123,
        "batcher.rows": rows,
        "batcher.request_id": "mine",
    }
    stages = below(spans, root)
    assert [*stages] == ["read", "queue", "run", "write"]
    assert len(spans) == 1 + len(stages) + 1
    ends = [stage.end_time or 0 for stage in stages.values()]
    assert ends == sorted(ends)
    assert stages["queue"].end_time == stages["run"].start_time == batch.start_time


def test_a_request_and_its_batch_lead_to_each_other(ask: Callable[..., Any]) -> None:
    _, spans = ask(HALF, b'{"instances": [1.0, 2.0, 5.0]}')
    (root,), (batch,) = roots(spans), batches(spans)
    run = below(spans, root)["run"]
    assert linked(run) == [number(batch)]
    assert linked(batch) == [number(root)]
    assert batch.parent is None
    assert trace_of(batch) != trace_of(root)
    assert told(run) == {"batcher.batch.rows": 3}
    assert told(batch) == {
        "batcher.model": "half_plus_two",
        "batcher.version": 123,
        "batcher.signature": "serving_default",
        "batcher.batch.rows": 3,
        "batcher.batch.padded_rows": 3,
        "batcher.batch.requests": 1,
        "batcher.batch.reason": "idle",
    }


def test_a_request_in_parts_leads_to_each_of_its_batches(ask: Callable[..., Any]) -> None:
    sent = json.dumps({"instances": [float(n) for n in range(20)]}).encode()
    status, spans = ask(HALF, sent)
    assert status == 200
    (root,) = roots(spans)
    parts = batches(spans)
    assert [told(part)["batcher.batch.rows"] for part in parts] == [8, 8, 4]
    run = below(spans, root)["run"]
    assert linked(run) == [number(part) for part in parts]
    assert [linked(part) for part in parts] == [[number(root)]] * 3
    assert told(run) == {"batcher.batch.rows": 20}
    assert run.start_time == parts[0].start_time
    assert told(root)["batcher.rows"] == 20


def test_a_body_that_the_codec_thread_reads_and_prints_makes_the_same_tree(
    ask: Callable[..., Any],
) -> None:
    sent = json.dumps({"instances": [1.5] * 20_000}).encode()
    status, spans = ask(HALF, sent)
    (root,) = roots(spans)
    assert status == 400  # More rows than may wait.
    assert [*below(spans, root)] == ["read"]


# -------------------------------------------------------------------------- who is followed


def test_a_caller_that_is_sampled_is_the_parent(ask: Callable[..., Any]) -> None:
    headers = {"traceparent": SAMPLED, "tracestate": "vendor=1,other=2"}
    _, spans = ask(HALF, b'{"instances": [1.0]}', headers)
    (root,) = roots(spans)
    assert trace_of(root) == TRACE
    assert root.parent is not None
    assert root.parent.is_remote
    assert f"{root.parent.span_id:016x}" == CALLER
    assert root.context is not None
    assert root.context.trace_state == {"vendor": "1", "other": "2"}


def test_a_caller_that_is_not_sampled_is_not_followed(ask: Callable[..., Any]) -> None:
    assert ask(HALF, b'{"instances": [1.0]}', {"traceparent": NOT_SAMPLED}) == [200, []]


@pytest.mark.parametrize("malformed", ["", "00", SAMPLED[:-1], SAMPLED.replace("00-4", "ff-4")])
def test_a_malformed_caller_is_none(ask: Callable[..., Any], malformed: str) -> None:
    status, spans = ask(HALF, b'{"instances": [1.0]}', {"traceparent": malformed})
    (root,) = roots(spans)
    assert (status, root.parent) == (200, None)
    assert trace_of(root) != TRACE


def test_a_span_of_the_application_is_the_parent(spanned: Served, collected: Collected) -> None:
    tracer = collected.provider.get_tracer("application")
    with tracer.start_as_current_span("outer") as outer:
        spanned.ask("POST", HALF, b'{"instances": [1.0]}', {"traceparent": SAMPLED})
    spanned.run(asyncio.sleep(0))
    (inner,) = [span for span in collected.take() if span.name.startswith("POST")]
    assert inner.parent == outer.get_span_context()
    # For its trace it is no entrance of the process any more.
    assert inner.kind is SpanKind.INTERNAL


@pytest.mark.parametrize(
    "target", ["/livez", "/readyz", "/metrics", "/docs", "/v2/health/ready", "/nothing"]
)
def test_pages_and_probes_leave_no_spans(
    spanned: Served, collected: Collected, target: str
) -> None:
    spanned.ask("GET", target, headers={"traceparent": SAMPLED})
    assert collected.take() == []


def test_a_call_that_infers_nothing_has_a_span_of_its_own(
    spanned: Served, collected: Collected
) -> None:
    spanned.ask("GET", "/v1/models/half_plus_two?what=ever")
    (span,) = collected.take()
    assert (span.name, told(span)["url.path"]) == ("GET", "/v1/models/half_plus_two")


# ------------------------------------------------------------------------------------- gRPC


@pytest.fixture(scope="module")
def over_grpc(spanned: Served) -> Iterator[GrpcClient]:
    server = GrpcServer(spanned.application.front)
    address = spanned.run(server.open("127.0.0.1", 0)).removeprefix("grpc://")
    client = GrpcClient(spanned.run, address)
    yield client
    client.close()
    spanned.run(server.close(1.0))


def test_grpc_has_the_same_tree_and_names_of_its_own(
    spanned: Served, collected: Collected, over_grpc: GrpcClient
) -> None:
    stub = prediction_service_pb2_grpc.PredictionServiceStub(over_grpc.channel)
    request = asking("half_plus_two", {"x": np.array([1.0], np.float32)})
    over_grpc.call(stub.Predict, request, metadata=(("traceparent", SAMPLED),))
    spanned.run(asyncio.sleep(0))
    spans = collected.take()
    (root,) = roots(spans)
    assert root.name == "tensorflow.serving.PredictionService/Predict"
    assert root.kind is SpanKind.SERVER
    assert trace_of(root) == TRACE
    assert told(root) == {
        "rpc.system.name": "grpc",
        "rpc.method": "tensorflow.serving.PredictionService/Predict",
        "rpc.response.status_code": "OK",
        "batcher.model": "half_plus_two",
        "batcher.version": 123,
        "batcher.rows": 1,
    }
    assert [*below(spans, root)] == ["read", "queue", "run", "write"]
    assert linked(below(spans, root)["run"]) == [number(batch) for batch in batches(spans)]


def test_a_mistake_over_grpc_is_not_the_servers(
    collected: Collected, over_grpc: GrpcClient
) -> None:
    stub = prediction_service_pb2_grpc.PredictionServiceStub(over_grpc.channel)
    code, _ = over_grpc.refused(stub.Predict, asking("nobody", {}))
    (root,) = collected.take()
    assert told(root)["rpc.response.status_code"] == code.name == grpc.StatusCode.NOT_FOUND.name
    assert root.status.status_code is StatusCode.UNSET


# ---------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("target", "sent", "status", "stages"),
    [
        ("/v1/models/nobody:predict", b'{"instances": [1.0]}', 404, []),
        (HALF, b"{", 400, []),
        (HALF, b'{"instances": [[[1.0]]]}', 400, ["read"]),
    ],
)
def test_a_clients_mistake_is_no_error_of_the_servers(
    ask: Callable[..., Any], target: str, sent: bytes, status: int, stages: list[str]
) -> None:
    answered, spans = ask(target, sent)
    (root,) = roots(spans)
    assert told(root)["http.response.status_code"] == answered == status
    assert root.status.status_code is StatusCode.UNSET
    assert "error.type" not in told(root)
    assert [*below(spans, root)] == stages
    # What clients make up is in no name.
    assert root.name == ("POST" if not stages else f"POST {target}")


def test_an_odd_method_is_told_apart(spanned: Served, collected: Collected) -> None:
    spanned.ask("BREW", HALF)
    (root,) = collected.take()
    assert root.name == "HTTP"
    attributes = told(root)
    assert attributes["http.request.method"] == "_OTHER"
    assert attributes["http.request.method_original"] == "BREW"


def test_what_is_no_ascii_is_quoted(spanned: Served, collected: Collected) -> None:
    spanned.ask("POST", "/v1/models/h\u00e9\udc80:predict")
    (root,) = collected.take()
    assert told(root)["url.path"] == "/v1/models/h%C3%A9%ED%B2%80:predict"


def by_hand(
    act: Callable[[ByHand, aiohttp.ClientSession], Any],
    collected: Collected | None = None,
    **options: Any,
) -> list[Any]:
    """The spans of what is done to a server whose model answers by hand."""
    collected = collected or Collected()

    async def main() -> None:
        async with (
            served_by_hand(front_of=collected.front, **options) as server,
            aiohttp.ClientSession(server.url, headers=JSON) as session,
        ):
            await act(server, session)

    asyncio.run(main())
    return collected.take()


def test_a_processor_that_fails_changes_no_answer() -> None:
    class Failing(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            msg = "broken"
            raise RuntimeError(msg)

    async def act(server: ByHand, session: aiohttp.ClientSession) -> None:
        asking = asyncio.create_task(session.post(PREDICT, data=body(1)))
        await until(lambda: server.executor.handed_over == 1)
        server.run_next()
        assert (await asking).status == 200

    collected = Collected()
    collected.provider.add_span_processor(Failing())
    with capture_logs() as entries:
        by_hand(act, collected)
    assert {entry["event"] for entry in entries} == {"a span processor of the application failed"}


def test_requests_of_one_batch_share_its_span() -> None:
    async def act(server: ByHand, session: aiohttp.ClientSession) -> None:
        first = asyncio.create_task(session.post(PREDICT, data=body(0)))
        await until(lambda: server.executor.handed_over == 1)
        others = [asyncio.create_task(session.post(PREDICT, data=body(n))) for n in range(3)]
        await until(lambda: server.batcher.stats().queued_requests == 3)
        server.run_next()
        await until(lambda: server.executor.handed_over == 1)
        server.run_next()
        await asyncio.gather(first, *others)

    spans = by_hand(act)
    alone, together = batches(spans)
    assert told(alone)["batcher.batch.requests"] == 1
    assert told(together)["batcher.batch.requests"] == 3
    runs = {number(root): linked(below(spans, root)["run"]) for root in roots(spans)}
    assert len(runs) == 4
    assert sorted(linked(together)) == sorted(
        root for root, batch in runs.items() if batch == [number(together)]
    )
    assert len(linked(together)) == 3
    assert runs[linked(alone)[0]] == [number(alone)]


def test_who_is_refused_leaves_a_span_that_says_so() -> None:
    async def act(server: ByHand, session: aiohttp.ClientSession) -> None:
        running = asyncio.create_task(session.post(PREDICT, data=body(0)))
        await until(lambda: server.executor.handed_over == 1)
        waiting = asyncio.create_task(session.post(PREDICT, data=body(0)))
        await until(lambda: server.batcher.stats().queued_requests == 1)
        refused = await session.post(PREDICT, data=body(0), headers={"traceparent": SAMPLED})
        assert refused.status == 503
        server.run_next()
        await until(lambda: server.executor.handed_over == 1)
        server.run_next()
        await asyncio.gather(running, waiting)

    spans = by_hand(act, max_queue_size=1)
    (refused,) = [root for root in roots(spans) if trace_of(root) == TRACE]
    assert told(refused)["http.response.status_code"] == 503
    assert told(refused)["error.type"] == "503"
    assert refused.status.status_code is StatusCode.ERROR
    assert [*below(spans, refused)] == ["read"]


def test_who_is_too_late_leaves_a_span_that_says_so() -> None:
    async def act(server: ByHand, session: aiohttp.ClientSession) -> None:
        late = await session.post(PREDICT, data=body(1), headers={"X-Request-Timeout-Ms": "20"})
        assert late.status == 504
        server.run_next()

    (root, read) = by_hand(act)
    if root.name == "read":
        root, read = read, root
    assert told(root)["http.response.status_code"] == 504
    assert root.status.status_code is StatusCode.ERROR
    assert read.name == "read"


def test_whose_client_goes_away_leaves_a_span_that_says_so() -> None:
    async def act(server: ByHand, session: aiohttp.ClientSession) -> None:
        going = asyncio.create_task(session.post(PREDICT, data=body(1)))
        await until(lambda: server.executor.handed_over == 1)
        going.cancel()
        await until(lambda: server.batcher.stats().cancelled == 1)
        server.run_next()

    spans = by_hand(act)
    (root,) = roots(spans)
    assert told(root)["batcher.client_gone"] is True
    assert "http.response.status_code" not in told(root)
    assert root.status.status_code is StatusCode.UNSET


def test_a_body_that_is_too_large_leaves_a_span() -> None:
    async def act(_: ByHand, session: aiohttp.ClientSession) -> None:
        refused = await session.post(PREDICT, data=b"x" * 2000)
        assert refused.status == 413

    (root,) = by_hand(act)
    assert told(root)["http.response.status_code"] == 413


def test_a_model_that_fails_is_the_servers_error_and_the_log_names_the_trace() -> None:
    async def act(server: ByHand, session: aiohttp.ClientSession) -> None:
        headers = {"traceparent": SAMPLED}
        failing = asyncio.create_task(session.post(PREDICT, data=body(1), headers=headers))
        await until(lambda: server.executor.handed_over == 1)
        server.model.fails = True
        server.run_next()
        assert (await failing).status == 500

    with capture_logs() as entries:
        spans = by_hand(act)
    (root,) = roots(spans)
    assert told(root)["error.type"] == "500"
    assert root.status.status_code is StatusCode.ERROR
    assert [entry["trace_id"] for entry in entries] == [TRACE]


def test_the_log_names_the_callers_trace_without_spans_as_well() -> None:
    async def main() -> None:
        async with served_by_hand() as server, aiohttp.ClientSession(server.url) as session:
            headers = JSON | {"traceparent": NOT_SAMPLED}
            failing = asyncio.create_task(session.post(PREDICT, data=body(1), headers=headers))
            await until(lambda: server.executor.handed_over == 1)
            server.model.fails = True
            server.run_next()
            assert (await failing).status == 500

    with capture_logs() as entries:
        asyncio.run(main())
    assert [entry["trace_id"] for entry in entries] == [TRACE]
