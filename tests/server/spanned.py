"""What a server that is followed has left behind: spans by name, and what must hold of all."""

from collections.abc import Iterator, Sequence
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, Tracer, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from server.spans.destinations import SCOPE, Around
from server.spans.front import FollowingFront
from server.spans.recorder import Recorder

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, NOT_SAMPLED = f"00-{TRACE}-{CALLER}-01", f"00-{TRACE}-{CALLER}-00"


class Collected:
    """Keeps the spans of a provider, such as an application has one."""

    def __init__(self) -> None:
        self.provider = TracerProvider(shutdown_on_exit=False)
        self._exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def front(self, *parts: Any, **options: Any) -> FollowingFront:
        """A front that leaves its spans here."""
        recorder = Recorder()
        tracer = self.provider.get_tracer(SCOPE.name)
        assert isinstance(tracer, Tracer)
        recorder.open(Around(tracer))
        return FollowingFront(recorder, *parts, **options)

    def take(self) -> list[ReadableSpan]:
        """The spans since the last time, which are sound."""
        spans = list(self._exporter.get_finished_spans())
        self._exporter.clear()
        check(spans)
        return spans


def number(span: ReadableSpan) -> int:
    """The id of a span."""
    assert span.context is not None
    found: int = span.context.span_id
    return found


def trace_of(span: ReadableSpan) -> str:
    """The id of its trace, as it is written."""
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


def told(span: ReadableSpan) -> dict[str, Any]:
    """Its attributes."""
    return dict(span.attributes or {})


def linked(span: ReadableSpan) -> list[int]:
    """The ids of the spans that it links to."""
    return [link.context.span_id for link in span.links]


def roots(spans: Sequence[ReadableSpan]) -> list[ReadableSpan]:
    """The requests among them."""
    known = {number(span) for span in spans}
    return [
        span
        for span in spans
        if not span.name.startswith("batch ")
        and (span.parent is None or span.parent.span_id not in known)
    ]


def batches(spans: Sequence[ReadableSpan]) -> list[ReadableSpan]:
    """The batches among them."""
    return [span for span in spans if span.name.startswith("batch ")]


def below(spans: Sequence[ReadableSpan], root: ReadableSpan) -> dict[str, ReadableSpan]:
    """The children of one, by name."""
    found = [span for span in spans if span.parent and span.parent.span_id == number(root)]
    children = {span.name: span for span in found}
    assert len(children) == len(found)
    return children


def nested(spans: Sequence[ReadableSpan]) -> Iterator[tuple[ReadableSpan, ReadableSpan]]:
    """Each span that has its parent among them, behind that."""
    known = {number(span): span for span in spans}
    for span in spans:
        if span.parent is not None and span.parent.span_id in known:
            yield known[span.parent.span_id], span


def check(spans: Sequence[ReadableSpan]) -> None:
    """Ids differ, spans do not end before they begin, and none reaches out of its parent."""
    assert len({number(span) for span in spans}) == len(spans)
    for span in spans:
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.start_time <= span.end_time
    for parent, child in nested(spans):
        assert (parent.start_time or 0) <= (child.start_time or 0)
        assert (child.end_time or 0) <= (parent.end_time or 0)
        assert trace_of(parent) == trace_of(child)
