"""The tensors of a signature that a request of the Open Inference Protocol names. Pure."""

from collections.abc import Iterable, Mapping

from server.errors import InvalidArgument, Unimplemented
from server.protocols.oip_tensors import DATATYPES
from server.signature import TensorSpec, shape_text


def find_spec(
    name: str, where: str, specs: Mapping[str, TensorSpec], seen: Mapping[str, object]
) -> TensorSpec:
    """Which tensor is meant by a name at this place; each may come once. InvalidArgument."""
    spec = specs.get(name)
    if spec is None:
        known = ", ".join(repr(known) for known in specs) or "none"
        msg = f"{where}: the model has no {name[:64]!r} there; it has {known}"
        raise InvalidArgument(msg)
    if name in seen:
        msg = f"{where}: {name!r} comes twice"
        raise InvalidArgument(msg)
    return spec


def datatype_of(spec: TensorSpec, where: str, told: str | None = None) -> str:
    """The datatype of a tensor, which the client may have told. InvalidArgument."""
    datatype = DATATYPES.get(spec.dtype)
    if datatype is None:
        msg = f"{where} is {spec.dtype}, which this protocol has no datatype for"
        raise InvalidArgument(msg)
    if told is not None and told != datatype:
        msg = f"{where} is {datatype} of the shape {shape_text(spec.shape)}, not {told[:64]!r}"
        raise InvalidArgument(msg)
    return datatype


def refuse_shared_memory(parameters: Iterable[str], where: str) -> None:
    """Refuse a tensor whose parameters say that it is not in the request. Unimplemented."""
    if any(key.startswith("shared_memory_") for key in parameters):
        msg = f"{where}: shared memory is not supported"
        raise Unimplemented(msg)
