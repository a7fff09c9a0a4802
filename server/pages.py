"""Pages about the server itself: for probes, Prometheus and readers of its API. Event loop."""

from collections.abc import Callable
from typing import Final

import orjson

from server.errors import MethodNotAllowed, NotFound, ServingError
from server.exchange import Answer, Exchange
from server.metrics import CONTENT_TYPE, Metrics
from server.openapi import document
from server.serving import Serving

PROBES: Final = ("/livez", "/readyz")


class Pages:
    """Answers what no protocol takes."""

    def __init__(self, metrics: Metrics, serving: Serving) -> None:
        self._metrics = metrics
        self._serving = serving
        self._pages: dict[str, Callable[[], Answer]] = {
            "/livez": lambda: _text(200, "alive"),
            "/readyz": lambda: _text(200 if serving.ready else 503, serving.phase.value),
            "/metrics": lambda: Answer(200, metrics.scrape(), CONTENT_TYPE),
            "/openapi.json": self._openapi,
        }

    def is_open(self, exchange: Exchange) -> bool:
        """Whether a page is shown without a token: what probes ask."""
        return _path(exchange) in PROBES

    def answer(self, exchange: Exchange) -> Answer:
        """A page. NotFound, MethodNotAllowed."""
        path = _path(exchange)
        page = self._pages.get(path)
        if page is None:
            msg = f"nothing is served at {path}"
            raise NotFound(msg)
        if exchange.method not in ("GET", "HEAD"):
            msg = f"{path} takes GET only, not {exchange.method}"
            raise MethodNotAllowed(msg, allowed="GET, HEAD")
        return page()

    def error(self, error: ServingError) -> Answer:
        """An error, told as the protocols tell theirs."""
        return Answer(error.code.http_status, orjson.dumps({"error": str(error)}))

    def _openapi(self) -> Answer:
        return Answer(200, orjson.dumps(document(self._serving)))


def _path(exchange: Exchange) -> str:
    return exchange.target.partition("?")[0]


def _text(status: int, words: str) -> Answer:
    return Answer(status, words.encode() + b"\n", "text/plain; charset=utf-8")
