"""The front: every request of every protocol comes through `handle`. Event loop.

It knows no framework. It routes on the raw target, lets the protocol decode, the endpoint infer and
the protocol encode, and counts the answer. Whatever was not foreseen is a 500 and a log entry with
its traceback, here and nowhere else.
"""

import enum
import math
from typing import Final

import structlog

from server.errors import Internal, ServingError, Unavailable
from server.exchange import Answer, Exchange
from server.inference import Infer, ModelStatus
from server.metrics import CONTENT_TYPE, Metrics
from server.protocols import PROTOCOLS
from server.protocols.protocol import Protocol
from server.repository import Repository

log: Final = structlog.get_logger("server.front")


class Phase(enum.Enum):
    """Where the whole server is in its life."""

    STARTING = "the server is starting"
    READY = "ready"
    DRAINING = "the server is shutting down"


class Front:
    """Answers exchanges, from the first connection to the last."""

    def __init__(self, repository: Repository, metrics: Metrics) -> None:
        self.phase = Phase.STARTING
        self._repository = repository
        self._metrics = metrics

    async def handle(self, exchange: Exchange) -> Answer:
        """Answer one request; raises nothing but CancelledError, when the client has gone."""
        protocol = _protocol(exchange.target)
        if protocol is None:
            return self._own_page(exchange)
        model = ""
        try:
            operation = protocol.route(exchange.method, exchange.target)
            if self._repository.knows(operation.address.name):
                model = operation.address.name
            if isinstance(operation, Infer):
                answer = await self._infer(protocol, operation, exchange)
            elif isinstance(operation, ModelStatus):
                answer = protocol.status(self._repository.states(operation.address))
            else:
                answer = protocol.metadata(self._repository.find(operation.address))
        except ServingError as error:
            answer = protocol.error(error)
            if isinstance(error, Internal):
                log.exception("inference failed", model=model)
            elif isinstance(error, Unavailable):
                answer.headers = _retry_after(error.retry_after)
                answer.close = self.phase is Phase.DRAINING
        except Exception:
            log.exception("a request met a defect of this server", target=exchange.target)
            answer = protocol.error(Internal("internal error; the server's log has the details"))
        self._metrics.count_answer(model, protocol.name, answer.status)
        return answer

    def refuse(self, exchange: Exchange, error: ServingError) -> Answer:
        """Answer a request whose body could not be read, in its own protocol's words."""
        protocol = _protocol(exchange.target)
        if protocol is not None:
            answer = protocol.error(error)
            self._metrics.count_answer("", protocol.name, answer.status)
            return answer
        return Answer(error.code.http_status, str(error).encode(), "text/plain; charset=utf-8")

    async def _infer(self, protocol: Protocol, operation: Infer, exchange: Exchange) -> Answer:
        if self.phase is Phase.DRAINING:
            raise Unavailable(self.phase.value)
        request = protocol.decode(operation, exchange, self._repository.find)
        response = await self._repository.endpoint(request.model).infer(request)
        return protocol.encode(request, response)

    def _own_page(self, exchange: Exchange) -> Answer:
        """Pages about the server itself: for probes and Prometheus, in plain text."""
        path = exchange.target.partition("?")[0]
        if path not in ("/livez", "/readyz", "/metrics"):
            return _text(404, f"nothing is served at {path}")
        if exchange.method not in ("GET", "HEAD"):
            return _text(405, f"{path} takes GET only, not {exchange.method}")
        if path == "/livez":
            return _text(200, "alive")
        if path == "/readyz":
            ready = self.phase is Phase.READY
            return _text(200 if ready else 503, self.phase.value)
        return Answer(200, self._metrics.scrape(), CONTENT_TYPE)


def _protocol(target: str) -> Protocol | None:
    for protocol in PROTOCOLS:
        if target.startswith(protocol.prefix):
            return protocol
    return None


def _retry_after(seconds: float) -> dict[str, str]:
    """When to come again: whole seconds for everybody, milliseconds for who can read them.

    Where nothing is known (0), a second, and no precision that is not there.
    """
    whole = {"Retry-After": str(max(1, math.ceil(seconds)))}
    return whole | {"Retry-After-Ms": str(math.ceil(seconds * 1000))} if seconds else whole


def _text(status: int, words: str) -> Answer:
    return Answer(status, words.encode() + b"\n", "text/plain; charset=utf-8")
