"""What TensorFlow Serving's REST API answers for the models that serve, in OpenAPI 3.1. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from server.exchange import JSON
from server.inference import ServedModel
from server.protocols.openapi_parts import (
    INFERENCE_PARAMETERS,
    Operation,
    Place,
    errors,
    json_response,
    operation,
    places,
)
from server.protocols.openapi_schemas import (
    FLAG,
    TEXT,
    Component,
    Schema,
    any_of,
    list_of,
    record,
    with_examples,
)
from server.protocols.tfserving_examples import check_classifies, check_regresses
from server.protocols.tfserving_rest_schemas import (
    CLASSES,
    VALUES,
    Form,
    of_examples,
    predictions,
)

_DESCRIPTIONS: Final = {
    "predict": (
        "By rows (`instances`) or by columns (`inputs`). NaN, Infinity and -Infinity are bare"
        " tokens, in requests and in answers. `/labels/LABEL` may stand where a version may."
    ),
    "classify": "Labels and scores of examples, whose features are the model's own.",
    "regress": "One number for each example, whose features are the model's own.",
}
_NO_FORMS: Final = "This model has no signature that can do it: every request is refused."


def paths(models: Sequence[ServedModel]) -> dict[str, Any]:
    """The operations, with and without a version, of every model."""
    told: dict[str, Any] = {}
    for model, found in places(models):
        verbs = {
            "predict": predictions(model),
            "classify": of_examples(model, check_classifies, CLASSES),
            "regress": of_examples(model, check_regresses, VALUES),
        }
        for place in found:
            url = f"/v1/models/{place.path}"
            for verb, forms in verbs.items():
                told[f"{url}:{verb}"] = {"post": _inference(model, place, verb, forms)}
            told[url] = {"get": _status(model, place)}
            told[f"{url}/metadata"] = {"get": _metadata(model, place)}
    return told


def _inference(model: ServedModel, place: Place, verb: str, forms: list[Form]) -> Operation:
    answers = errors(400, 404, 413, 500, 501, 503, 504)
    content: Mapping[str, Any] = {"schema": {"type": "object"}}
    if forms:
        content = with_examples(
            any_of([form.request for form in forms]),
            {form.name: form.example for form in forms if form.example is not None},
        )
        answer = any_of([form.answer for form in forms])
        answers = {"200": json_response("The outputs.", answer, "Server-Timing")} | answers
    return operation(
        model.name,
        f"{verb}.{place.key}",
        f"TensorFlow Serving: {verb}",
        answers,
        description=_DESCRIPTIONS[verb] if forms else _NO_FORMS,
        parameters=INFERENCE_PARAMETERS,
        body={JSON: content},
        needs_body=True,
    )


# ---------------------------------------------------------------------------- status and metadata

_DIGITS: Final[Schema] = {"type": "string", "pattern": "^-?[0-9]+$"}

_VERSION_STATUS: Final = Component(
    "ModelVersionStatus",
    record(
        {
            "version": _DIGITS,
            "state": {"enum": ["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]},
            "status": record({"error_code": TEXT, "error_message": TEXT}),
        }
    ),
)
_STATUS: Final = Component(
    "ModelStatus", record({"model_version_status": list_of(_VERSION_STATUS)})
)

_DIM: Final = record({"size": _DIGITS, "name": TEXT})
_TENSOR_INFO: Final = Component(
    "TensorInfo",
    record(
        {
            "dtype": {"type": "string", "pattern": "^DT_"},
            "tensor_shape": record({"dim": list_of(_DIM), "unknown_rank": FLAG}),
            "name": TEXT,
        }
    ),
)
_TENSORS: Final[Schema] = {"type": "object", "additionalProperties": _TENSOR_INFO}
_SIGNATURE: Final = Component(
    "SignatureDef",
    record(
        {
            "inputs": _TENSORS,
            "outputs": _TENSORS,
            "method_name": TEXT,
            "defaults": {"type": "object"},
        }
    ),
)
_SIGNATURES: Final = record(
    {"signature_def": {"type": "object", "additionalProperties": _SIGNATURE}}
)
_METADATA: Final = Component(
    "ModelSignatures",
    record(
        {
            "model_spec": record({"name": TEXT, "signature_name": TEXT, "version": _DIGITS}),
            "metadata": record({"signature_def": _SIGNATURES}),
        }
    ),
)


def _status(model: ServedModel, place: Place) -> Operation:
    answer = json_response("The states of its versions, newest first.", _STATUS)
    answers = {"200": answer} | errors(400, 404, 413)
    return operation(model.name, f"status.{place.key}", "TensorFlow Serving: status", answers)


def _metadata(model: ServedModel, place: Place) -> Operation:
    answer = json_response("Its signatures.", _METADATA)
    answers = {"200": answer} | errors(400, 404, 413, 503)
    name = f"signatures.{place.key}"
    return operation(model.name, name, "TensorFlow Serving: signatures", answers)
