"""TensorFlow Serving's REST API: predict, status and metadata. Pure codecs; event loop.

Written after the behaviour of tensorflow/serving (util/json_tensor.cc, http_rest_api_handler.cc):

    POST /v1/models/NAME[/versions/N|/labels/L]:predict
    GET  /v1/models/NAME[/versions/N|/labels/L][/metadata]

Whatever else is asked for under /v1/ is a malformed request (400), never a 404 or 405. Errors are
`{"error": text}`. Differences, all of them refusals where TensorFlow Serving answers wrongly or
risks its process: bytes after the JSON value, integers that do not fit their type, zero rows, and
shapes that are not the declared ones.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

import numpy as np
import orjson

from server.errors import (
    DecodeError,
    InvalidArgument,
    ServingError,
    Unimplemented,
    UnsupportedEncoding,
)
from server.exchange import Answer, Exchange
from server.inference import (
    FindModel,
    InferenceRequest,
    InferenceResponse,
    ModelAddress,
    ServedModel,
)
from server.protocols import strict_json
from server.protocols.json_tensors import READABLE, hides_nothing, kind_of, to_array
from server.protocols.protocol import Call, Infer, Operation, Serving
from server.signature import (
    DEFAULT_SIGNATURE,
    Array,
    Signature,
    Tensors,
    TensorSpec,
    shape_text,
)

_TARGET: Final = re.compile(
    r"/v1/models/(?P<name>[^/:?]+)"
    r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:?]+))?"
    r"(?P<metadata>/metadata)?"
    r"(?::(?P<verb>predict|classify|regress))?"
    r"(?:\?.*)?",
    re.IGNORECASE,
)
_MAX_VERSION: Final = 2**63 - 1

ROWS, COLUMNS = "instances", "inputs"
_ANSWER_KEY: Final = {ROWS: b"predictions", COLUMNS: b"outputs"}

_DTYPE_NAMES: Final = {
    "float32": "DT_FLOAT",
    "float64": "DT_DOUBLE",
    "float16": "DT_HALF",
    "bool": "DT_BOOL",
    "string": "DT_STRING",
}


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
        return exchange.target.startswith("/v1/")

    # Clients ask the same few questions for ever.
    @staticmethod
    @functools.lru_cache(maxsize=1024)
    def _match(method: str, target: str) -> Operation:
        match = _TARGET.fullmatch(target)
        if match is None:
            raise _malformed(method, target)
        verb = (match["verb"] or "").lower()
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
        answer = _metadata if match["metadata"] else _status
        return Call(functools.partial(answer, address), address.name)

    def route(self, exchange: Exchange) -> Operation:
        """Match the raw target: names may hold percent-encoded slashes and colons."""
        return self._match(exchange.method, exchange.target)

    def parsed_size(self, exchange: Exchange) -> int:
        """All of it."""
        return len(exchange.body)

    def printed_size(self, request: InferenceRequest, response: InferenceResponse) -> int:
        """Every element."""
        return sum(array.size for array in response.outputs.values())

    def decode(self, operation: Infer, exchange: Exchange, find: FindModel) -> InferenceRequest:
        """Read `{"signature_name"?, "instances" | "inputs"}`, checking in TensorFlow's order."""
        if operation.verb != "predict":
            msg = f"{operation.verb} is not supported, use predict"
            raise Unimplemented(msg)
        body = strict_json.loads(exchange.body)
        if not isinstance(body, dict):
            msg = f"the body must be a JSON object, not {kind_of(body)}"
            raise DecodeError(msg)
        name = body.get("signature_name", DEFAULT_SIGNATURE)
        if not isinstance(name, str):
            msg = f'"signature_name" must be a string, not {kind_of(name)}'
            raise DecodeError(msg)
        model = find(operation.address)
        signature = _find_signature(model, name or DEFAULT_SIGNATURE)
        form = _form(body)
        tensors = body[form]
        only_numbers = hides_nothing(exchange.body, body, _strings(body, tensors))
        read = _from_rows if form == ROWS else _from_columns
        return InferenceRequest(model, signature, read(tensors, signature, only_numbers), form)

    def encode(self, request: InferenceRequest, response: InferenceResponse) -> Answer:
        """Write `{"predictions": rows}` or `{"outputs": columns}`."""
        outputs, form = response.outputs, request.form
        for name, array in outputs.items():
            if array.dtype not in _WRITABLE or (not array.ndim and form == ROWS):
                raise _not_writable(name, array)
        if len(outputs) == 1:
            (array,) = outputs.values()
            written = strict_json.dumps(array)
        else:
            columns = {name: strict_json.dumps(array) for name, array in outputs.items()}
            written = _object(columns) if form == COLUMNS else _rows_of_objects(outputs)
        return Answer(200, b'{"%b":%b}' % (_ANSWER_KEY[form], written))

    def error(self, error: ServingError) -> Answer:
        """Write `{"error": text}`."""
        # TensorFlow Serving takes what it cannot inflate for the JSON itself: a client's mistake.
        unreadable = isinstance(error, UnsupportedEncoding)
        return _json({"error": str(error)}, 400 if unreadable else error.code.http_status)

    def paths(self, models: Sequence[ServedModel]) -> Mapping[str, Any]:
        """Not described yet."""
        return {}


