"""Signatures, read from the metadata that servers of either REST protocol tell. Pure.

Servers of all kinds: what is missing or odd raises one of UNREADABLE.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from server.protocols.oip_tensors import DATATYPES
from server.protocols.tfserving_metadata import DTYPE_NAMES
from server.signature import DEFAULT_SIGNATURE, Shape, Signature, TensorSpec, why_alone

UNREADABLE: Final = (KeyError, TypeError, ValueError, AttributeError)

_OF_DATATYPE: Final = {named: dtype for dtype, named in DATATYPES.items()}
_OF_ENUM: Final = {named: dtype for dtype, named in DTYPE_NAMES.items()}


def from_oip(told: Any) -> Signature:
    """The one signature that the answer to `/v2/models/NAME` tells of. UNREADABLE."""
    inputs, outputs = (
        {tensor["name"]: _oip_spec(tensor) for tensor in told[kind]}
        for kind in ("inputs", "outputs")
    )
    return Signature(DEFAULT_SIGNATURE, inputs, outputs, alone=why_alone(inputs, outputs))


def from_tfserving(told: Any) -> dict[str, Signature]:
    """All signatures in the answer to `/v1/models/NAME/metadata`. UNREADABLE."""
    return {
        name: _signature(name, definition)
        for name, definition in told["metadata"]["signature_def"]["signature_def"].items()
        # What TensorFlow calls by itself has neither.
        if definition.get("inputs") or definition.get("outputs")
    }


def _oip_spec(tensor: Mapping[str, Any]) -> TensorSpec:
    dtype = _OF_DATATYPE.get(tensor["datatype"], tensor["datatype"])
    return TensorSpec(tensor["name"], dtype, _shape(tensor["shape"]))


def _signature(name: str, definition: Mapping[str, Any]) -> Signature:
    inputs, outputs = (
        {key: _tensor_info(key, info) for key, info in definition[kind].items()}
        for kind in ("inputs", "outputs")
    )
    method = str(definition.get("method_name", ""))
    return Signature(name, inputs, outputs, method, why_alone(inputs, outputs))


def _tensor_info(name: str, info: Mapping[str, Any]) -> TensorSpec:
    enum, shape = info["dtype"], info["tensor_shape"]
    dtype = _OF_ENUM.get(enum, enum.removeprefix("DT_").lower())
    # Protobuf's JSON leaves out what is empty or false.
    sizes = None if shape.get("unknown_rank") else _shape(d["size"] for d in shape.get("dim", ()))
    return TensorSpec(name, dtype, sizes, str(info.get("name", "")))


def _shape(sizes: Iterable[Any]) -> Shape:
    return tuple(None if int(size) < 0 else int(size) for size in sizes)
