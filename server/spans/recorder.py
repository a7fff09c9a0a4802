"""Which requests are followed, what becomes of them, and which batches they ran in. Event loop.

Nothing is known of a batch until a sampled request comes out of it: its receipt says all there is
to say. The batch's note goes out after the loop has come round, when all its requests have told
where they ran, as its links are to lead to them.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from multidict import MultiMapping
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import SpanContext, TraceFlags, TraceState, get_current_span

from batcher import Receipt
from server import traceparent
from server.exchange import Answer, Exchange
from server.inference import ServedModel, Stages
from server.spans.destinations import Destination
from server.spans.sampling import Rule, rule_of
from server.spans.tree import GONE, MOST_LINKS, SAMPLED, BatchNote, RequestNote
from server.wishes import request_id

TRACESTATE: Final = "tracestate"

MOST_BATCHES: Final = 64
"""Batches that are known at once: answers that the codec thread prints come later than others."""

_Key = tuple[str, int, float]


class Recorder:
    """Takes notes of sampled requests, and gives them to a destination."""

    _destination: Destination
    _ids: IdGenerator
    _rule: Rule
    _is_inner: bool
    _obeys: bool

    def __init__(self) -> None:
        self._batches: dict[_Key, BatchNote] = {}

    def open(self, destination: Destination) -> None:
        """Begin to take notes."""
        self._destination = destination
        self._ids = destination.source.ids
        self._rule = rule_of(destination.sampler, self._ids)
        self._is_inner = destination.is_inner
        self._obeys = self._rule.obeys and not self._is_inner

    def begin(self, exchange: Exchange) -> RequestNote | None:
        """A note of this request, if it is to be followed."""
        if self._destination.is_full():
            return None
        told = traceparent.of(exchange.headers)
        if told is not None and self._obeys and not told.is_sampled:
            return None
        parent = self._parent(told, exchange.headers)
        now = time.perf_counter()
        sampled = self._rule.sample(parent, now, exchange.method)
        if sampled is None:
            return None
        number = self._ids.generate_span_id()
        exchange.stages = Stages(now, f"{sampled.trace_id:032x}")
        return RequestNote(
            SpanContext(sampled.trace_id, number, False, SAMPLED, sampled.state),
            parent,
            exchange.stages,
            exchange.method,
            exchange.target,
            exchange.is_web,
            time.time_ns() - int(now * 1e9),
            sampled.attributes,
        )

    def end(self, note: RequestNote, exchange: Exchange, answer: Answer | None) -> None:
        """It has its answer; None: its client has gone."""
        stages = note.stages
        if stages.is_probe:
            return
        stages.ended = time.perf_counter()
        # As the front has quoted it.
        note.target = exchange.target
        note.status = GONE if answer is None else answer.status
        note.request_id = request_id(exchange.headers)
        if stages.model is not None:
            note.batches = [
                self._batch(stages.model, stages.signature, receipt, note)
                for receipt in stages.receipts[:MOST_LINKS]
            ]
        self._destination.put(note)

    async def close(self) -> None:
        """Let all that was noted go out."""
        await self._destination.close()

    def _parent(
        self, told: traceparent.Traceparent | None, headers: Mapping[str, str]
    ) -> SpanContext | None:
        if self._is_inner:
            current = get_current_span().get_span_context()
            if current.is_valid:
                return current
        if told is None:
            return None
        return SpanContext(
            int(told.trace_id, 16),
            int(told.span_id, 16),
            is_remote=True,
            trace_flags=TraceFlags(told.flags),
            trace_state=_state(headers) if TRACESTATE in headers else None,
        )

    def _batch(
        self, model: ServedModel, signature: str, receipt: Receipt, request: RequestNote
    ) -> SpanContext:
        """The batch that a request ran in."""
        key = model.name, model.version, receipt.taken
        batch = self._batches.get(key)
        if batch is None:
            ids = self._ids.generate_trace_id(), self._ids.generate_span_id()
            context = SpanContext(*ids, is_remote=False, trace_flags=SAMPLED)
            batch = BatchNote(context, model, signature, receipt, request.offset)
            if len(self._batches) >= MOST_BATCHES:
                del self._batches[next(iter(self._batches))]
            self._batches[key] = batch
            asyncio.get_running_loop().call_soon(self._destination.put, batch)
        batch.requests.append(request.context)
        return batch.context


def _state(headers: Mapping[str, str]) -> TraceState:
    """What vendors say of the trace, in one header or in several."""
    several = headers.getall(TRACESTATE) if isinstance(headers, MultiMapping) else None
    return TraceState.from_header(several or [headers[TRACESTATE]])