# ----------------------------------------------------------------------------- about the models


async def _status(address: ModelAddress, serving: Serving) -> Answer:
    """The states of versions, newest first; labels are not looked at."""
    states = serving.states(ModelAddress(address.name, address.version))
    return _json(
        {
            "model_version_status": [
                {
                    "version": str(state.version),
                    "state": state.state,
                    "status": {
                        "error_code": "UNKNOWN" if state.error else "OK",
                        "error_message": state.error,
                    },
                }
                for state in states
            ]
        }
    )


async def _metadata(address: ModelAddress, serving: Serving) -> Answer:
    """A SignatureDefMap, as protobuf's JSON form has it."""
    model = serving.find(address)
    signatures = {name: _signature_def(s) for name, s in model.signatures.items()}
    return _json(
        {
            "model_spec": {
                "name": model.name,
                "signature_name": "",
                "version": str(model.version),
            },
            "metadata": {"signature_def": {"signature_def": signatures}},
        }
    )


# ------------------------------------------------------------------------------------- reading


def _malformed(method: str, target: str) -> DecodeError:
    return DecodeError(f"Malformed request: {method} {target}")


def _find_signature(model: ServedModel, name: str) -> Signature:
    signature = model.signatures.get(name)
    if signature is None:
        told = ", ".join(repr(known) for known in sorted(model.signatures))
        msg = f"model {model.name!r} has no signature {name!r}; it has {told}"
        raise InvalidArgument(msg)
    return signature


def _form(body: Mapping[str, Any]) -> str:
    if (ROWS in body) == (COLUMNS in body):
        came = "both" if ROWS in body else "neither"
        msg = f'the body must have either "instances" or "inputs", it has {came}'
        raise DecodeError(msg)
    return ROWS if ROWS in body else COLUMNS


def _strings(body: Mapping[str, Any], tensors: Any) -> int:
    """Strings in a body of numbers, besides its keys: the names of the signature and inputs."""
    strings = 1 if isinstance(body.get("signature_name"), str) else 0
    if isinstance(tensors, dict):
        return strings + len(tensors)
    if isinstance(tensors, list) and tensors and isinstance(tensors[0], dict):
        return strings + sum(len(row) for row in tensors if isinstance(row, dict))
    return strings


def _from_rows(instances: Any, signature: Signature, only_numbers: bool) -> Tensors:  # noqa: FBT001
    """Each instance is a row: an object of all inputs, or the bare value of the only one."""
    if not isinstance(instances, list):
        msg = f'"instances" must be a list, not {kind_of(instances)}'
        raise DecodeError(msg)
    if not instances:
        msg = '"instances" has no values, expected at least one row'
        raise DecodeError(msg)
    specs = signature.inputs
    if isinstance(instances[0], dict):
        for place, instance in enumerate(instances):
            _check_instance(place, instance, specs)
        columns = {name: [instance[name] for instance in instances] for name in specs}
    elif len(specs) == 1:
        columns = dict.fromkeys(specs, instances)
    else:
        msg = (
            f'"instances" must be a list of objects with the inputs {_told(specs)}:'
            f" got {kind_of(instances[0])}"
        )
        raise DecodeError(msg)
    tensors: Tensors = {}
    for name, values in columns.items():
        spec = specs[name]
        if spec.dtype not in READABLE:
            raise _no_form(spec, DecodeError)
        tensors[name] = to_array(values, spec, only_numbers=only_numbers, where='"instances"')
    return tensors


