"""Pages about the server itself: for probes, Prometheus and readers of its API. Event loop.

    /livez /readyz   for probes
    /metrics         for Prometheus; and where TensorFlow Serving has them, with its names beside
    /openapi.json    the description of the API, which names the models
    /docs            a viewer of it: files of this package that are the same for everybody

All links are relative, so that they are right behind any prefix.
"""

import functools
import hashlib
import importlib.resources
from collections.abc import Callable, Mapping
from typing import Final

import orjson

from server.errors import InvalidArgument, MethodNotAllowed, NotFound, ServingError
from server.exchange import Answer, Exchange
from server.metrics import CONTENT_TYPE, Metrics
from server.openapi import Description
from server.serving import Serving
from server.tfserving_metrics import TensorFlowServingMetrics

PROBES: Final = ("/livez", "/readyz")

_CSS, _JS = "text/css; charset=utf-8", "text/javascript; charset=utf-8"
_PARTS: Final[Mapping[str, tuple[str, str]]] = {
    "/docs/docs.css": ("docs.css", _CSS),
    "/docs/docs.js": ("docs.js", _JS),
    "/docs/swagger-ui.css": ("swagger-ui/swagger-ui.css", _CSS),
    "/docs/swagger-ui-bundle.js": ("swagger-ui/swagger-ui-bundle.js", _JS),
}
"""The parts of the viewer: where they are served; their files and media types."""

_REDIRECTS: Final[Mapping[str, str]] = {"/": "docs", "/docs/": "../docs"}

# Nothing but what this server sends: no inline scripts or styles, nobody's frame, no other host.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SAFE: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_FRESH: Final = {"Cache-Control": "no-cache"}
_FOR_EVER: Final = {"Cache-Control": "public, max-age=31536000, immutable"}


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
        *,
        metrics_path: str = "",
        tokens: bool = False,
        admin: bool = False,
    ) -> None:
        description = Description(serving, tokens=tokens, admin=admin)
        self._pages: dict[str, Callable[[], Answer]] = {
            "/livez": lambda: _text(200, "alive"),
            "/readyz": lambda: _text(200 if serving.ready else 503, serving.phase.value),
            "/metrics": lambda: Answer(200, metrics.scrape(), CONTENT_TYPE),
            "/openapi.json": lambda: Answer(200, description.written(), headers=dict(_FRESH)),
            "/docs": _viewer,
        }
        self._pages |= {path: functools.partial(_part, path) for path in _PARTS}
        self._pages |= {path: functools.partial(_redirect, to) for path, to in _REDIRECTS.items()}
        self._metrics_path = metrics_path
        if metrics_path not in ("", *self._pages.keys() - {"/metrics"}):
            theirs = TensorFlowServingMetrics(metrics)
            self._pages[metrics_path] = lambda: Answer(200, theirs.scrape(), CONTENT_TYPE)

    def is_open(self, exchange: Exchange) -> bool:
        """Whether a page is shown without a token: what probes ask, and what is no secret."""
        path = _path(exchange)
        return path in PROBES or path in _PARTS or path in _REDIRECTS or path == "/docs"

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
        if path == self._metrics_path and exchange.target != path:
            msg = f"unexpected path: {exchange.target}, expected {path} without a query"
            raise InvalidArgument(msg)
        return page()

    def error(self, error: ServingError) -> Answer:
        """An error, told as the protocols tell theirs."""
        return Answer(error.code.http_status, orjson.dumps({"error": str(error)}))


def _path(exchange: Exchange) -> str:
    return exchange.target.partition("?")[0]


def _text(status: int, words: str) -> Answer:
    return Answer(status, words.encode() + b"\n", "text/plain; charset=utf-8")


def _redirect(target: str) -> Answer:
    return Answer(302, b"", "text/plain; charset=utf-8", {"Location": target})


# ------------------------------------------------------------------------------------- the viewer


def _viewer() -> Answer:
    return Answer(200, _linked("docs.html"), "text/html; charset=utf-8", _SAFE | _FRESH)


def _part(path: str) -> Answer:
    file, media = _PARTS[path]
    return Answer(200, _read(file), media, _SAFE | _FOR_EVER)


@functools.cache
def _linked(file: str) -> bytes:
    """A page whose links to parts change with their contents: caches may keep these for ever."""
    page = _read(file)
    for path, (part, _) in _PARTS.items():
        link = path.removeprefix("/")
        digest = hashlib.sha256(_read(part)).hexdigest()[:16]
        page = page.replace(f'"{link}"'.encode(), f'"{link}?{digest}"'.encode())
    return page


@functools.cache
def _read(file: str) -> bytes:
    return importlib.resources.files("server").joinpath("static", file).read_bytes()
