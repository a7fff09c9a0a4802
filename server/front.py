"""The front: every request of every protocol comes through `handle`. Event loop.

It knows no framework. On the way in: which protocol, who asks, what for, until when; the protocol
decodes, the endpoint infers, the protocol encodes; on the way back it counts, times and labels the
answer. Bodies that take long to parse or print are left to the codec thread, so that the loop goes
on. Whatever was not foreseen is a 500 and a log entry with its traceback, here and nowhere else.
"""

import contextvars
import math
import string
import time
import urllib.parse
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import structlog

from batcher import Executor
from server.access import Access
from server.compression import inflate
from server.endpoint import Endpoint
from server.errors import (
    Internal,
    MethodNotAllowed,
    ServingError,
    Unauthenticated,
    Unavailable,
    UnsupportedEncoding,
)
from server.exchange import Answer, Exchange
from server.inference import InferenceRequest, InferenceResponse, ServedModel
from server.live.feed import Feed, Times
from server.live.stream import Stream
from server.metrics import Metrics
from server.pages import Pages
from server.protocols import PROTOCOLS
from server.protocols.protocol import Call, Infer, Protocol
from server.repository import Repository
from server.serving import Phase, Serving
from server.traceparent import trace_id
from server.tracing import Tracer
from server.wishes import NOTHING, Wishes, request_id

log: Final = structlog.get_logger("server.front")

LARGE: Final = 32 * 1024
"""Bytes of text to parse, from which on the codec thread does it.

Parsing numbers holds up the loop by about 5 µs a kB (`python -m bench codec`), and by 150 a kB if
they are short and in rows of one; the way to the thread and back costs 25 µs.
"""

MANY: Final = 4 * 1024
"""Elements to print, from which on the codec thread does it: some 30 ns each."""

_ALLOWED: Final = "Access-Control-Allow-Headers"


class Entrance(NamedTuple):
    """What the head alone of a request for inference says: as much of the way as goes without body.

    Whoever gets the same head again may come in here.
    """

    protocol: Protocol
    operation: Infer
    wishes: Wishes
    request_id: str


