"""What was recorded of requests and batches, as spans: made when they are exported. Any thread.

    POST /v1/models/digits:predict    SERVER: from the whole request to the whole answer
    ├── read                          which model, may he, the body into arrays
    ├── queue                         from its arrival in the queue until its batch was taken
    ├── run ─ ─ links to ─ ─ ┐        while the model ran on its batch
    └── write                ┆        outputs into bytes
                             ┆
    batch digits  ◁─ ─ ─ ─ ─ ┘        a trace of its own, as it belongs to many; links to them all

What takes no time of its own stays a gap: the way to the model's thread and back. The names of
attributes are OpenTelemetry's semantic conventions, and `batcher.` for what they have no word for.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from batcher import Receipt
from server.inference import ServedModel, Stages

SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)

MOST_LINKS: Final = 128
"""Links of a span, as OpenTelemetry limits them."""

GRPC_CODES: Final = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND"),
    *("ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION"),
    *("ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"),
    "UNAUTHENTICATED",
)
"""gRPC's statuses by number."""

_SERVERS_FAULT: Final = frozenset(
    ("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS")
)
_METHODS: Final = frozenset(
    ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
)
_UNSET, _ERROR = Status(StatusCode.UNSET), Status(StatusCode.ERROR)

GONE: Final = -1
"""The status of a request whose client has gone."""


class Source(NamedTuple):
    """What all spans of a server have in common, and what numbers them."""

    resource: Resource
    scope: InstrumentationScope
    ids: IdGenerator

    def span(
        self,
        name: str,
        times: tuple[int, int],
        parent: SpanContext | None,
        context: SpanContext,
        *,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[Link] = (),
        kind: SpanKind = SpanKind.INTERNAL,
        status: Status = _UNSET,
    ) -> ReadableSpan:
        """One span; times are nanoseconds since 1970."""
        return ReadableSpan(
            name,
            context=context,
            parent=parent,
            resource=self.resource,
            instrumentation_scope=self.scope,
            attributes=attributes,
            links=links,
            kind=kind,
            status=status,
            start_time=times[0],
            end_time=times[1],
        )

    def below(self, parent: SpanContext) -> SpanContext:
        """A context for a child."""
        number = self.ids.generate_span_id()
        return SpanContext(parent.trace_id, number, False, SAMPLED, parent.trace_state)


@dataclass(slots=True)
class BatchNote:
    """A batch that a sampled request was in.

    `offset` is what makes nanoseconds since 1970 of seconds of the loop; `requests` are the sampled
    ones that it ran.
    """

    context: SpanContext
    model: ServedModel
    signature: str
    receipt: Receipt
    offset: int
    requests: list[SpanContext] = field(default_factory=list)

    def spans(self, source: Source) -> Iterator[ReadableSpan]:
        """Its only span."""
        receipt = self.receipt
        begin = self.offset + int(receipt.taken * 1e9)
        yield source.span(
            f"batch {self.model.name}",
            (begin, begin + int(receipt.run_time * 1e9)),
            None,
            self.context,
            attributes={
                "batcher.model": self.model.name,
                "batcher.version": self.model.version,
                "batcher.signature": self.signature,
                "batcher.batch.rows": receipt.batch_size,
                "batcher.batch.padded_rows": receipt.padded_size,
                "batcher.batch.requests": receipt.batch_requests,
                "batcher.batch.reason": receipt.reason.value,
            },
            links=[Link(context) for context in self.requests[:MOST_LINKS]],
        )


