"""Where spans go: how many are followed, the queue, the exporters that variables name, the end."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Decision, Sampler
from opentelemetry.trace import SpanContext, TraceFlags
from structlog.testing import capture_logs

from server.demo.scans import held_out
from server.errors import StartupError
from server.exchange import Answer, Exchange
from server.spans import destinations
from server.spans.destinations import Own, destination
from server.spans.exporting import PORTION
from server.spans.recorder import Recorder
from server.spans.sampling import AtMost, ParentOr, Ratio, rule_of
from tests.server.process import ServerProcess
from tests.server.spanned import NOT_SAMPLED, SAMPLED, TRACE, check, trace_of

ROOT = Path(__file__).parents[2]
IDS = RandomIdGenerator()


def parent(*, sampled: bool) -> SpanContext:
    return SpanContext(int(TRACE, 16), 7, is_remote=True, trace_flags=TraceFlags(int(sampled)))


# -------------------------------------------------------------------------- how many are followed


def test_so_many_a_second_are_sampled_and_as_many_after_a_rest() -> None:
    root = AtMost(8)
    assert sum(root.take(5.0) for _ in range(100)) == 9
    assert not root.take(5.0625)
    assert root.take(5.125)
    evenly = [root.take(6.0 + n / 1024) for n in range(10 * 1024)]
    # Six that it has not taken before, and eight in each second.
    assert sum(evenly) == 6 + 10 * 8
    assert sum(root.take(1000.0) for _ in range(100)) == 9


@pytest.mark.parametrize(
    ("root", "samples"), [(AtMost(1000), True), (Ratio(1.0), True), (Ratio(0.0), False)]
)
def test_the_caller_decides_before_the_root(root: AtMost | Ratio, *, samples: bool) -> None:
    rule = rule_of(ParentOr(root), IDS)
    followed = rule.sample(parent(sampled=True), 1.0, "POST")
    assert followed is not None
    assert followed.trace_id == int(TRACE, 16)
    assert rule.sample(parent(sampled=False), 1.0, "POST") is None
    assert (rule.sample(None, 1.0, "POST") is not None) is samples


def test_a_ratio_is_what_the_sdk_makes_of_it() -> None:
    ratio = Ratio(0.25)
    drawn = [ratio.draw(IDS, 0.0) for _ in range(2000)]
    taken = [number for number in drawn if number]
    assert 350 < len(taken) < 650
    for number in taken:
        told = ratio.should_sample(None, number, "")
        assert told.decision is Decision.RECORD_AND_SAMPLE


@pytest.mark.parametrize(("sampler", "followed"), [(ALWAYS_ON, True), (ALWAYS_OFF, False)])
@pytest.mark.parametrize("asked_by", [None, parent(sampled=True), parent(sampled=False)])
def test_any_other_sampler_is_asked(
    sampler: Sampler, *, followed: bool, asked_by: SpanContext | None
) -> None:
    sampled = rule_of(sampler, IDS).sample(asked_by, 1.0, "POST")
    assert (sampled is not None) is followed
    if sampled is not None and asked_by is not None:
        assert sampled.trace_id == asked_by.trace_id


def test_the_sdk_may_ask_the_sampler_as_well() -> None:
    sampler = ParentOr(AtMost(0.001))
    decisions = [sampler.should_sample(None, 1, "").decision for _ in range(1003)]
    assert set(decisions) == {Decision.RECORD_AND_SAMPLE, Decision.DROP}
    assert str(sampler.root.get_description()) == "AtMost{0.001/s}"


# -------------------------------------------------------------------------------- queue and end


def record(recorder: Recorder, traceparent: str = "") -> bool:
    """One request that ends at once; whether it was followed."""
    headers = CIMultiDict({"traceparent": traceparent} if traceparent else {})
    exchange = Exchange("POST", "/v1/models/m:predict", headers, b"")
    note = recorder.begin(exchange)
    if note is not None:
        recorder.end(note, exchange, Answer(200, b""))
    return note is not None


def recording(own: Own) -> Recorder:
    recorder = Recorder()
    recorder.open(own)
    return recorder


def test_notes_become_spans_on_another_thread_and_the_end_waits_for_them() -> None:
    threads: set[int] = set()

    class Kept(InMemorySpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            threads.add(threading.get_ident())
            return super().export(spans)

    kept, also = Kept(), InMemorySpanExporter()

    async def main() -> None:
        recorder = recording(Own([kept, also], ParentOr(AtMost(1000))))
        assert [record(recorder, SAMPLED) for _ in range(100)] == [True] * 100
        assert not record(recorder, NOT_SAMPLED)
        await recorder.close()

    with capture_logs() as entries:
        asyncio.run(main())
    assert entries == []
    spans = kept.get_finished_spans()
    check(spans)
    assert len(spans) == 100
    assert {trace_of(span) for span in spans} == {TRACE}
    assert spans[0].resource.attributes["service.name"] == "batcher-server"
    assert spans == also.get_finished_spans()
    assert threading.get_ident() not in threads


class Hanging(SpanExporter):
    """Exports nothing until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.let_go.wait()
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self.let_go.set()


def test_what_would_not_get_through_is_not_even_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1000")
    hanging = Hanging()

    async def main() -> int:
        recorder = recording(Own([hanging], ParentOr(Ratio(1.0))))
        followed = sum(record(recorder) for _ in range(3000))
        hanging.let_go.set()
        await recorder.close()
        return followed

    with capture_logs() as entries:
        assert asyncio.run(main()) == 750
    assert [entry["log_level"] for entry in entries] == ["warning"]


