"""Plain binary bodies on TensorFlow Serving's predict URL: no JSON, no framing. Pure; event loop.

    POST /v1/models/NAME[/versions/N|/labels/L]:predict

    application/octet-stream   the elements of one tensor, little endian, in C order; its dtype and
                               shape are the signature's, its length tells the one free dimension
    application/x-npy          one tensor as `numpy.save` writes it
    application/x-npz          any number of tensors by name, as `numpy.savez` and
                               `numpy.savez_compressed` write them; application/zip is the same

`Content-Type` says what the body is; whatever is not named above is JSON for TensorFlow Serving's
protocol, which ignores that header. Some of its clients (aiohttp) label whatever bytes they send
application/octet-stream: what is empty, or begins as a JSON object does, is no tensor.

`Accept` chooses the form of the answer among these and JSON, whatever the request was. Without a
choice the answer has the form of the request, or the nearest one that can hold the outputs: several
take an .npz, strings take JSON. `X-Signature-Name` chooses the signature of a binary body. Raw
elements come back with `X-Tensor-Dtype` and `X-Tensor-Shape`. Errors are TensorFlow Serving's, and
so is everything else.
"""

import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np

from server.errors import DecodeError, InvalidArgument, ServingError
from server.exchange import JSON, Answer, Exchange
from server.inference import FindModel, InferenceRequest, InferenceResponse, ServedModel
from server.protocols import plain_binary_paths
from server.protocols.media_types import BINARY, NPY, NPZ, RAW, ZIP, negotiate
from server.protocols.npy import from_elements, read_npy, read_npz, write_npy, write_npz
from server.protocols.protocol import Infer, Operation, Protocol
from server.protocols.tfserving_inputs import COLUMNS, ROWS
from server.signature import DEFAULT_SIGNATURE, Array, Signature, Tensors, TensorSpec, names_text

SIGNATURE_NAME: Final = "X-Signature-Name"
DTYPE: Final = "X-Tensor-Dtype"
SHAPE: Final = "X-Tensor-Shape"

MOST_UNPACKED: Final = 64 * 2**20
"""Bytes that a zip is unpacked to: what a body may have by default. A body of that size can promise
a thousand times as much, so the limit on bodies alone is none."""

_NO_TENSOR: Final = re.compile(rb'\Z|(?:\xef\xbb\xbf)?\s*\{\s*"[^"]{0,64}"\s*:')
"""No bytes at all; or how a JSON object begins, and of sixteen million tensors one."""

_HIGHEST_RATIO: Final = 1032
"""How many bytes one of a deflated body can become."""


class Forms(NamedTuple):
    """What a head says: what the body is, what the answer is wanted in, and which signature."""

    sent: str
    wanted: str
    signature_name: str


class Reply(NamedTuple):
    """How to answer: in which media type; because the client insists; and JSON's own form."""

    media: str
    insists: bool
    json_form: Any


