"""Files of this package that are the same for everybody, served as they are. Any thread.

A page links to its parts by their contents, so that caches may keep the parts for ever.
"""

import functools
import hashlib
import importlib.resources
from collections.abc import Mapping
from typing import Final

from server.exchange import Answer

_CSS, _JS = "text/css; charset=utf-8", "text/javascript; charset=utf-8"

PARTS: Final[Mapping[str, tuple[str, str]]] = {
    "/docs/docs.css": ("docs.css", _CSS),
    "/docs/docs.js": ("docs.js", _JS),
    "/docs/swagger-ui.css": ("swagger-ui/swagger-ui.css", _CSS),
    "/docs/swagger-ui-bundle.js": ("swagger-ui/swagger-ui-bundle.js", _JS),
    "/live/uplot.css": ("uplot/uPlot.min.css", _CSS),
    "/live/uplot.js": ("uplot/uPlot.iife.min.js", _JS),
    "/live/live.css": ("live/live.css", _CSS),
    "/live/looks.js": ("live/looks.js", _JS),
    "/live/events.js": ("live/events.js", _JS),
    "/live/history.js": ("live/history.js", _JS),
    "/live/batches.js": ("live/batches.js", _JS),
    "/live/charts.js": ("live/charts.js", _JS),
    "/live/digits.js": ("live/digits.js", _JS),
    "/live/version.js": ("live/version.js", _JS),
    "/live/live.js": ("live/live.js", _JS),
    "/live/scans.json": ("live/scans.json", "application/json"),
}
"""The parts of pages: where they are served; their files and media types."""

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


def page(file: str) -> Answer:
    """A page of HTML."""
    return Answer(200, _linked(file), "text/html; charset=utf-8", _SAFE | _FRESH)


def part(path: str) -> Answer:
    """One of the PARTS."""
    file, media = PARTS[path]
    return Answer(200, read(file), media, _SAFE | _FOR_EVER)


@functools.cache
def read(file: str) -> bytes:
    """The contents of a file."""
    return importlib.resources.files("server").joinpath("static", file).read_bytes()


@functools.cache
def _linked(file: str) -> bytes:
    """A page whose links to parts change with their contents."""
    text = read(file)
    for path, (other, _) in PARTS.items():
        link = path.removeprefix("/")
        digest = hashlib.sha256(read(other)).hexdigest()[:16]
        text = text.replace(f'"{link}"'.encode(), f'"{link}?{digest}"'.encode())
    return text
