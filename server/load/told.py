"""The signature of a model, as its server's metadata tells it. Pure."""

from collections.abc import Iterable
from typing import Any, Final

import orjson

from server.protocols.oip_tensors import DATATYPES
from server.protocols.tfserving_metadata import DTYPE_NAMES
from server.signature import DEFAULT_SIGNATURE, Shape, Signature, TensorSpec, why_alone

_OF_ENUM: Final = {named: dtype for dtype, named in DTYPE_NAMES.items()}
_OF_DATATYPE: Final = {named: dtype for dtype, named in DATATYPES.items()}


class NotTold(Exception):
    """The metadata does not tell it; the message says what is missing."""


def read_tfserving(body: bytes, name: str) -> Signature:
    """One of TensorFlow Serving's SignatureDefs; without a name the default one. NotTold."""
    try:
        signatures = orjson.loads(body)["metadata"]["signature_def"]["signature_def"]
        chosen = name or (DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in signatures else min(signatures))
        if chosen not in signatures:
            msg = f"the model has no signature {chosen!r}, only {', '.join(sorted(signatures))}"
            raise NotTold(msg)
        told = signatures[chosen]
        inputs, outputs = (
            {key: _tensor_info(key, info) for key, info in told[kind].items()}
            for kind in ("inputs", "outputs")
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise NotTold(_not_metadata("TensorFlow Serving", body)) from None
    return _signature(chosen, inputs.values(), outputs.values())


def read_oip(body: bytes, name: str) -> Signature:
    """The one signature that the Open Inference Protocol tells of. NotTold."""
    if name:
        msg = "the Open Inference Protocol tells no signatures: give --body for another one"
        raise NotTold(msg)
    try:
        told = orjson.loads(body)
        inputs, outputs = ([_tensor(spec) for spec in told[k]] for k in ("inputs", "outputs"))
    except (ValueError, KeyError, TypeError):
        raise NotTold(_not_metadata("the Open Inference Protocol", body)) from None
    return _signature(DEFAULT_SIGNATURE, inputs, outputs)


def _signature(name: str, inputs: Iterable[TensorSpec], outputs: Iterable[TensorSpec]) -> Signature:
    taken = {spec.name: spec for spec in inputs}
    given = {spec.name: spec for spec in outputs}
    return Signature(name, taken, given, alone=why_alone(taken, given))


def _tensor_info(name: str, info: Any) -> TensorSpec:
    dtype = info["dtype"]
    shape = info["tensor_shape"]
    known = _OF_ENUM.get(dtype, dtype.removeprefix("DT_").lower())
    # Protobuf's JSON leaves out what is empty or false.
    sizes = None if shape.get("unknown_rank") else _shape(d["size"] for d in shape.get("dim", ()))
    return TensorSpec(name, known, sizes)


def _tensor(told: Any) -> TensorSpec:
    datatype = told["datatype"]
    return TensorSpec(told["name"], _OF_DATATYPE.get(datatype, datatype), _shape(told["shape"]))


def _shape(sizes: Iterable[Any]) -> Shape:
    return tuple(None if int(size) < 0 else int(size) for size in sizes)


def _not_metadata(whose: str, body: bytes) -> str:
    return f"no metadata as {whose} has it: {body[:60]!r}"
