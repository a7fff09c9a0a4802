"""TensorFlow Serving's REST API, as its clients speak it. Pure.

Tensors go as columns, by name, and so come back. Answers do not tell their dtypes, nor the name of
an output that is the only one: the model's metadata does.
"""

import base64
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
import orjson

from server.client import metadata
from server.client.codec import Ask, no_model, quoted
from server.client.errors import BadAnswer, InvalidRequest
from server.client.messages import Reply, Request
from server.client.metadata import ModelMetadata, ModelState
from server.errors import DecodeError
from server.exchange import JSON
from server.inference import ModelAddress
from server.protocols import strict_json
from server.protocols.json_tensors import READABLE, to_array
from server.protocols.tfserving_inputs import COLUMNS, ROWS, SIGNATURE_NAME
from server.protocols.tfserving_outputs import ANSWERS
from server.protocols.tfserving_strings import BASE64, to_strings
from server.signature import Array, Signature, Tensors, TensorSpec

_COLUMNS: Final = ANSWERS[COLUMNS].decode()
_ROWS: Final = ANSWERS[ROWS].decode()


class TfServing:
    """The codec."""

    needs_signature: ClassVar[bool] = True

    def ask(self, ask: Ask) -> Request:
        """Columns, each by its name."""
        columns = [
            b"%b:%b" % (orjson.dumps(name), _values(name, array))
            for name, array in ask.inputs.items()
        ]
        named = orjson.dumps({SIGNATURE_NAME: ask.signature})[1:-1] + b"," if ask.signature else b""
        body = b'{%b"%b":{%b}}' % (named, COLUMNS.encode(), b",".join(columns))
        return Request("POST", f"{path(ask.address)}:predict", {"Content-Type": JSON}, body)

    def outputs(self, reply: Reply, signature: Signature | None) -> Tensors:
        """Of the dtypes of the signature; rows are understood as well."""
        assert signature is not None
        told = reply.json()
        try:
            columns = _columns(told, signature)
            return {name: _read(columns[name], spec) for name, spec in signature.outputs.items()}
        except (KeyError, TypeError, ValueError, DecodeError) as error:
            msg = f"the server's answer does not fit the model's metadata: {error}"
            raise BadAnswer(msg) from None

    def ask_metadata(self, address: ModelAddress) -> Request:
        """All signatures."""
        return Request("GET", f"{path(address)}/metadata")

    def metadata(self, reply: Reply) -> ModelMetadata:
        """All signatures."""
        return metadata.from_tfserving(reply.json())

    def ask_models(self, name: str) -> Request:
        """The status of one: there is no list."""
        if not name:
            msg = "TensorFlow Serving's API does not list models: name one"
            raise InvalidRequest(msg)
        return Request("GET", path(ModelAddress(name)))

    def models(self, name: str, reply: Reply) -> Sequence[ModelState]:
        """The states of its versions."""
        return metadata.states_from_tfserving(name, reply.json())

    def ask_ready(self, address: ModelAddress) -> Request:
        """The status of a model."""
        return Request("GET", path(address))

    def is_ready(self, reply: Reply) -> bool:
        """Whether a version answers."""
        return any(state.ready for state in metadata.states_from_tfserving("", reply.json()))


def path(address: ModelAddress) -> str:
    """Where a model is. InvalidRequest if none is named."""
    if not address.name:
        raise no_model()
    told = f"/v1/models/{quoted(address.name)}"
    if address.version is not None:
        return f"{told}/versions/{address.version}"
    return told if address.label is None else f"{told}/labels/{quoted(address.label)}"


def _values(name: str, array: Array) -> bytes:
    if array.dtype.hasobject:
        written = np.empty(array.size, object)
        written[:] = [_text(element) for element in array.ravel().tolist()]
        return orjson.dumps(written.reshape(array.shape).tolist())
    if array.dtype.name not in READABLE:
        msg = f"input {name!r} is {array.dtype}, which has no form in JSON: protocol='oip'"
        raise InvalidRequest(msg)
    return strict_json.dumps(array)


def _text(element: bytes) -> str | dict[str, str]:
    try:
        return element.decode()
    except UnicodeDecodeError:
        return {BASE64: base64.b64encode(element).decode()}


def _columns(told: Any, signature: Signature) -> dict[str, Any]:
    """The outputs by name. KeyError, TypeError."""
    if _COLUMNS in told:
        columns = told[_COLUMNS]
        # A string in base64 is an object as well.
        only = len(signature.outputs) == 1
        return dict.fromkeys(signature.outputs, columns) if only else columns
    rows = told[_ROWS]
    if len(signature.outputs) == 1:
        return dict.fromkeys(signature.outputs, rows)
    return {name: [row[name] for row in rows] for name in signature.outputs}


def _read(values: Any, spec: TensorSpec) -> Array:
    where = f"output {spec.name!r}"
    if spec.dtype == "string":
        return to_strings(values, spec, where)
    if spec.dtype in READABLE:
        return to_array(values, spec, only_numbers=False, where=where)
    # TensorFlow Serving writes more dtypes than it reads.
    return np.array(values).astype(spec.numpy_dtype)
