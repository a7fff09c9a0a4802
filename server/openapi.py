"""Describes what the server answers, for the models that serve now, in OpenAPI 3.1. Event loop.

Every protocol describes its own paths, and this puts them together with those of the pages. The
document is made anew only when other models serve: for 50 of them that takes some milliseconds.
"""

import operator
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from server.exchange import JSON
from server.inference import ModelAddress, ServedModel
from server.protocols import PROTOCOLS
from server.protocols.openapi_parts import (
    HEADERS,
    PARAMETERS,
    RESPONSES,
    SCHEME,
    SERVER,
    Operation,
    errors,
    for_all,
    guarded,
    operation,
)
from server.protocols.openapi_schemas import Component
from server.protocols.protocol import Serving
from server.signature import Signature

_ABOUT: Final = """\
Serves models with dynamic batching, by TensorFlow Serving's REST API and by the Open Inference
Protocol. Where a path has no version, the newest one answers.

Every error is `{"error": text}`. `gzip` and `deflate` bodies are inflated.
"""

_BEARER: Final = {"type": "http", "scheme": "bearer"}


class Description:
    """The document, made for the models that serve.

    `tokens`: every request but probes needs one. `admin`: administration is switched on.
    """

    def __init__(self, serving: Serving, *, tokens: bool = False, admin: bool = False) -> None:
        self._serving = serving
        self._tokens = tokens
        self._admin = admin
        self._models: list[ServedModel] = []
        self._written = b""

    def written(self) -> bytes:
        """The document in JSON."""
        models = _served(self._serving)
        if not _are_the_same(models, self._models) or not self._written:
            self._written = document(
                models, self._serving.version, tokens=self._tokens, admin=self._admin
            )
            self._models = models
        return self._written


def document(
    models: Sequence[ServedModel], version: str, *, tokens: bool = False, admin: bool = False
) -> bytes:
    """The document for these models, of which the newest version of a name comes first."""
    schemas = _Schemas()
    told = {
        "openapi": "3.1.0",
        "info": {"title": "batcher-server", "version": version, "description": _ABOUT},
        # Relative to this document, so that it is right behind any prefix.
        "servers": [{"url": "."}],
        "tags": _tags(models),
        "paths": schemas.noted(_paths(models, tokens=tokens, admin=admin)),
        "components": {
            "responses": schemas.noted(RESPONSES),
            "parameters": PARAMETERS,
            "headers": HEADERS,
            "schemas": schemas.all(),
            "securitySchemes": {SCHEME: _BEARER} if tokens or admin else {},
        },
        "security": [{SCHEME: []}] if tokens else [],
    }
    return schemas.write(told)


def _paths(models: Sequence[ServedModel], *, tokens: bool, admin: bool) -> dict[str, Any]:
    """What all protocols say, and the pages, guarded as they are here."""
    told: dict[str, Any] = {}
    # The last takes what is most usual, and what it says is shown first.
    for protocol in reversed(PROTOCOLS):
        told = _merged(told, protocol.paths(models))
    return {
        path: {
            method: guarded(operation, tokens=tokens, admin=admin)
            for method, operation in methods.items()
        }
        for path, methods in {**told, **_PAGES}.items()
    }


def _are_the_same(some: Sequence[ServedModel], others: Sequence[ServedModel]) -> bool:
    return len(some) == len(others) and all(map(operator.is_, some, others))


def _served(serving: Serving) -> list[ServedModel]:
    """Every version that serves; the newest of a model first."""
    return [
        serving.find(ModelAddress(name, state.version))
        for name in serving.names()
        for state in serving.states(ModelAddress(name))
        if state.state == "AVAILABLE"
    ]


def _merged(one: Any, other: Any) -> Any:
    """What two protocols say about the same paths, together; the first has the first word."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        both = {key: _merged(one[key], other[key]) for key in one if key in other}
        return {**one, **other, **both}
    if isinstance(one, list) and isinstance(other, list):
        return [*one, *other]
    return one


class _Schemas:
    """Writes JSON with references in the places of components, and collects those."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._components: dict[str, Component] = {}

    def write(self, part: Any) -> bytes:
        """The JSON."""
        return orjson.dumps(part, self._refer, orjson.OPT_PASSTHROUGH_SUBCLASS)

    def noted(self, part: Any) -> orjson.Fragment:
        """The JSON as a part of what is to be written."""
        return orjson.Fragment(self.write(part))

    def all(self) -> dict[str, orjson.Fragment]:
        """Those that were referred to so far, and those that they refer to."""
        told: dict[str, orjson.Fragment] = {}
        while len(told) < len(self._components):
            for name in list(self._components)[len(told) :]:
                told[name] = self.noted(dict(self._components[name]))
        return told

    def _refer(self, component: Any) -> dict[str, str]:
        """What orjson asks for a dict that is more than a dict."""
        name = self._names.get(id(component))
        if name is None:
            name = self._names[id(component)] = self._name(component)
            self._components[name] = component
        return {"$ref": f"#/components/schemas/{name}"}

    def _name(self, component: Component) -> str:
        """Its own, where that is allowed and not taken."""
        name = re.sub(r"[^A-Za-z0-9._-]", "_", component.name)
        while self._components.get(name, component) != component:
            name += "_"
        return name


# ------------------------------------------------------------------------------------- the pages


def _tags(models: Sequence[ServedModel]) -> list[dict[str, str]]:
    """One for each model, with what it takes and gives, and one for the rest."""
    told: dict[str, str] = {}
    for model in models:
        told.setdefault(model.name, "; ".join(map(_in_words, model.signatures.values())))
    told.setdefault(SERVER, "Its health, models and settings.")
    return [{"name": name, "description": words} for name, words in told.items()]


def _in_words(signature: Signature) -> str:
    inputs, outputs = (
        ", ".join(f"{spec.name} {spec}" for spec in specs.values())
        for specs in (signature.inputs, signature.outputs)
    )
    return f"{signature.name}: {inputs} → {outputs}"


def _page(name: str, summary: str, media: str, *, is_open: bool = False) -> Operation:
    answers = {
        "200": {"description": "As it is now.", "content": {media: {"schema": {}}}},
        **errors(400, 413),
    }
    page = operation(SERVER, name, summary, answers, parameters=())
    return for_all(page) if is_open else page


_TEXT: Final = "text/plain"


def _probe_of_readiness() -> Operation:
    page = _page("readyz", "Probe: whether requests are taken", _TEXT, is_open=True)
    waiting = page["responses"]["200"] | {"description": "Not yet, or no more."}
    return page | {"responses": page["responses"] | {"503": waiting}}


_PAGES: Final[Mapping[str, Any]] = {
    "/livez": {"get": _page("livez", "Probe: alive", _TEXT, is_open=True)},
    "/readyz": {"get": _probe_of_readiness()},
    "/metrics": {"get": _page("metrics", "Metrics for Prometheus", _TEXT)},
    "/openapi.json": {"get": _page("openapi", "This document", JSON)},
}
