"""What TensorFlow Serving's REST API answers for the models that serve, in OpenAPI 3.1. Pure."""

from collections.abc import Sequence
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
from server.protocols.openapi_schemas import any_of
from server.protocols.tfserving_examples import check_classifies, check_regresses
from server.protocols.tfserving_rest_schemas import (
    CLASSES,
    METADATA,
    STATUS,
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
    content: dict[str, Any] = {"schema": {"type": "object"}}
    if forms:
        content = {
            "schema": any_of([form.request for form in forms]),
            "examples": {f.name: {"value": f.example} for f in forms if f.example is not None},
        }
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


def _status(model: ServedModel, place: Place) -> Operation:
    answer = json_response("The states of its versions, newest first.", STATUS)
    answers = {"200": answer} | errors(400, 404, 413)
    return operation(model.name, f"status.{place.key}", "TensorFlow Serving: status", answers)


def _metadata(model: ServedModel, place: Place) -> Operation:
    answer = json_response("Its signatures.", METADATA)
    answers = {"200": answer} | errors(400, 404, 413, 503)
    name = f"signatures.{place.key}"
    return operation(model.name, name, "TensorFlow Serving: signatures", answers)
