"""Describes what the protocols answer, for the models that are loaded: OpenAPI 3.1. Event loop."""

from typing import Any

from server.errors import ServingError
from server.inference import ModelAddress, ServedModel
from server.protocols import PROTOCOLS
from server.protocols.protocol import Serving


def document(serving: Serving) -> dict[str, Any]:
    """The document, as `/openapi.json` shows it."""
    models = list(_served(serving))
    paths: dict[str, Any] = {}
    for protocol in PROTOCOLS:
        paths |= protocol.paths(models)
    return {
        "openapi": "3.1.0",
        "info": {"title": "batcher-server", "version": serving.version},
        "paths": paths,
    }


def _served(serving: Serving) -> list[ServedModel]:
    served = []
    for name in serving.names():
        try:
            served.append(serving.find(ModelAddress(name)))
        except ServingError:
            continue  # Not loaded: there are no signatures to describe.
    return served
