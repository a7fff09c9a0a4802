"""TensorFlow Serving's REST API: predict, classify, regress, status, metadata. Pure; event loop.

Written after the behaviour of tensorflow/serving (http_rest_api_handler.cc, http_rest_api_util.cc):

    POST    /v1/models/NAME[/versions/N|/labels/L]:predict|:classify|:regress
    GET     /v1/models/NAME[/versions/N|/labels/L][/metadata]
    OPTIONS /v1/...                                   a browser's question before it sends the rest

Only the verbs and `metadata` heed case. Whatever else is asked for under /v1/ is a malformed
request (400), never a 404 or 405. Errors are `{"error": text}`, but for OPTIONS.

What is wrong is told in this order: the URL, the JSON and its top level, for classify and regress
the examples; whether model, version or label are here; the signature; the tensors; the outputs.

Differences, most of them refusals (400) where TensorFlow Serving answers wrongly or risks its
process: bytes after the JSON value, integers that do not fit their type, zero rows, shapes that are
not the declared ones, nesting beyond a thousand levels. A query string is ignored, where there it
is a part of the model's name. A version of more than 64 bits is an error that says so.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

import orjson

from server.errors import DecodeError, ServingError, UnsupportedEncoding
from server.exchange import Answer, Exchange
from server.inference import (
    FindModel,
    InferenceRequest,
    InferenceResponse,
    ModelAddress,
    ServedModel,
)
from server.protocols import tfserving_metadata, tfserving_outputs, tfserving_rest_paths
from server.protocols.json_rows import read_rows
from server.protocols.protocol import Call, Infer, Operation, Serving
from server.protocols.tfserving_examples import INPUTS, check_classifies, check_regresses
from server.protocols.tfserving_features import read_examples, write_classes, write_values
from server.protocols.tfserving_inputs import ROWS, find_signature, read_body, read_tensors
from server.protocols.tfserving_outputs import write_outputs
from server.signature import DEFAULT_SIGNATURE

_TARGET: Final = re.compile(
    r"/v1/models/(?P<name>[^/:?]+)"
    r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:?]+))?"
    r"(?P<metadata>/metadata)?"
    r"(?::(?P<verb>(?-i:predict|classify|regress)))?"
    r"(?:\?.*)?",
    re.IGNORECASE,
)
_MAX_VERSION: Final = 2**63 - 1

PREDICT, CLASSIFY, REGRESS = "predict", "classify", "regress"

# What the verbs on examples need of a signature, and how their answers are written.
_CHECKS: Final = {CLASSIFY: check_classifies, REGRESS: check_regresses}
_WRITERS: Final = {CLASSIFY: write_classes, REGRESS: write_values}


class TensorFlowServingRest:
    """The codecs."""

    name = "tfserving_rest"
    cors: Final = {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": "POST, GET",
        "Access-Control-Allow-Headers": "Content-Type",
    }

    def takes(self, exchange: Exchange) -> bool:
        """Everything under /v1/."""
        return exchange.target.startswith(("/v1/", "/V1/"))

    def route(self, exchange: Exchange) -> Operation:
        """Match the raw target: names may hold percent-encoded slashes and colons."""
        if exchange.method == "OPTIONS":
            return _preflight(exchange)
        return _match(exchange.method, exchange.target)

    def parsed_size(self, operation: Infer, exchange: Exchange) -> int:
        """All of it."""
        return len(exchange.body)

    def printed_size(self, request: InferenceRequest, response: InferenceResponse) -> int:
        """Every element."""
        return tfserving_outputs.printed_size(response.outputs)

    def decode(self, operation: Infer, exchange: Exchange, find: FindModel) -> InferenceRequest:
        """Read a body; the form of the request is that of its tensors, or the verb."""
        verb = operation.verb
        if verb == PREDICT:
            quickly = _decode_rows(operation, exchange, find)
            if quickly is not None:
                return quickly
        body = read_body(exchange.body, arrays=verb == PREDICT)
        if verb == PREDICT:
            model = find(operation.address)
            signature = find_signature(model, body)
            tensors, form = read_tensors(exchange.body, body, signature)
            return InferenceRequest(model, signature, tensors, form)
        examples = read_examples(body)
        model = find(operation.address)
        signature = find_signature(model, body)
        _CHECKS[verb](signature)
        return InferenceRequest(model, signature, {INPUTS: examples}, verb)

    def encode(self, request: InferenceRequest, response: InferenceResponse) -> Answer:
        """Write the outputs in the form of the request."""
        write = _WRITERS.get(request.form)
        if write is None:
            return Answer(200, write_outputs(response.outputs, request.form))
        examples = len(request.inputs[INPUTS])
        return Answer(200, write(request.signature, response.outputs, examples))

    def error(self, error: ServingError) -> Answer:
        """Write `{"error": text}`."""
        # TensorFlow Serving takes what it cannot inflate for the JSON itself: a client's mistake.
        unreadable = isinstance(error, UnsupportedEncoding)
        return _json({"error": str(error)}, 400 if unreadable else error.code.http_status)

    def paths(self, models: Sequence[ServedModel]) -> Mapping[str, Any]:
        """Every model's, with and without a version."""
        return tfserving_rest_paths.paths(models)


