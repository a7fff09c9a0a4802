"""The way of spans to where they are exported, on the exporter's thread. Any thread.

A request waits in the SDK's queue as one note, and becomes spans only when its turn has come: what
is dropped because the queue is full has cost next to nothing, and no trace lacks some of its spans.

To make a span and its bytes takes 20 µs and holds Python's lock, for which the event loop waits. So
the exporter's thread rests after each portion, until it has used no more than its share of a core.
"""

import threading
import time
from collections.abc import Sequence
from typing import Final

import structlog
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from server.spans.tree import Note, Source

log: Final = structlog.get_logger("server.spans")

SHARE: Final = 0.05
"""Of one core, at most this is used for making spans and sending them: some 400 requests a
second."""

PORTION: Final = 32
"""Notes that are made into spans in one go."""


class Waiting(ReadableSpan):
    """A note that the SDK's queue takes for a span."""

    def __init__(self, note: Note) -> None:
        super().__init__("", context=note.context, resource=_NO_RESOURCE)
        self.note = note


_NO_RESOURCE: Final = Resource({})


class Exporting(SpanExporter):
    """Makes spans of notes, portion by portion, and hands them to exporters."""

    def __init__(
        self, exporters: Sequence[SpanExporter], source: Source, share: float = SHARE
    ) -> None:
        self.exported = 0
        self._exporters = exporters
        self._source = source
        self._rest_by_work = 1 / share - 1
        self._hurry = threading.Event()

    def hurry(self) -> None:
        """Rest no more: the server ends."""
        self._hurry.set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export notes. Exporters repeat and log by themselves what fails."""
        for first in range(0, len(spans), PORTION):
            began = time.thread_time()
            self._export_portion(spans[first : first + PORTION])
            self._hurry.wait((time.thread_time() - began) * self._rest_by_work)
        return SpanExportResult.SUCCESS

    def _export_portion(self, waiting: Sequence[ReadableSpan]) -> None:
        try:
            made = self._made(waiting)
            for exporter in self._exporters:
                exporter.export(made)
        except Exception:
            # Exporters are somebody's code; what one does not take must not be its end.
            log.exception("an exporter of spans failed", notes=len(waiting))
        finally:
            # Also what is lost waits no longer, or the queue would seem full for ever.
            self.exported += len(waiting)

    def _made(self, waiting: Sequence[ReadableSpan]) -> list[ReadableSpan]:
        made: list[ReadableSpan] = []
        for span in waiting:
            assert isinstance(span, Waiting)
            made.extend(span.note.spans(self._source))
        return made

    def shutdown(self) -> None:
        """End the exporters."""
        for exporter in self._exporters:
            exporter.shutdown()
