"""What the Open Inference Protocol answers over HTTP for the models that serve. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from server.exchange import JSON
from server.inference import ServedModel
from server.protocols import oip_http_call_schemas as schemas
from server.protocols.oip_http_request import JSON_LENGTH
from server.protocols.oip_http_response import BYTES
from server.protocols.oip_http_schemas import answer_schema, request_media
from server.protocols.openapi_parts import (
    INFERENCE_PARAMETERS,
    SERVER,
    Operation,
    Place,
    errors,
    for_admins,
    for_all,
    json_response,
    operation,
    places,
)
from server.protocols.openapi_schemas import COUNT, TEXT, Schema

_TITLE: Final = "Open Inference Protocol"
_USUAL: Final = (400, 413, 415)
"""What may be wrong with any request."""


def paths(models: Sequence[ServedModel]) -> dict[str, Any]:
    """The operations, with and without a version, of every model; and those of the server."""
    told: dict[str, Any] = {}
    for model, found in places(models):
        body, answer = _bodies(model)
        for place in found:
            url = f"/v2/models/{place.path}"
            told[f"{url}/infer"] = {"post": _infer(model, place, body, answer)}
            told[url] = {"get": _about(model, place, "metadata", schemas.METADATA, 503)}
            ready = _about(model, place, "ready", schemas.MODEL_READY)
            told[f"{url}/ready"] = {"get": for_all(ready)}
            told[f"{url}/config"] = {"get": _about(model, place, "config", schemas.CONFIG, 503)}
            told[f"{url}/stats"] = {"get": _about(model, place, "stats", schemas.STATISTICS, 503)}
    return told | _server_paths(models)


# -------------------------------------------------------------------------------------- one model

_INFER: Final = (
    "`data` may be flat or nested; its elements must be as many as `shape` says. Raw tensors may"
    f" follow the JSON, whose length `{JSON_LENGTH}` tells then; an input with such has"
    " `binary_data_size` among its parameters in place of `data`. `signature_name` among the"
    " parameters of the request chooses a signature. Answers are compressed for those who accept"
    " gzip or deflate."
)
_JSON_LENGTH_PARAMETER: Final = {
    "name": JSON_LENGTH,
    "in": "header",
    "description": "Bytes of the JSON, if raw tensors follow it; 0: the body is one raw row.",
    "schema": COUNT,
}
_JSON_LENGTH_HEADER: Final = {
    "description": "Bytes of the JSON, if raw tensors follow it.",
    "schema": COUNT,
}


def _bodies(model: ServedModel) -> tuple[dict[str, Any], dict[str, Any]]:
    """The request by media type, and the answer to it."""
    in_json = request_media(model)
    request = ({JSON: in_json} if in_json else {}) | {BYTES: {"schema": {}}}
    answer = json_response("The outputs.", answer_schema(model), "Server-Timing")
    answer["headers"][JSON_LENGTH] = _JSON_LENGTH_HEADER
    answer["content"][BYTES] = {"schema": {}}
    return request, answer


def _infer(
    model: ServedModel, place: Place, body: Mapping[str, Any], answer: Mapping[str, Any]
) -> Operation:
    return operation(
        model.name,
        f"infer.{place.key}",
        f"{_TITLE}: infer",
        {"200": answer, **errors(*_USUAL, 404, 500, 501, 503, 504)},
        description=_INFER,
        parameters=[*INFERENCE_PARAMETERS, _JSON_LENGTH_PARAMETER],
        body=body,
        needs_body=True,
    )


def _about(model: ServedModel, place: Place, what: str, answer: Schema, *more: int) -> Operation:
    answers = {"200": json_response("As it is now.", answer), **errors(*_USUAL, 404, *more)}
    # The other protocol has metadata too.
    return operation(model.name, f"oip.{what}.{place.key}", f"{_TITLE}: {what}", answers)


# ------------------------------------------------------------------------------------- the server


def _server_paths(models: Sequence[ServedModel]) -> dict[str, Any]:
    log, set_log = schemas.LOG, schemas.LOG_CHANGE
    trace, set_trace = schemas.TRACE, schemas.TRACE_CHANGE
    of_model = _name_parameter(models)
    return {
        "/v2": {"get": _get("server", "name, version, extensions", schemas.SERVER_METADATA)},
        "/v2/health/live": {"get": for_all(_get("live", "alive", schemas.LIVE))},
        "/v2/health/ready": {"get": for_all(_get("ready", "ready; 400 if not", schemas.READY))},
        "/v2/models/stats": {"get": _get("stats", "statistics of all models", schemas.STATISTICS)},
        "/v2/repository/index": {
            "post": _post("index", "all models", _as_it_is(schemas.INDEX), schemas.INDEX_REQUEST)
        },
        "/v2/repository/models/{model}/load": {
            "post": _change("load", "load a model, or anew", of_model)
        },
        "/v2/repository/models/{model}/unload": {
            "post": _change("unload", "unload a model", of_model)
        },
        "/v2/logging": {
            "get": _get("logging", "what is logged", log),
            "post": for_admins(_post("set_logging", "log differently", _as_it_is(log), set_log)),
        },
        "/v2/trace/setting": {
            "get": _get("tracing", "what is traced", trace),
            "post": for_admins(
                _post("set_tracing", "trace differently", _as_it_is(trace), set_trace)
            ),
        },
        "/v2/models/{model}/trace/setting": {
            "get": _of_model(_get("model_tracing", "what is traced of a model", trace), of_model),
            "post": _of_model(
                for_admins(
                    _post("set_model_tracing", "trace it differently", _as_it_is(trace), set_trace)
                ),
                of_model,
            ),
        },
    }


def _name_parameter(models: Sequence[ServedModel]) -> dict[str, Any]:
    examples = {model.name: {"value": model.name} for model in models}
    return {
        "name": "model",
        "in": "path",
        "required": True,
        "description": "A configured model, loaded or not.",
        "schema": TEXT | {"minLength": 1},
    } | ({"examples": examples} if examples else {})


def _as_it_is(answer: Schema) -> dict[str, Any]:
    return json_response("As it is now.", answer)


def _get(name: str, summary: str, answer: Schema) -> Operation:
    answers = {"200": _as_it_is(answer), **errors(*_USUAL)}
    return operation(SERVER, name, f"{_TITLE}: {summary}", answers)


def _post(name: str, summary: str, answer: Mapping[str, Any], body: Schema) -> Operation:
    answers = {"200": answer, **errors(*_USUAL)}
    content = {JSON: {"schema": body}}
    return operation(SERVER, name, f"{_TITLE}: {summary}", answers, body=content)


def _change(name: str, summary: str, of_model: Mapping[str, Any]) -> Operation:
    """Load or unload."""
    told = _post(name, summary, {"description": "Done; the body is empty."}, schemas.CHANGE)
    told["responses"] |= errors(409)
    return _of_model(for_admins(told), of_model)


def _of_model(told: Operation, parameter: Mapping[str, Any]) -> Operation:
    return told | {
        "parameters": [*told["parameters"], parameter],
        "responses": told["responses"] | errors(404),
    }
