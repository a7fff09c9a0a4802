"""Pages about the server itself: for its readers, probes and Prometheus. Event loop.

    /                what happens right now; /live/... are its parts, its events and its burst
    /livez /readyz   for probes
    /metrics         for Prometheus; and where TensorFlow Serving has them, with its names beside
    /openapi.json    the description of the API, which names the models
    /docs            a viewer of it

All links are relative, so that they are right behind any prefix.
"""

import functools
import re
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Final

import orjson

from server import static_files
from server.errors import (
    InvalidArgument,
    MethodNotAllowed,
    NotFound,
    PermissionDenied,
    ServingError,
)
from server.exchange import Answer, Exchange
from server.live.digits import Bursts
from server.live.stream import Stream
from server.metrics import CONTENT_TYPE, Metrics
from server.openapi import Description
from server.serving import Serving
from server.tfserving_metrics import TensorFlowServingMetrics

PROBES: Final = ("/livez", "/readyz")

EVENTS: Final = "/live/events"
BURST: Final = "/live/burst"

_HTML: Final[Mapping[str, str]] = {"/": "live/live.html", "/docs": "docs.html"}
_REDIRECTS: Final[Mapping[str, str]] = {"/docs/": "../docs", "/live": "./", "/live/": "../"}

# Longer than any version; Python refuses to read numbers of thousands of digits.
_VERSION: Final = re.compile(r"[0-9]{1,99}")

_FRESH: Final = {"Cache-Control": "no-cache"}

_OURS: Final = "same-origin"


class Pages:
    """Answers what no protocol takes; `tokens` and `admin` are for the description to tell.

    The metrics are at `metrics_path` as well, unless there is another page, and there under the
    names of TensorFlow Serving besides our own: whoever has no dashboard made for it gets, and
    keeps, each number once. Like TensorFlow Serving, it takes no query there.
    """

    def __init__(
        self,
        metrics: Metrics,
        serving: Serving,
        stream: Stream,
        *,
        metrics_path: str = "",
        tokens: bool = False,
        admin: bool = False,
    ) -> None:
        description = Description(serving, tokens=tokens, admin=admin)
        self._bursts = Bursts(serving, static_files.read("live/scans.json"))
        self._pages: dict[str, Callable[[], Answer]] = {
            "/livez": lambda: _text(200, "alive"),
            "/readyz": lambda: _text(200 if serving.ready else 503, serving.phase.value),
            "/metrics": lambda: Answer(200, metrics.scrape(), CONTENT_TYPE),
            "/openapi.json": lambda: Answer(200, description.written(), headers=dict(_FRESH)),
            EVENTS: stream.answer,
        }
        parts, page = static_files.PARTS, static_files.page
        self._pages |= {path: functools.partial(page, file) for path, file in _HTML.items()}
        self._pages |= {path: functools.partial(static_files.part, path) for path in parts}
        self._pages |= {path: functools.partial(_redirect, to) for path, to in _REDIRECTS.items()}
        self._metrics_path = metrics_path
        if metrics_path not in ("", *self._pages.keys() - {"/metrics"}):
            theirs = TensorFlowServingMetrics(metrics)
            self._pages[metrics_path] = lambda: Answer(200, theirs.scrape(), CONTENT_TYPE)

    def is_open(self, exchange: Exchange) -> bool:
        """Whether a page is shown without a token: what probes ask, and what is no secret."""
        path = _path(exchange)
        return any(path in known for known in (PROBES, static_files.PARTS, _HTML, _REDIRECTS))

    def streams(self, target: str) -> bool:
        """Whether an answer may have `more`."""
        return target.partition("?")[0] == EVENTS

    async def answer(self, exchange: Exchange) -> Answer:
        """A page. NotFound, MethodNotAllowed, Unavailable; what a burst raises."""
        path = _path(exchange)
        if path == BURST:
            _check_method(exchange, "POST")
            return await self._burst(exchange)
        page = self._pages.get(path)
        if page is None:
            msg = f"nothing is served at {path}"
            raise NotFound(msg)
        _check_method(exchange, "GET", "HEAD")
        if path == self._metrics_path and exchange.target != path:
            msg = f"unexpected path: {exchange.target}, expected {path} without a query"
            raise InvalidArgument(msg)
        return page()

    async def _burst(self, exchange: Exchange) -> Answer:
        # Browsers say it of themselves. What costs so much is for nobody else's page.
        if exchange.headers.get("Sec-Fetch-Site", _OURS) != _OURS:
            msg = "a burst is refused for pages of other sites"
            raise PermissionDenied(msg)
        query = urllib.parse.parse_qs(exchange.target.partition("?")[2])
        model, version = query.get("model", [""])[0], query.get("version", [""])[0]
        if not _VERSION.fullmatch(version):
            msg = f"a burst is for ?model=NAME&version=NUMBER, not for version {version[:64]!r}"
            raise InvalidArgument(msg)
        return Answer(200, orjson.dumps(await self._bursts.burst(model, int(version))))

    def error(self, error: ServingError) -> Answer:
        """An error, told as the protocols tell theirs."""
        return Answer(error.code.http_status, orjson.dumps({"error": str(error)}))


def _check_method(exchange: Exchange, *allowed: str) -> None:
    if exchange.method not in allowed:
        msg = f"{_path(exchange)} takes {allowed[0]} only, not {exchange.method}"
        raise MethodNotAllowed(msg, allowed=", ".join(allowed))


def _path(exchange: Exchange) -> str:
    return exchange.target.partition("?")[0]


def _text(status: int, words: str) -> Answer:
    return Answer(status, words.encode() + b"\n", "text/plain; charset=utf-8")


def _redirect(target: str) -> Answer:
    return Answer(302, b"", "text/plain; charset=utf-8", {"Location": target})