class PlainBinary:
    """The codecs. What is JSON, and routes and errors, are left to the protocol they stand by."""

    name = "plain_binary"
    cors: Final = {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": "POST",
        "Access-Control-Allow-Headers": f"Content-Type, {SIGNATURE_NAME}",
        "Access-Control-Expose-Headers": f"{DTYPE}, {SHAPE}",
    }

    def __init__(self, json: Protocol, *, most_unpacked: int = MOST_UNPACKED) -> None:
        self._json = json
        self._most_unpacked = most_unpacked

    def takes(self, exchange: Exchange) -> bool:
        """A predict whose body is binary, or whose answer shall be."""
        if ":predict" not in exchange.target or exchange.method != "POST":
            return False
        # By the head alone: what was sent as binary and is JSON is read as such all the same.
        sent, wanted = _in_head(exchange)
        return self._json.takes(exchange) and (sent != JSON or wanted in BINARY)

    def route(self, exchange: Exchange) -> Operation:
        """As TensorFlow Serving's; the forms of body and answer are noted."""
        operation = self._json.route(exchange)
        if not isinstance(operation, Infer):
            return operation
        note = Forms(*_in_head(exchange), exchange.headers.get(SIGNATURE_NAME, DEFAULT_SIGNATURE))
        return replace(operation, note=note)

    def parsed_size(self, operation: Infer, exchange: Exchange) -> int:
        """JSON; and what a zip can become, which takes as long."""
        sent = _sent(operation.note, exchange.body)
        if sent == JSON:
            return self._json.parsed_size(operation, exchange)
        return _HIGHEST_RATIO * len(exchange.body) if sent in (NPZ, ZIP) else 0

    def decode(self, operation: Infer, exchange: Exchange, find: FindModel) -> InferenceRequest:
        """Read the tensors, which share the memory of the body where they can."""
        forms: Forms = operation.note
        sent, wanted = _sent(forms, exchange.body), forms.wanted
        if sent == JSON:
            request = self._json.decode(operation, exchange, find)
            request.form = Reply(wanted or JSON, insists=True, json_form=request.form)
            return request
        model = find(operation.address)
        signature = model.signature(forms.signature_name or DEFAULT_SIGNATURE)
        tensors = self._read(sent, exchange.body, signature)
        json_form = ROWS if signature.batchable else COLUMNS
        form = Reply(wanted or sent, insists=bool(wanted), json_form=json_form)
        return InferenceRequest(model, signature, tensors, form)

    def printed_size(self, request: InferenceRequest, response: InferenceResponse) -> int:
        """JSON; and what goes through a checksum, which takes as long."""
        media = _media(request.form, response.outputs)
        if media == JSON:
            return self._json.printed_size(_as_json(request), response)
        return sum(a.size for a in response.outputs.values()) if media in (NPZ, ZIP) else 0

    def encode(self, request: InferenceRequest, response: InferenceResponse) -> Answer:
        """Write the outputs. InvalidArgument when what was asked for cannot hold them."""
        outputs = response.outputs
        media = _media(request.form, outputs)
        if media == JSON:
            return self._json.encode(_as_json(request), response)
        for name, array in outputs.items():
            if array.dtype.hasobject:
                msg = f"output {name!r} is string, which has no form in {media}: accept {JSON}"
                raise InvalidArgument(msg)
        if media in (NPZ, ZIP):
            return Answer(200, write_npz(outputs), media)
        if len(outputs) != 1:
            msg = f"{media} holds one output, there are {names_text(outputs)}: accept {NPZ}"
            raise InvalidArgument(msg)
        (array,) = outputs.values()
        if media == NPY:
            return Answer(200, write_npy(array), media)
        shape = ",".join(map(str, array.shape))
        return Answer(200, array.tobytes(), media, {DTYPE: _name(array.dtype), SHAPE: shape})

    def error(self, error: ServingError) -> Answer:
        """As TensorFlow Serving's."""
        return self._json.error(error)

    def paths(self, models: Sequence[ServedModel]) -> Mapping[str, Any]:
        """What it adds to TensorFlow Serving's."""
        return plain_binary_paths.paths(models)

    def _read(self, media: str, body: bytes, signature: Signature) -> Tensors:
        for spec in signature.inputs.values():
            if spec.numpy_dtype.hasobject:
                what = f"input {spec.name!r} is {spec.dtype}"
                msg = f"{what}, which has no form in {media}: send {JSON}"
                raise InvalidArgument(msg)
        if media in (NPZ, ZIP):
            return read_npz(body, signature.inputs, self._most_unpacked)
        if len(signature.inputs) != 1:
            msg = f"{media} holds one input, there are {names_text(signature.inputs)}: send {NPZ}"
            raise InvalidArgument(msg)
        ((name, spec),) = signature.inputs.items()
        return {name: read_npy(body, spec) if media == NPY else _read_raw(body, spec)}


# ------------------------------------------------------------------------------------- the forms


def _sent(forms: Forms, body: bytes) -> str:
    """What the body is: its head may take JSON for bytes."""
    return JSON if forms.sent == RAW and _NO_TENSOR.match(body) else forms.sent


def _in_head(exchange: Exchange) -> tuple[str, str]:
    """What the body is said to be, and what the answer is wanted in; see `negotiate`."""
    headers = exchange.headers
    return negotiate(headers.get("Content-Type", ""), headers.get("Accept", ""))


def _media(reply: Reply, outputs: Tensors) -> str:
    """What to answer in: what the client insists on, else the nearest that can hold the outputs."""
    if reply.insists:
        return reply.media
    for array in outputs.values():
        if array.dtype.hasobject:
            return JSON
    return NPZ if reply.media in (RAW, NPY) and len(outputs) != 1 else reply.media


def _as_json(request: InferenceRequest) -> InferenceRequest:
    return replace(request, form=request.form.json_form)


# NumPy makes the name up each time, which takes longer than all else.
@functools.cache
def _name(dtype: np.dtype[Any]) -> str:
    return dtype.name


# ------------------------------------------------------------------------------------- reading


def _read_raw(body: bytes, spec: TensorSpec) -> Array:
    """The elements of a tensor, whose one free dimension follows from their number."""
    if spec.row_nbytes and spec.numpy_dtype.kind != "b":
        rows, rest = divmod(len(body), spec.row_nbytes)
        if rows and not rest:
            return np.frombuffer(body, spec.numpy_dtype).reshape(rows, *(spec.row_shape or ()))
    known = [size for size in spec.shape or () if size is not None]
    each = math.prod(known) * spec.numpy_dtype.itemsize
    if spec.shape is None or len(spec.shape) - len(known) > 1 or not each:
        msg = f"input {spec.name!r} is {spec}: its shape does not follow from a length, send {NPY}"
        raise InvalidArgument(msg)
    free, rest = divmod(len(body), each)
    if rest or (None not in spec.shape and free != 1):
        times = " or a multiple of it" if None in spec.shape else ""
        msg = f"input {spec.name!r} is {spec}: it takes {each} bytes{times}, got {len(body)}"
        raise DecodeError(msg)
    return from_elements(body, spec, tuple(free if n is None else n for n in spec.shape))