class Front:
    """Answers exchanges, from the first connection to the last."""

    def __init__(
        self,
        repository: Repository,
        metrics: Metrics,
        serving: Serving,
        access: Access,
        codec: Executor,
        *,
        feed: Feed,
        stream: Stream,
        max_body_size: int,
        cors: bool = False,
        metrics_path: str = "",
    ) -> None:
        self.max_body_size: Final = max_body_size
        self._repository = repository
        self._metrics = metrics
        self._serving = serving
        self._access = access
        self._codec = codec
        self._feed = feed
        self._cors = cors
        self._pages = Pages(
            metrics,
            serving,
            stream,
            metrics_path=metrics_path,
            tokens=access.needs_token,
            admin=access.administered,
        )
        self._tracer = Tracer(serving.trace_settings)

    def enter(self, method: str, target: str, headers: Mapping[str, str]) -> Entrance | None:
        """What a head says, for `handle`; None if it is no plain request for inference.

        It is the same as long as the server runs.
        """
        exchange = Exchange(method, target, headers, b"")
        protocol = _protocol(exchange) if target.isascii() else None
        if protocol is None:
            return None
        try:
            operation = protocol.route(exchange)
            if not isinstance(operation, Infer):
                return None
            return Entrance(protocol, operation, Wishes.of(exchange), request_id(headers))
        except ServingError:
            return None

    def streams(self, target: str) -> bool:
        """Whether the answer to this target comes part by part, without an end of its own."""
        return self._pages.streams(target)

    async def handle(
        self,
        exchange: Exchange,
        protocol: Protocol | None = None,
        *,
        entrance: Entrance | None = None,
    ) -> Answer:
        """Answer one request; raises nothing but CancelledError, when the client has gone.

        HTTP's protocols are told apart here; an adapter of another transport names its own.
        `entrance` is what `enter` has made of the head.
        """
        if entrance is not None:
            protocol = entrance.protocol
        else:
            if not exchange.target.isascii():
                # As clients should have sent it; and no message that quotes it is without a UTF-8
                # form.
                exchange.target = urllib.parse.quote(
                    exchange.target.encode("utf-8", "surrogatepass"), safe=string.punctuation
                )
            protocol = protocol or _protocol(exchange)
        if protocol is None:
            return await self._page(exchange)
        model = ""
        try:
            operation = protocol.route(exchange) if entrance is None else entrance.operation
            wanted = operation.address.name if isinstance(operation, Infer) else operation.model
            if self._repository.knows(wanted):
                model = wanted
            if isinstance(operation, Infer):
                self._access.check(exchange)
                answer = await self._infer(protocol, operation, exchange, entrance)
            elif operation.admin:
                with self._access.recorded(exchange, model):
                    answer = await self._call(operation, exchange)
            else:
                answer = await self._call(operation, exchange)
        except ServingError as error:
            answer = self._error(protocol, error, exchange, model)
        except Exception:
            log.exception(
                "a request met a defect of this server",
                target=exchange.target,
                request_id=request_id(exchange.headers),
                trace_id=trace_id(exchange),
            )
            answer = protocol.error(Internal("internal error; the server's log has the details"))
        told = request_id(exchange.headers) if entrance is None else entrance.request_id
        return self._label(answer, protocol, model, told)

    def refuse(self, exchange: Exchange, error: ServingError) -> Answer:
        """Answer a request whose body could not be read, in its own protocol's words."""
        protocol = _protocol(exchange)
        if protocol is None:
            return self._error(self._pages, error, exchange, "")
        answer = self._error(protocol, error, exchange, "")
        return self._label(answer, protocol, "", request_id(exchange.headers))

    async def _call(self, call: Call, exchange: Exchange) -> Answer:
        if not call.is_open:
            self._access.check(exchange, admin=call.admin)
        if exchange.encoding:
            await self._codec.call(self._inflate, exchange)
        return await call.run(self._serving)

    async def _infer(
        self,
        protocol: Protocol,
        operation: Infer,
        exchange: Exchange,
        entrance: Entrance | None,
    ) -> Answer:
        if self._serving.phase is Phase.DRAINING:
            raise Unavailable(self._serving.phase.value)
        began = time.perf_counter()
        wishes = Wishes.of(exchange) if entrance is None else entrance.wishes
        # What is small is not worth a coroutine of its own, here and below.
        if protocol.parsed_size(operation, exchange) <= LARGE and not exchange.encoding:
            request = protocol.decode(operation, exchange, self._repository.find)
            endpoint = self._repository.endpoint(request.model)
        else:
            request, endpoint = await self._decode_large(protocol, operation, exchange)
        decoded = time.perf_counter()
        if exchange.stages is not None:
            exchange.stages.read(request, decoded)
        if wishes is not NOTHING or request.timeout is not None:
            wishes.apply(request, decoded - began)
        try:
            response = await endpoint.infer(request)
            run = time.perf_counter()
            if exchange.stages is not None:
                exchange.stages.run(response, run)
            if protocol.printed_size(request, response) <= MANY:
                answer = protocol.encode(request, response)
            else:
                answer = await self._codec.call(lambda _: protocol.encode(request, response), None)
        except ServingError:
            endpoint.statistics.fail.add(time.perf_counter() - began)
            raise
        ended = time.perf_counter()
        read, write = decoded - began, ended - run
        queue_time, run_time = response.queue_time, response.run_time
        endpoint.statistics.count_answered(
            protocol.name, response.rows, queue_time, read, run_time, write, began, ended
        )
        if self._serving.tracing or self._feed.watched:
            self._tell(request.model, exchange, response, read, write, ended - began)
        timing = (
            f"queue;dur={queue_time * 1000:.3f}, run;dur={run_time * 1000:.3f},"
            f" batch;desc={response.receipts[0].batch_size}"
        )
        if answer.headers is None:
            answer.headers = {"Server-Timing": timing}
        else:
            answer.headers["Server-Timing"] = timing
        return answer

    def _tell(  # noqa: PLR0917 - called for each request: no names of arguments
        self,
        model: ServedModel,
        exchange: Exchange,
        response: InferenceResponse,
        read: float,
        write: float,
        total: float,
    ) -> None:
        """A request was answered: for the log, and for those who look."""
        if self._serving.tracing:
            self._tracer.trace(model, exchange, response, read=read, write=write)
        if self._feed.watched:
            times = Times(read, response.queue_time, response.run_time, write, total)
            self._feed.answered(model.name, model.version, times)

    async def _decode_large(
        self, protocol: Protocol, operation: Infer, exchange: Exchange
    ) -> tuple[InferenceRequest, Endpoint]:
        """Have the codec thread read a body; and again if another has taken the model's place."""
        request = await self._decode(protocol, operation, exchange)
        try:
            return request, self._repository.endpoint(request.model)
        except Unavailable:
            request = await self._decode(protocol, operation, exchange)
            return request, self._repository.endpoint(request.model)

    async def _decode(
        self, protocol: Protocol, operation: Infer, exchange: Exchange
    ) -> InferenceRequest:
        # The model is looked up on the loop, which owns the models, before the body is read: whom
        # it names is not in the body, and the codec thread gets what was found.
        found: Any
        try:
            found = self._repository.find(operation.address)
        except ServingError as error:
            found = error

        def found_before(_: object) -> Any:
            if isinstance(found, ServingError):
                raise found
            return found

        def decode() -> InferenceRequest:
            self._inflate(exchange)
            return protocol.decode(operation, exchange, found_before)

        # In the context of the connection, where NumPy has been told not to warn of infinities.
        return await self._codec.call(contextvars.copy_context().run, decode)

    def _inflate(self, exchange: Exchange) -> None:
        if exchange.encoding:
            exchange.body = inflate(exchange.body, exchange.encoding, self.max_body_size)
            exchange.encoding = ""

    def _error(
        self, writer: Protocol | Pages, error: ServingError, exchange: Exchange, model: str
    ) -> Answer:
        answer = writer.error(error)
        if self._feed.watched:
            self._feed.refused(model, error.code.name)
        if isinstance(error, Internal):
            log.error(
                "inference failed",
                model=model,
                request_id=request_id(exchange.headers),
                trace_id=trace_id(exchange),
                exc_info=error,
            )
        elif isinstance(error, Unavailable):
            answer.headers = (answer.headers or {}) | _retry_after(error.retry_after)
            answer.close = self._serving.phase is Phase.DRAINING
        elif isinstance(error, Unauthenticated):
            answer.headers = (answer.headers or {}) | {"WWW-Authenticate": "Bearer"}
        elif isinstance(error, MethodNotAllowed):
            answer.headers = (answer.headers or {}) | {"Allow": error.allowed}
        elif isinstance(error, UnsupportedEncoding):
            answer.headers = (answer.headers or {}) | {"Accept-Encoding": "gzip, deflate"}
        return answer

    def _label(self, answer: Answer, protocol: Protocol, model: str, told: str) -> Answer:
        """Count an answer, and give it the headers that every answer has; `told` is its id."""
        self._metrics.count_answer(model, protocol.name, answer.status)
        if told or self._cors:
            answer.headers = dict(answer.headers or {})
            if told:
                answer.headers["X-Request-Id"] = told
            if self._cors:
                answer.headers |= protocol.cors
                if self._access.needs_token and _ALLOWED in protocol.cors:
                    answer.headers[_ALLOWED] += ", Authorization"
        return answer

    async def _page(self, exchange: Exchange) -> Answer:
        try:
            if not self._pages.is_open(exchange):
                self._access.check(exchange)
            return await self._pages.answer(exchange)
        except ServingError as error:
            return self._error(self._pages, error, exchange, "")
        except Exception:
            log.exception("a page met a defect of this server", target=exchange.target)
            return self._pages.error(Internal("internal error; the server's log has the details"))


def _protocol(exchange: Exchange) -> Protocol | None:
    for protocol in PROTOCOLS:
        if protocol.takes(exchange):
            return protocol
    return None


def _retry_after(seconds: float) -> dict[str, str]:
    """When to come again: whole seconds for everybody, milliseconds for who can read them.

    Where nothing is known (0), a second, and no precision that is not there.
    """
    whole = {"Retry-After": str(max(1, math.ceil(seconds)))}
    return whole | {"Retry-After-Ms": str(math.ceil(seconds * 1000))} if seconds else whole