def test_an_exporter_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(destinations, "FLUSH_SECONDS", 0.01)
    hanging = Hanging()

    async def main() -> None:
        recorder = recording(Own([hanging], ParentOr(AtMost(1000))))
        record(recorder)
        await recorder.close()

    with capture_logs() as entries:
        asyncio.run(main())
    hanging.let_go.set()
    (told,) = entries
    assert told["notes"] == 1


def test_an_exporter_that_raises_costs_its_spans_and_no_others() -> None:
    class Raising(InMemorySpanExporter):
        failures = 2

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            if self.failures:
                self.failures -= 1
                msg = "no words for this"
                raise ValueError(msg)
            return super().export(spans)

    raising = Raising()

    async def main() -> None:
        recorder = recording(Own([raising], ParentOr(Ratio(1.0))))
        assert [record(recorder) for _ in range(3 * PORTION)] == [True] * 3 * PORTION
        await recorder.close()

    with capture_logs() as entries:
        asyncio.run(main())
    assert [entry["event"] for entry in entries] == ["an exporter of spans failed"] * 2
    assert len(raising.get_finished_spans()) == PORTION


# ------------------------------------------------------------------------------------ variables


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"OTEL_TRACES_EXPORTER": "carrier_pigeon"}, "no package that is installed has"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "expected http/protobuf or grpc, not"),
        (
            {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"},
            "expected a number from 0 to 1, not '2'",
        ),
        (
            {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "all"},
            "expected a number from 0 to 1, not 'all'",
        ),
    ],
)
def test_variables_that_mean_nothing_are_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], told: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StartupError) as error:
        destination()
    assert told in str(error.value)
    assert str(error.value).startswith([*variables][-1])


def test_a_queue_that_is_shorter_than_a_portion_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
    with pytest.raises(StartupError, match=r"OTEL_BSP_\.\.\. .* max_export_batch_size must be"):
        destination()


@pytest.mark.parametrize(
    ("variables", "described"),
    [
        ({}, "ParentBased{root:AtMost{100/s}"),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, "AlwaysOffSampler"),
        ({"OTEL_SDK_DISABLED": "true"}, "AlwaysOffSampler"),
        (
            {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"},
            "ParentBased{root:TraceIdRatioBased{0.5}",
        ),
    ],
)
def test_the_variable_of_the_sampler_is_obeyed(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], described: str
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = destination()
    asyncio.run(found.close())
    assert found.sampler.get_description().startswith(described)


def test_a_tracer_provider_that_is_not_the_sdks_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", trace.NoOpTracerProvider())
    with pytest.raises(StartupError, match=r"opentelemetry-sdk, not .*NoOpTracerProvider"):
        destination()


# ------------------------------------------------------------------------------------ processes


def program(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True
    )


def test_without_it_nothing_of_opentelemetry_is_imported() -> None:
    done = program(
        "import sys, server.lifecycle\n"
        "from server.app import Application\n"
        "from server.config import Config\n"
        "Application(Config())\n"
        "print(*[name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    assert (done.stdout.split(), done.returncode) == ([], 0)


def test_who_has_not_installed_it_is_told_in_one_line() -> None:
    done = program(
        "import sys\n"
        "sys.modules['opentelemetry.sdk'] = None\n"
        "sys.argv = ['batcher-server', '--otel', '--port', '0']\n"
        "from server.cli import main\n"
        "main()"
    )
    told = "batcher-server: OpenTelemetry is not installed: pip install 'batcher[otel]'\n"
    assert (done.returncode, done.stderr) == (2, told)


async def ask(url: str) -> list[int]:
    """Two requests of which one has a caller; their statuses."""
    scans, _ = held_out()
    sent = {"instances": [scans[0].tolist()]}
    statuses = []
    async with aiohttp.ClientSession(url) as session:
        for headers in ({}, {"traceparent": SAMPLED}):
            async with session.post("/v1/models/digits:predict", json=sent, headers=headers) as at:
                statuses.append(at.status)
    return statuses


def test_a_collector_gets_all_before_the_server_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[ExportTraceServiceRequest] = []

    async def take(request: web.Request) -> web.Response:
        taken.append(ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response(content_type="application/x-protobuf")

    async def main() -> tuple[int, str]:
        app = web.Application()
        app.router.add_post("/v1/traces", take)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "reader")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
        with ServerProcess("--otel", "--drain-delay", "0") as server:
            assert await ask(server.url) == [200, 200]
            ended = await asyncio.to_thread(server.stop)
        await runner.cleanup()
        return ended

    code, log = asyncio.run(main())
    assert (code, "warning" in log) == (0, False)
    assert spans_by_name(taken) == {
        "POST /v1/models/digits:predict": 2,
        **dict.fromkeys(("read", "queue", "run", "write", "batch digits"), 2),
    }
    resource = {
        each.key: each.value.string_value for each in taken[0].resource_spans[0].resource.attributes
    }
    assert resource["service.name"] == "reader"
    traces = {span.trace_id.hex() for span in all_spans(taken) if span.name == "run"}
    assert TRACE in traces
    assert len(traces) == 2


def all_spans(taken: Sequence[ExportTraceServiceRequest]) -> list[Any]:
    return [
        span
        for request in taken
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def spans_by_name(taken: Sequence[ExportTraceServiceRequest]) -> dict[str, int]:
    names = [span.name for span in all_spans(taken)]
    return {name: names.count(name) for name in names}