def _check_instance(place: int, instance: Any, specs: Mapping[str, TensorSpec]) -> None:
    if not isinstance(instance, dict):
        msg = f'"instances"[{place}] must be an object like the first one, not {kind_of(instance)}'
        raise DecodeError(msg)
    if instance.keys() != specs.keys():
        msg = f'"instances"[{place}] has the inputs {_told(instance)}, expected {_told(specs)}'
        raise DecodeError(msg)


def _from_columns(inputs: Any, signature: Signature, only_numbers: bool) -> Tensors:  # noqa: FBT001
    """An object of whole tensors, or the bare tensor of the only input; ignores surplus names."""
    specs = signature.inputs
    if not isinstance(inputs, dict):
        if len(specs) != 1:
            msg = f'"inputs" must be an object with {_told(specs)}, not {kind_of(inputs)}'
            raise DecodeError(msg)
        inputs = dict.fromkeys(specs, inputs)
    missing = [name for name in specs if name not in inputs]
    if missing:
        msg = f'"inputs" lacks {_told(missing)}, it has {_told(inputs)}'
        raise DecodeError(msg)
    tensors: Tensors = {}
    for name, spec in specs.items():
        if spec.dtype not in READABLE:
            raise _no_form(spec, Unimplemented)
        where = f'"inputs" {name!r}'
        tensors[name] = to_array(inputs[name], spec, only_numbers=only_numbers, where=where)
    return tensors


def _no_form(spec: TensorSpec, error: type[ServingError]) -> ServingError:
    if spec.dtype == "string":
        return Unimplemented(f"input {spec.name!r}: strings are not supported yet")
    return error(f"input {spec.name!r} is {spec.dtype}, which has no JSON form")


def _told(names: Any) -> str:
    return ", ".join(repr(name) for name in sorted(names)) or "none"


# ------------------------------------------------------------------------------------- writing


def _json(value: object, status: int = 200) -> Answer:
    return Answer(status, orjson.dumps(value))


_WRITABLE: Final = frozenset(np.dtype(name) for name in READABLE)


def _not_writable(name: str, array: Array) -> InvalidArgument:
    if array.dtype not in _WRITABLE:
        return InvalidArgument(f"output {name!r} is {array.dtype}, which has no JSON form")
    return InvalidArgument(
        f'output {name!r} is a scalar and has no rows: ask by "inputs" instead of "instances"'
    )


def _object(members: Mapping[str, bytes]) -> bytes:
    return b"{%b}" % b",".join(b"%b:%b" % (orjson.dumps(k), v) for k, v in members.items())


def _rows_of_objects(outputs: Tensors) -> bytes:
    rows = {len(array) for array in outputs.values()}
    if len(rows) != 1:
        told = ", ".join(f"{name!r}: {shape_text(a.shape)}" for name, a in outputs.items())
        msg = f"outputs disagree on the number of rows: {told}"
        raise InvalidArgument(msg)
    objects = [
        _object({name: strict_json.dumps(array[row]) for name, array in outputs.items()})
        for row in range(rows.pop())
    ]
    return b"[%b]" % b",".join(objects)


def _signature_def(signature: Signature) -> dict[str, Any]:
    return {
        "inputs": {name: _tensor_info(spec) for name, spec in signature.inputs.items()},
        "outputs": {name: _tensor_info(spec) for name, spec in signature.outputs.items()},
        "method_name": signature.method_name,
        "defaults": {},
    }


def _tensor_info(spec: TensorSpec) -> dict[str, Any]:
    sizes = () if spec.shape is None else spec.shape
    return {
        "dtype": _DTYPE_NAMES.get(spec.dtype, f"DT_{spec.dtype.upper()}"),
        "tensor_shape": {
            "dim": [{"size": str(-1 if size is None else size), "name": ""} for size in sizes],
            "unknown_rank": spec.shape is None,
        },
        "name": spec.name,
    }
