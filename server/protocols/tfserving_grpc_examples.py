"""Classify, Regress and MultiInference of TensorFlow Serving's PredictionService. Pure codecs.

Written after tensorflow/serving (classification_service.cc, regression_service.cc,
multi_inference.cc). An `Input` holds serialized examples, and perhaps a context: another example,
whose features each of them gets as well. One serialized message after the other is both of them
merged, so that the context's bytes go before each example's.
"""

import asyncio
import functools
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from server.errors import InvalidArgument, Unimplemented
from server.exchange import Answer, Exchange
from server.inference import InferenceRequest, InferenceResponse, ModelAddress, ServedModel
from server.protocols.grpc_protocol import reply
from server.protocols.protocol import Call, Serving
from server.protocols.tfserving_examples import (
    INPUTS,
    check_classifies,
    check_regresses,
    classifications,
    examples_tensor,
    regressions,
)
from server.protocols.tfserving_specs import address_of, describe, signature_of
from server.protocols.wire import message, parse
from server.signature import Array, Signature

_ExamplesRequest: Final = message("tensorflow.serving.ExamplesRequest")
_ClassificationResponse: Final = message("tensorflow.serving.ClassificationResponse")
_RegressionResponse: Final = message("tensorflow.serving.RegressionResponse")
_MultiInferenceRequest: Final = message("tensorflow.serving.MultiInferenceRequest")
_MultiInferenceResponse: Final = message("tensorflow.serving.MultiInferenceResponse")


def read_classification(body: bytes, model: ServedModel) -> InferenceRequest:
    """A request to Classify; its form writes a ClassificationResponse."""
    return _read(body, model, check_classifies, _write_classification)


def read_regression(body: bytes, model: ServedModel) -> InferenceRequest:
    """A request to Regress; its form writes a RegressionResponse."""
    return _read(body, model, check_regresses, _write_regression)


def _read(
    body: bytes,
    model: ServedModel,
    check: Callable[[Signature], None],
    form: Callable[[InferenceRequest, InferenceResponse], Any],
) -> InferenceRequest:
    told = parse(_ExamplesRequest, body)
    signature = signature_of(told.model_spec, model, InvalidArgument)
    check(signature)
    return InferenceRequest(model, signature, {INPUTS: _examples(told.input)}, form)


def _examples(told: Any) -> Array:
    kind = told.WhichOneof("kind")
    if kind is None:
        msg = '"input" is empty, expected examples'
        raise InvalidArgument(msg)
    examples = list(getattr(told, kind).examples)
    if kind == "example_list_with_context":
        context = told.example_list_with_context.context
        examples = [context + example for example in examples]
    return examples_tensor(examples)


def _write_classification(request: InferenceRequest, response: InferenceResponse) -> Any:
    told = _ClassificationResponse()
    _fill_classes(told.result, request, response)
    describe(told.model_spec, request.model, request.signature.name)
    return told


def _write_regression(request: InferenceRequest, response: InferenceResponse) -> Any:
    told = _RegressionResponse()
    _fill_values(told.result, request, response)
    describe(told.model_spec, request.model, request.signature.name)
    return told


def _fill_classes(result: Any, request: InferenceRequest, response: InferenceResponse) -> None:
    examples = len(request.inputs[INPUTS])
    for row in classifications(request.signature, response.outputs, examples):
        classes = result.classifications.add().classes
        for label, score in row:
            classes.add(label=_text(label, request.signature), score=score)


def _text(label: bytes, signature: Signature) -> str:
    try:
        return label.decode()
    except UnicodeDecodeError as error:
        msg = f"signature {signature.name!r} gave a class that is not UTF-8"
        raise InvalidArgument(msg) from error


def _fill_values(result: Any, request: InferenceRequest, response: InferenceResponse) -> None:
    examples = len(request.inputs[INPUTS])
    for value in regressions(request.signature, response.outputs, examples):
        result.regressions.add(value=value)


# ------------------------------------------------------------------------------ MultiInference


class _Method(NamedTuple):
    """What a task does with a signature, and which field of its result that fills."""

    check: Callable[[Signature], None]
    fill: Callable[[Any, InferenceRequest, InferenceResponse], None]
    field: str


_METHODS: Final[Mapping[str, _Method]] = {
    "tensorflow/serving/classify": _Method(
        check_classifies, _fill_classes, "classification_result"
    ),
    "tensorflow/serving/regress": _Method(check_regresses, _fill_values, "regression_result"),
}


def multi_inference(exchange: Exchange) -> Call:
    """Several signatures of one model on the same examples. DecodeError, InvalidArgument."""
    told = parse(_MultiInferenceRequest, exchange.body)
    addresses = {address_of(task.model_spec) for task in told.tasks}
    if len(addresses) != 1:
        came = " and ".join(sorted(map(str, addresses))) or "no tasks"
        msg = f'"tasks" must be about one model, got {came}'
        raise InvalidArgument(msg)
    (address,) = addresses
    return Call(functools.partial(_run_tasks, told, address, exchange.timeout), address.name)


async def _run_tasks(
    told: Any, address: ModelAddress, timeout: float | None, serving: Serving
) -> Answer:
    model = serving.find(address)
    requests = _requests(told, model, timeout)
    responses = await asyncio.gather(*map(serving.infer, requests))
    answer = _MultiInferenceResponse()
    for request, response in zip(requests, responses, strict=True):
        result = answer.results.add()
        describe(result.model_spec, model, request.signature.name)
        # A result of no examples would still say which kind it is.
        getattr(result, request.form.field).SetInParent()
        request.form.fill(getattr(result, request.form.field), request, response)
    return reply(answer)


def read_tasks(body: bytes, model: ServedModel) -> list[InferenceRequest]:
    """A request to MultiInference, as a request for each of its tasks."""
    return _requests(parse(_MultiInferenceRequest, body), model, None)


def _requests(told: Any, model: ServedModel, timeout: float | None) -> list[InferenceRequest]:
    examples = _examples(told.input)
    requests: dict[str, InferenceRequest] = {}
    for task in told.tasks:
        signature = _signature(task, model)
        if signature.name in requests:
            msg = f'"tasks" has signature {signature.name!r} more than once'
            raise InvalidArgument(msg)
        requests[signature.name] = InferenceRequest(
            model, signature, {INPUTS: examples}, _METHODS[task.method_name], timeout
        )
    return list(requests.values())


def _signature(task: Any, model: ServedModel) -> Signature:
    if task.method_name not in _METHODS:
        told = " or ".join(_METHODS)
        msg = f'"method_name" must be {told}, not {task.method_name!r}'
        raise Unimplemented(msg)
    signature = signature_of(task.model_spec, model, InvalidArgument)
    _METHODS[task.method_name].check(signature)
    return signature
