"""The Open Inference Protocol v2 over HTTP, as its clients speak it. Pure.

Tensors go and come as bytes behind the JSON (Triton's extension for binary tensors), or as values
in it, for servers without that extension. Answers are read in either form, whatever was asked.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import orjson

from server.client import metadata
from server.client.codec import Ask, no_model, quoted
from server.client.errors import BadAnswer, InvalidRequest
from server.client.messages import Reply, Request, parse
from server.client.metadata import ModelMetadata, ModelState
from server.errors import DecodeError
from server.exchange import JSON
from server.inference import ModelAddress
from server.protocols import strict_json
from server.protocols.oip_http_request import JSON_LENGTH
from server.protocols.oip_tensors import (
    DATATYPES,
    RAW_ONLY,
    check_shape,
    from_raw,
    from_values,
    to_raw,
)
from server.signature import Array, Signature, Tensors

BINARY_EXTENSION: Final = "binary_tensor_data"
"""How a server that takes tensors as bytes calls that."""

_BINARY: Final = "application/octet-stream"


class Oip:
    """The codec; `binary` says whether tensors go and come as bytes."""

    needs_signature: ClassVar[bool] = False

    def __init__(self, *, binary: bool) -> None:
        self._binary = binary

    def ask(self, ask: Ask) -> Request:
        """Inputs in their order; another signature than the default is a parameter of ours."""
        told, raws = [], []
        for name, array in ask.inputs.items():
            datatype = _datatype(name, array)
            described = orjson.dumps({"name": name, "datatype": datatype, "shape": array.shape})
            if self._binary:
                raws.append(to_raw(array))
                form = b'"parameters":{"binary_data_size":%d}' % len(raws[-1])
            else:
                form = b'"data":%b' % _values(name, array, datatype)
            told.append(b"%b,%b}" % (described[:-1], form))
        parameters: dict[str, Any] = {"binary_data_output": True} if self._binary else {}
        if ask.signature:
            parameters["signature_name"] = ask.signature
        wishes = b'"parameters":%b,' % orjson.dumps(parameters) if parameters else b""
        head = b'{%b"inputs":[%b]}' % (wishes, b",".join(told))
        headers = {"Content-Type": JSON}
        if self._binary:
            headers = {"Content-Type": _BINARY, JSON_LENGTH: str(len(head))}
        target = f"{_path(ask.address)}/infer"
        return Request("POST", target, headers, b"".join([head, *raws]))

    def outputs(self, reply: Reply, signature: Signature | None) -> Tensors:
        """Those of the answer, in its order."""
        length = len(reply.body)
        told = reply.headers.get(JSON_LENGTH)
        if told is not None:
            if not told.isascii() or not told.isdigit() or int(told) > length:
                msg = f"the server's answer: {JSON_LENGTH} is {told[:64]!r} of {length} bytes"
                raise BadAnswer(msg)
            length = int(told)
        try:
            outputs = parse(reply.body[:length])["outputs"]
            return _read(outputs, memoryview(reply.body)[length:])
        except (KeyError, TypeError, AttributeError, DecodeError) as error:
            msg = f"the server's answer is no answer to inference: {error}"
            raise BadAnswer(msg) from None

    def ask_metadata(self, address: ModelAddress) -> Request:
        """The tensors of the default signature."""
        return Request("GET", _path(address))

    def metadata(self, reply: Reply) -> ModelMetadata:
        """One signature, of the default's name."""
        return metadata.from_oip(reply.json())

    def ask_models(self, name: str) -> Request:
        """The repository's index has all of them."""
        return Request("POST", "/v2/repository/index", {"Content-Type": JSON}, b"{}")

    def models(self, name: str, reply: Reply) -> Sequence[ModelState]:
        """All, or those of one name."""
        states = metadata.states_from_oip(reply.json())
        return [state for state in states if name in ("", state.name)]

    def ask_ready(self, address: ModelAddress) -> Request:
        """The probe of the server, or of a model."""
        return Request("GET", f"{_path(address)}/ready" if address.name else "/v2/health/ready")

    def is_ready(self, reply: Reply) -> bool:
        """There is no other good answer; its body may be empty."""
        return True


def _path(address: ModelAddress) -> str:
    if not address.name:
        raise no_model()
    if address.label is not None:
        msg = f"the Open Inference Protocol has no labels: {address}"
        raise InvalidRequest(msg)
    path = f"/v2/models/{quoted(address.name)}"
    return path if address.version is None else f"{path}/versions/{address.version}"


def _datatype(name: str, array: Array) -> str:
    dtype = "string" if array.dtype.hasobject else array.dtype.name
    if dtype not in DATATYPES:
        msg = f"input {name!r} is {dtype}, which the Open Inference Protocol has no datatype for"
        raise InvalidRequest(msg)
    return DATATYPES[dtype]


def _values(name: str, array: Array, datatype: str) -> bytes:
    if datatype in RAW_ONLY:
        msg = f"input {name!r} is {array.dtype}, which has no form in JSON: protocol='oip'"
        raise InvalidRequest(msg)
    if not array.dtype.hasobject:
        return strict_json.dumps(array.ravel())
    try:
        return orjson.dumps([element.decode() for element in array.ravel().tolist()])
    except UnicodeDecodeError:
        msg = f"input {name!r} is not UTF-8, which has no form in JSON: protocol='oip'"
        raise InvalidRequest(msg) from None


def _read(outputs: Any, rest: memoryview) -> Tensors:
    """The outputs of an answer; `rest` follows its JSON. DecodeError, KeyError, TypeError."""
    tensors: Tensors = {}
    place = 0
    for one in outputs:
        where = f"output {one['name']!r}"
        shape = check_shape(one["shape"], f"{where}: the shape")
        size = (one.get("parameters") or {}).get("binary_data_size")
        if size is None:
            tensors[one["name"]] = from_values(one["data"], one["datatype"], shape, where)
        else:
            raw = rest[place : place + size]
            tensors[one["name"]] = from_raw(raw, one["datatype"], shape, where)
            place += size
    return tensors
