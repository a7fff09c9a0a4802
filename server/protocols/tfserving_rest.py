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

from server.errors import DecodeError, InvalidArgument, ServingError, Unimplemented
from server.exchange import Answer, Exchange
from server.inference import (
    FindModel,
    Infer,
    InferenceRequest,
    InferenceResponse,
    ModelAddress,
    ModelMetadata,
    ModelStatus,
    Operation,
    ServedModel,
    VersionState,
)
from server.protocols import strict_json
from server.signature import (
    DEFAULT_SIGNATURE,
    NUMPY_DTYPES,
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
    prefix = "/v1/"

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
        return ModelMetadata(address) if match["metadata"] else ModelStatus(address)

    def route(self, method: str, target: str) -> Operation:
        """Match the raw target: names may hold percent-encoded slashes and colons."""
        return self._match(method, target)

    def decode(self, operation: Infer, exchange: Exchange, find: FindModel) -> InferenceRequest:
        """Read `{"signature_name"?, "instances" | "inputs"}`, checking in TensorFlow's order."""
        if operation.verb != "predict":
            msg = f"{operation.verb} is not supported, use predict"
            raise Unimplemented(msg)
        body = strict_json.loads(exchange.body)
        if not isinstance(body, dict):
            msg = f"the body must be a JSON object, not {_kind(body)}"
            raise DecodeError(msg)
        name = body.get("signature_name", DEFAULT_SIGNATURE)
        if not isinstance(name, str):
            msg = f'"signature_name" must be a string, not {_kind(name)}'
            raise DecodeError(msg)
        model = find(operation.address)
        signature = _find_signature(model, name or DEFAULT_SIGNATURE)
        form = _form(body)
        read = _from_rows if form == ROWS else _from_columns
        only_numbers = _has_only_numbers(exchange.body, body, form)
        return InferenceRequest(model, signature, read(body[form], signature, only_numbers), form)

    def encode(self, request: InferenceRequest, response: InferenceResponse) -> Answer:
        """Write `{"predictions": rows}` or `{"outputs": columns}`."""
        outputs, form = response.outputs, request.form
        for name, array in outputs.items():
            _check_writable(name, array, form)
        if len(outputs) == 1:
            (array,) = outputs.values()
            written = strict_json.dumps(array)
        else:
            columns = {name: strict_json.dumps(array) for name, array in outputs.items()}
            written = _object(columns) if form == COLUMNS else _rows_of_objects(outputs)
        return Answer(200, b'{"%b":%b}' % (_ANSWER_KEY[form], written))

    def status(self, states: Sequence[VersionState]) -> Answer:
        """Write the states of versions, newest first."""
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

    def metadata(self, model: ServedModel) -> Answer:
        """Write a SignatureDefMap, as protobuf's JSON form has it."""
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

    def error(self, error: ServingError) -> Answer:
        """Write `{"error": text}`."""
        return _json({"error": str(error)}, error.code.http_status)


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
    forms = [form for form in (ROWS, COLUMNS) if form in body]
    if len(forms) != 1:
        came = "both" if forms else "neither"
        msg = f'the body must have either "instances" or "inputs", it has {came}'
        raise DecodeError(msg)
    return forms[0]


def _has_only_numbers(raw: bytes, body: Mapping[str, Any], form: str) -> bool:
    """Whether all elements are plainly numbers; False if only a look at each of them can tell.

    NumPy hides booleans among numbers, and makes every element as wide as the longest string, which
    can be gigabytes. Most bodies hold neither: they have as many quotes as their keys need.
    """
    if b"true" in raw or b"false" in raw:
        return False
    tensors = body[form]
    strings = len(body) + isinstance(body.get("signature_name"), str)
    if isinstance(tensors, dict):
        strings += len(tensors)
    elif isinstance(tensors, list) and tensors and isinstance(tensors[0], dict):
        strings += sum(len(row) for row in tensors if isinstance(row, dict))
    return raw.count(b'"') == 2 * strings


def _from_rows(instances: Any, signature: Signature, only_numbers: bool) -> Tensors:  # noqa: FBT001
    """Each instance is a row: an object of all inputs, or the bare value of the only one."""
    if not isinstance(instances, list):
        msg = f'"instances" must be a list, not {_kind(instances)}'
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
            f" got {_kind(instances[0])}"
        )
        raise DecodeError(msg)
    return {
        name: _tensor(values, specs[name], only_numbers=only_numbers, where='"instances"')
        for name, values in columns.items()
    }


def _check_instance(place: int, instance: Any, specs: Mapping[str, TensorSpec]) -> None:
    if not isinstance(instance, dict):
        msg = f'"instances"[{place}] must be an object like the first one, not {_kind(instance)}'
        raise DecodeError(msg)
    if instance.keys() != specs.keys():
        msg = f'"instances"[{place}] has the inputs {_told(instance)}, expected {_told(specs)}'
        raise DecodeError(msg)


