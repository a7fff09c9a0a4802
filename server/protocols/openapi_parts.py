"""Operations for descriptions in OpenAPI 3.1, and what all of them share. Pure.

Parameters, headers and answers that operations have in common are components of the document:
PARAMETERS, HEADERS and RESPONSES, which the operations refer to.
"""

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import quote

from server.exchange import JSON
from server.inference import ServedModel
from server.protocols.openapi_schemas import TEXT, Component, Schema, record

Operation: TypeAlias = dict[str, Any]

SERVER: Final = "This server"
"""The tag of what is about no model."""


class Place(NamedTuple):
    """Where requests for a model go."""

    path: str
    """Its name and the version, if any, as a part of a URL."""
    key: str
    """Tells the operations of this place from those of others."""


def places(models: Sequence[ServedModel]) -> Iterator[tuple[ServedModel, list[Place]]]:
    """For each model the places without a version, which the first of a name has, and with it."""
    seen: set[str] = set()
    for model in models:
        path = quote(model.name, safe="")
        found = [Place(f"{path}/versions/{model.version}", f"{path}@{model.version}")]
        if model.name not in seen:
            seen.add(model.name)
            found.insert(0, Place(path, path))
        yield model, found


# ----------------------------------------------------------------------------------- what is sent

PARAMETERS: Final[Mapping[str, Any]] = {
    "Timeout": {
        "name": "X-Request-Timeout-Ms",
        "in": "header",
        "description": "Milliseconds that the answer may take; then it is 504.",
        "schema": {"type": "number", "exclusiveMinimum": 0},
    },
    "Priority": {
        "name": "X-Request-Priority",
        "in": "header",
        "description": "Lower is more urgent, 0 is usual.",
        "schema": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    },
    "Id": {
        "name": "X-Request-Id",
        "in": "header",
        "description": "At most 128 characters of printable ASCII: echoed, and told in the log.",
        "schema": TEXT,
    },
}

INFERENCE_PARAMETERS: Final = [{"$ref": f"#/components/parameters/{name}"} for name in PARAMETERS]
CALL_PARAMETERS: Final = INFERENCE_PARAMETERS[-1:]

# ------------------------------------------------------------------------------- what is answered

_WHOLE: Final[Schema] = {"type": "integer", "minimum": 1}

HEADERS: Final[Mapping[str, Any]] = {
    "X-Request-Id": {"description": "As the request had it.", "schema": TEXT},
    "Server-Timing": {
        "description": "Milliseconds in the queue, and of the batch that the request ran in.",
        "schema": TEXT,
        "example": "queue;dur=0.120, run;dur=1.250, batch;desc=37",
    },
    "Retry-After": {"description": "Seconds after which to try again.", "schema": _WHOLE},
    "Retry-After-Ms": {"description": "The same in milliseconds, if known.", "schema": _WHOLE},
    "WWW-Authenticate": {"description": "How to say who asks.", "schema": TEXT},
    "Accept-Encoding": {"description": "How bodies may be compressed.", "schema": TEXT},
}

ERROR: Final = Component("Error", record({"error": TEXT}) | {"additionalProperties": False})

_CAUSES: Final[Mapping[int, tuple[str, tuple[str, ...]]]] = {
    400: ("The request is wrong: what, where, what was expected and what came.", ()),
    401: ("No token, or none that is known here.", ("WWW-Authenticate",)),
    403: ("Nobody may do this here, or not with this token.", ()),
    404: ("No such model, version or page.", ()),
    409: ("Another operation on the same model is under way.", ()),
    413: ("The body is larger than this server reads.", ()),
    415: ("The body is compressed in a way that is not known here.", ("Accept-Encoding",)),
    500: ("The model failed, or the server has a defect.", ()),
    501: ("Nothing is wrong with the request, but this server cannot do it.", ()),
    503: (
        "Try again: the queue is full, or the model is loading or going.",
        ("Retry-After", "Retry-After-Ms"),
    ),
    504: ("The time that the client gave has passed.", ()),
}


def json_response(description: str, schema: Schema, *headers: str) -> dict[str, Any]:
    """An answer in JSON, with some of HEADERS."""
    told = {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", *headers)}
    return {"description": description, "headers": told, "content": {JSON: {"schema": schema}}}


RESPONSES: Final[Mapping[str, Any]] = {
    HTTPStatus(status).name: json_response(cause, ERROR, *headers)
    for status, (cause, headers) in _CAUSES.items()
}

_REFERENCES: Final[Mapping[int, Any]] = {
    status: {"$ref": f"#/components/responses/{HTTPStatus(status).name}"} for status in _CAUSES
}


def errors(*statuses: int) -> dict[str, Any]:
    """The answers of these statuses, all told as `{"error": text}`."""
    return {str(status): _REFERENCES[status] for status in sorted(statuses)}


# ------------------------------------------------------------------------------------- operations


def operation(
    tag: str,
    name: str,
    summary: str,
    responses: Mapping[str, Any],
    *,
    description: str = "",
    parameters: Sequence[Any] = CALL_PARAMETERS,
    body: Mapping[str, Any] | None = None,
    needs_body: bool = False,
) -> Operation:
    """One method of a path; `name` is its own, and `body` is by media type."""
    told: Operation = {"tags": [tag], "operationId": name, "summary": summary}
    if description:
        told["description"] = description
    if parameters:
        told["parameters"] = list(parameters)
    if body is not None:
        told["requestBody"] = {"required": needs_body, "content": dict(body)}
    return told | {"responses": dict(responses)}


SCHEME: Final = "bearer"
_ADMIN: Final = [{SCHEME: ["admin"]}]


def for_all(told: Operation) -> Operation:
    """The same, as what needs no token."""
    return told | {"security": []}


def for_admins(told: Operation) -> Operation:
    """The same, as what needs a token for administration."""
    return told | {"security": _ADMIN, "responses": told["responses"] | errors(401, 403)}


def guarded(told: Operation, *, tokens: bool, admin: bool) -> Operation:
    """What becomes of an operation where `tokens` are asked for, or `admin` is switched off."""
    security = told.get("security")
    if security is None and tokens:
        return told | {"responses": told["responses"] | errors(401)}
    if security is _ADMIN and not admin:
        return {key: value for key, value in told.items() if key != "security"}
    return told