def _decode_rows(operation: Infer, exchange: Exchange, find: FindModel) -> InferenceRequest | None:
    """A body of nothing but rows of floats, for the default signature; None for any other."""
    try:
        model = find(operation.address)
    except ServingError:
        return None  # What is wrong with the body is told before that.
    signature = model.signatures.get(DEFAULT_SIGNATURE)
    if signature is None or signature.only_floats is None:
        return None
    spec = signature.only_floats
    array = read_rows(exchange.body, spec)
    return None if array is None else InferenceRequest(model, signature, {spec.name: array}, ROWS)


# Clients ask the same few questions for ever.
@functools.lru_cache(maxsize=1024)
def _match(method: str, target: str) -> Operation:
    match = _TARGET.fullmatch(target)
    if match is None:
        raise _malformed(method, target)
    verb = match["verb"] or ""
    if method != ("POST" if verb else "GET") or (verb and match["metadata"]):
        raise _malformed(method, target)
    digits = match["version"] and match["version"].lstrip("0")
    if digits and (len(digits) > len(str(_MAX_VERSION)) or int(digits) > _MAX_VERSION):
        msg = f"version {digits} is larger than a version can be, {_MAX_VERSION}"
        raise DecodeError(msg)
    version = None if digits is None else int(digits or "0")
    label = match["label"] and unquote(match["label"])
    address = ModelAddress(unquote(match["name"]), version, label)
    if verb:
        return Infer(address, verb)
    # In another case it matches, and is not the word: what is left is a question for the status.
    answer = _metadata if match["metadata"] == "/metadata" else _status
    return Call(functools.partial(answer, address), address.name)


def _malformed(method: str, target: str) -> DecodeError:
    nameless = method == "GET" and target.partition("?")[0].lower() == "/v1/models"
    why = ": it lacks the name of a model" if nameless else ""
    return DecodeError(f"Malformed request: {method} {target}{why}")


async def _status(address: ModelAddress, serving: Serving) -> Answer:
    """The states of versions, newest first; labels are not looked at."""
    states = serving.states(ModelAddress(address.name, address.version))
    return _json(tfserving_metadata.status(states))


async def _metadata(address: ModelAddress, serving: Serving) -> Answer:
    """The signatures of who serves an address."""
    return _json(tfserving_metadata.metadata(serving.find(address)))


def _preflight(exchange: Exchange) -> Call:
    """Whether a page may ask; what it may is in headers, which are there if the operator wants."""
    origin = exchange.headers.get("Origin", "")
    status = 200 if re.search("https?://", origin) else 400

    async def run(_: Serving) -> Answer:
        return Answer(status, b"")

    # Browsers send no token along with it.
    return Call(run, is_open=True)


def _json(value: object, status: int = 200) -> Answer:
    return Answer(status, orjson.dumps(value))