@dataclass(slots=True)
class RequestNote:
    """A sampled request, from its beginning.

    `method` and `target` are those of the exchange; `status` the protocol's own number, or GONE;
    `offset` what makes nanoseconds since 1970 of its stages. `more` is what the sampler adds.
    """

    context: SpanContext
    parent: SpanContext | None
    stages: Stages
    method: str
    target: str
    is_http: bool
    offset: int
    more: Mapping[str, Any]
    request_id: str = ""
    status: int = GONE
    batches: Sequence[SpanContext] = ()

    def spans(self, source: Source) -> Iterator[ReadableSpan]:
        """Itself, and its stages as far as it came."""
        stages = self.stages
        name, attributes, status = self._as_http() if self.is_http else self._as_grpc()
        local = self.parent is not None and not self.parent.is_remote
        kind = SpanKind.INTERNAL if local else SpanKind.SERVER
        began, ended = self._times(stages.began, stages.ended)
        attributes |= self._as_ours()
        yield source.span(
            name,
            (began, ended),
            self.parent,
            self.context,
            attributes=attributes,
            kind=kind,
            status=status,
        )
        for stage, begin, end in self._parts():
            times = max(begin, began), min(end, ended)
            context = source.below(self.context)
            if stage == "run":
                rows = {"batcher.batch.rows": sum([of.batch_size for of in stages.receipts])}
                links = [Link(batch) for batch in self.batches[:MOST_LINKS]]
                yield source.span(stage, times, self.context, context, attributes=rows, links=links)
            else:
                yield source.span(stage, times, self.context, context)

    def _parts(self) -> Iterator[tuple[str, int, int]]:
        stages = self.stages
        if stages.decoded:
            yield "read", *self._times(stages.began, stages.decoded)
        if stages.receipts:
            # A request that was cut up waits until its first part runs, and runs until its last.
            taken = min(receipt.taken for receipt in stages.receipts)
            waited = max(receipt.taken - receipt.queue_time for receipt in stages.receipts)
            done = max(receipt.taken + receipt.run_time for receipt in stages.receipts)
            yield "queue", *self._times(waited, taken)
            yield "run", *self._times(taken, min(done, stages.ran))
            yield "write", *self._times(stages.ran, stages.ended)

    def _times(self, begin: float, end: float) -> tuple[int, int]:
        return self.offset + int(begin * 1e9), self.offset + int(end * 1e9)

    def _as_http(self) -> tuple[str, dict[str, Any], Status]:
        known = self.method in _METHODS
        # Where a request was refused, what is no ASCII has not been quoted yet.
        path = _ascii(self.target.partition("?")[0])
        attributes: dict[str, Any] = {
            "http.request.method": self.method if known else "_OTHER",
            "url.path": path,
            "url.scheme": "http",
        }
        if not known:
            attributes["http.request.method_original"] = _ascii(self.method)
        name = self.method if known else "HTTP"
        if self.stages.model is not None:
            # Of paths that lead to a model there are few; of others, as many as clients make up.
            name, attributes["http.route"] = f"{name} {path}", path
        if self.status == GONE:
            return name, attributes, _UNSET
        attributes["http.response.status_code"] = self.status
        if self.status < 500:  # noqa: PLR2004 - what HTTP calls the server's fault begins here
            return name, attributes, _UNSET
        attributes["error.type"] = str(self.status)
        return name, attributes, _ERROR

    def _as_grpc(self) -> tuple[str, dict[str, Any], Status]:
        method = self.target.removeprefix("/")
        code = "CANCELLED" if self.status == GONE else GRPC_CODES[self.status]
        attributes = {
            "rpc.system.name": "grpc",
            "rpc.method": method,
            "rpc.response.status_code": code,
        }
        if code not in _SERVERS_FAULT:
            return method, attributes, _UNSET
        attributes["error.type"] = code
        return method, attributes, _ERROR

    def _as_ours(self) -> dict[str, Any]:
        attributes = dict(self.more)
        if self.stages.model is not None:
            attributes["batcher.model"] = self.stages.model.name
            attributes["batcher.version"] = self.stages.model.version
        if self.stages.rows:
            attributes["batcher.rows"] = self.stages.rows
        if self.request_id:
            attributes["batcher.request_id"] = self.request_id
        if self.status == GONE:
            attributes["batcher.client_gone"] = True
        return attributes


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()


Note = BatchNote | RequestNote
