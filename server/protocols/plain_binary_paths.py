"""What plain binary bodies add to TensorFlow Serving's predict, in OpenAPI 3.1. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from server.inference import ServedModel
from server.protocols.media_types import BINARY, RAW
from server.protocols.openapi_parts import places
from server.protocols.openapi_schemas import TEXT
from server.signature import Signature

_MEDIA: Final[Mapping[str, Any]] = {media: {"schema": {}} for media in BINARY}

_SIGNATURE_NAME: Final = {
    "name": "X-Signature-Name",
    "in": "header",
    "description": "The signature for a body that is not JSON.",
    "schema": TEXT,
}
_HEADERS: Final[Mapping[str, Any]] = {
    "X-Tensor-Dtype": {
        "description": f"The dtype of the elements in {RAW}.",
        "schema": TEXT,
    },
    "X-Tensor-Shape": {
        "description": f"The shape of the tensor in {RAW}.",
        "schema": {"type": "string", "pattern": "^([0-9]+(,[0-9]+)*)?$"},
    },
}
_PREDICT: Final[Mapping[str, Any]] = {
    "parameters": [_SIGNATURE_NAME],
    "requestBody": {"content": _MEDIA},
    "responses": {
        "200": {"description": "The outputs.", "content": _MEDIA, "headers": _HEADERS},
    },
}


def paths(models: Sequence[ServedModel]) -> dict[str, Any]:
    """More media types and headers for predict, where a signature has numbers only."""
    return {
        f"/v1/models/{place.path}:predict": {"post": _PREDICT}
        for model, found in places(models)
        if any(_is_numeric(signature) for signature in model.signatures.values())
        for place in found
    }


def _is_numeric(signature: Signature) -> bool:
    specs = [*signature.inputs.values(), *signature.outputs.values()]
    return not any(spec.numpy_dtype.hasobject for spec in specs)