def _from_columns(inputs: Any, signature: Signature, only_numbers: bool) -> Tensors:  # noqa: FBT001
    """An object of whole tensors, or the bare tensor of the only input; ignores surplus names."""
    specs = signature.inputs
    if not isinstance(inputs, dict):
        if len(specs) != 1:
            msg = f'"inputs" must be an object with {_told(specs)}, not {_kind(inputs)}'
            raise DecodeError(msg)
        inputs = dict.fromkeys(specs, inputs)
    missing = [name for name in specs if name not in inputs]
    if missing:
        msg = f'"inputs" lacks {_told(missing)}, it has {_told(inputs)}'
        raise DecodeError(msg)
    tensors: Tensors = {}
    for name, spec in specs.items():
        if spec.dtype != "string" and spec.dtype not in _READABLE:
            msg = f"input {name!r} is {spec.dtype}, which has no JSON form"
            raise Unimplemented(msg)
        where = f'"inputs" {name!r}'
        tensors[name] = _tensor(inputs[name], spec, only_numbers=only_numbers, where=where)
    return tensors


_READABLE: Final = NUMPY_DTYPES - {"float16", "complex64", "complex128"}
_WRITABLE: Final = frozenset(np.dtype(name) for name in _READABLE)


def _tensor(values: Any, spec: TensorSpec, *, only_numbers: bool, where: str) -> Array:
    """Nested lists to an array of the declared dtype. DecodeError, saying where it goes wrong.

    NumPy converts more than the protocol allows (true to 1, 1.0 to an int, 256 to a byte), so the
    dtype that it finds in the lists decides first; unless `only_numbers`, each element does.
    """
    if spec.dtype == "string":
        msg = f"input {spec.name!r}: strings are not supported yet"
        raise Unimplemented(msg)
    if spec.dtype not in _READABLE:
        msg = f"input {spec.name!r} is {spec.dtype}, which has no JSON form"
        raise DecodeError(msg)
    if not only_numbers:
        _check_elements(values, spec, where)
    try:
        array: Array = np.array(values)
    except (ValueError, OverflowError):
        raise _unequal(values, spec, where) from None
    wanted, found = spec.numpy_dtype, array.dtype
    fits = found.kind == "b" if wanted.kind == "b" else found.kind in "iu"
    if wanted.kind == "f":
        fits = found.kind in "fiu"
    if not fits:
        _check_elements(values, spec, where)
    if found.kind not in "fiub":
        # Nothing is wrong with the elements, and still this is no tensor: there are none.
        raise _unequal(values, spec, where)
    if wanted.kind in "iu" and array.size:
        if found.kind == "f":
            # Integers on both sides of 2**63, which NumPy knows no other common dtype for.
            array = np.array(values, object)
        _check_range(array, spec, where)
    with np.errstate(over="ignore"):
        return array.astype(wanted)


def _check_range(array: Array, spec: TensorSpec, where: str) -> None:
    limits = np.iinfo(spec.numpy_dtype)
    if int(array.min()) < limits.min or int(array.max()) > limits.max:
        msg = f"{where}: a number is outside of {spec.dtype}, {limits.min} to {limits.max}"
        raise DecodeError(msg)


def _check_elements(values: Any, spec: TensorSpec, where: str) -> None:
    """Find the first element that is not what the dtype needs. DecodeError."""
    allowed = {"b": (bool,), "f": (int, float)}.get(spec.numpy_dtype.kind, (int,))
    # The lists that the walk is in, each with how far it has come, under a list of them all.
    levels = [enumerate([values])]
    places = [0]
    while levels:
        for place, value in levels[-1]:
            if type(value) in allowed:
                continue
            places[-1] = place
            if type(value) is not list:
                told = "".join(f"[{place}]" for place in places[1:])
                msg = f"{where}{told}: input {spec.name!r} is {spec.dtype}, got {_kind(value)}"
                raise DecodeError(msg)
            levels.append(enumerate(value))
            places.append(0)
            break
        else:
            levels.pop()
            places.pop()


def _unequal(values: Any, spec: TensorSpec, where: str) -> DecodeError:
    """Lists of unequal length or depth: say where the first one differs from its neighbour."""
    _check_elements(values, spec, where)
    return DecodeError(
        f"{where}: lists of one level must have one length and one depth,"
        f" input {spec.name!r} is {spec}"
    )


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    names |= {int: "an integer", float: "a floating-point number", type(None): "null"}
    return names[type(value)]


def _told(names: Any) -> str:
    return ", ".join(repr(name) for name in sorted(names)) or "none"


# ------------------------------------------------------------------------------------- writing


def _json(value: object, status: int = 200) -> Answer:
    return Answer(status, orjson.dumps(value))


def _check_writable(name: str, array: Array, form: str) -> None:
    if array.dtype not in _WRITABLE:
        msg = f"output {name!r} is {array.dtype}, which has no JSON form"
        raise InvalidArgument(msg)
    if form == ROWS and array.ndim == 0:
        msg = f'output {name!r} is a scalar and has no rows: ask by "inputs" instead of "instances"'
        raise InvalidArgument(msg)


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
