"""The Open Inference Protocol over HTTP, with Triton's extensions. Pure codecs; event loop.

Written after kserve/open-inference-protocol (inference_rest.md) and the behaviour of
triton-inference-server/server (http_server.cc). Errors are `{"error": text}`. Differences: what
Triton calls internal errors (500) although the client made them are 400 here; integers that do not
fit their type are refused; names of models may be percent-encoded in any way; every mistake of a
raw tensor is found before the model sees it. Not here: shared memory, sequences, generation.
"""

import functools
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import orjson

from server.errors import DecodeError, MethodNotAllowed, NotFound, ServingError
from server.exchange import Answer, Exchange
from server.inference import (
    FindModel,
    InferenceRequest,
    InferenceResponse,
    ModelAddress,
    ServedModel,
)
from server.protocols import oip_http_calls as calls
from server.protocols import oip_http_paths
from server.protocols.oip_http_calls import Asked
from server.protocols.oip_http_request import JSON_LENGTH, json_length, read
from server.protocols.oip_http_response import preferred_encoding, printed_size, write
from server.protocols.protocol import Call, Infer, Operation, Serving


class Route(NamedTuple):
    """What one method of a target does; `call` is None for inference."""

    call: Callable[[Asked], Awaitable[object]] | None
    admin: bool = False
    is_open: bool = False


class OipHttp:
    """The codecs."""

    name = "oip_http"
    cors: Final = {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": "POST, GET",
        "Access-Control-Allow-Headers": f"Content-Type, Content-Encoding, {JSON_LENGTH}",
        "Access-Control-Expose-Headers": JSON_LENGTH,
    }

    def takes(self, exchange: Exchange) -> bool:
        """Everything under /v2."""
        target = exchange.target
        return target.startswith("/v2") and target[3:4] in ("", "/", "?")

    def route(self, exchange: Exchange) -> Operation:
        """Match the raw target without its query: names may hold percent-encoded slashes."""
        if exchange.method == "OPTIONS" and "Origin" in exchange.headers:
            # A browser asks what a page may do; the headers say it, if the operator wants them.
            return Call(_preflight, is_open=True)
        route, address = _match(exchange.method, exchange.target.partition("?")[0])
        if route.call is None:
            return Infer(address)

        async def run(serving: Serving) -> Answer:
            assert route.call is not None
            told = await route.call(Asked(serving, address, exchange.body))
            return Answer(200, b"") if told is None else _json(told)

        return Call(run, address.name, admin=route.admin, is_open=route.is_open)

    def parsed_size(self, operation: Infer, exchange: Exchange) -> int:
        """The JSON; and all of it, if there are strings to cut out of the rest."""
        try:
            length = json_length(exchange)
        except DecodeError:
            return 0
        # The word itself, or an escape that may hide it: to look for both is cheaper than to parse.
        is_text = any(exchange.body.find(word, 0, length) >= 0 for word in (b"BYTES", b"\\"))
        return len(exchange.body) if is_text else length

    def decode(self, operation: Infer, exchange: Exchange, find: FindModel) -> InferenceRequest:
        """Read the body for the model; whether there is one is told first, as Triton does."""
        model = find(operation.address)
        return read(
            exchange, model, preferred_encoding(exchange.headers.get("Accept-Encoding", ""))
        )

    def printed_size(self, request: InferenceRequest, response: InferenceResponse) -> int:
        """Elements that are written one by one."""
        return printed_size(request, response)

    def encode(self, request: InferenceRequest, response: InferenceResponse) -> Answer:
        """JSON, and raw tensors after it where they were asked for."""
        return write(request, response)

    def error(self, error: ServingError) -> Answer:
        """Write `{"error": text}`."""
        return _json({"error": str(error)}, error.code.http_status)

    def paths(self, models: Sequence[ServedModel]) -> Mapping[str, Any]:
        """Every model's, with and without a version."""
        return oip_http_paths.paths(models)


# Clients ask the same few questions for ever.
@functools.lru_cache(maxsize=1024)
def _match(method: str, path: str) -> tuple[Route, ModelAddress]:
    for pattern, methods in _ROUTES:
        match = pattern.fullmatch(path)
        if match is None:
            continue
        if method not in methods:
            allowed = ", ".join(methods)
            msg = f"Method Not Allowed: {path[:256]} takes {allowed}, not {method}"
            raise MethodNotAllowed(msg, allowed=allowed)
        found = match.groupdict()
        version = found.get("version")
        name = unquote(found.get("name") or "")
        return methods[method], ModelAddress(name, None if version is None else int(version))
    msg = f"Not Found: nothing is served at {path[:256]}"
    raise NotFound(msg)


_M: Final = "/v2/models/(?P<name>[^/]+)"
# No version has as many digits; they would only be work.
_MV: Final = f"{_M}(?:/versions/(?P<version>[0-9]{{1,32}}))?"

_ROUTES: Final[tuple[tuple[re.Pattern[str], Mapping[str, Route]], ...]] = tuple(
    (re.compile(target), methods)
    for target, methods in (
        (f"{_MV}/infer", {"POST": Route(None)}),
        ("/v2/?", {"GET": Route(calls.server)}),
        ("/v2/health/live", {"GET": Route(calls.live, is_open=True)}),
        ("/v2/health/ready", {"GET": Route(calls.ready, is_open=True)}),
        ("/v2/models/stats", {"GET": Route(calls.statistics)}),
        (_MV, {"GET": Route(calls.metadata)}),
        (f"{_MV}/ready", {"GET": Route(calls.model_ready, is_open=True)}),
        (f"{_MV}/config", {"GET": Route(calls.config)}),
        (f"{_MV}/stats", {"GET": Route(calls.statistics)}),
        ("/v2/repository/index", {"POST": Route(calls.index)}),
        ("/v2/repository/models/(?P<name>[^/]+)/load", {"POST": Route(calls.load, admin=True)}),
        ("/v2/repository/models/(?P<name>[^/]+)/unload", {"POST": Route(calls.unload, admin=True)}),
        ("/v2/logging", {"GET": Route(calls.log), "POST": Route(calls.set_log, admin=True)}),
        (
            "/v2/trace/setting",
            {"GET": Route(calls.trace), "POST": Route(calls.set_trace, admin=True)},
        ),
        (
            f"{_M}/trace/setting",
            {"GET": Route(calls.trace), "POST": Route(calls.set_trace, admin=True)},
        ),
    )
)
"""Targets without their query -> what their methods do."""


async def _preflight(_: Serving) -> Answer:
    return Answer(200, b"")


def _json(value: object, status: int = 200) -> Answer:
    return Answer(status, orjson.dumps(value))
