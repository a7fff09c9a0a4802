"""What `inspect --json` writes. Pure.

    path, name, version, format, platform
    versions       of each: version, format (null: none), error (null: none), served
    files, file_bytes
    memory_bytes   by how much the process grew while it loaded the model; null if unknown
    load_seconds
    signatures     of each:
        name, method_name
        batchable, alone_because      why its requests share no batches; null if they do
        inputs, outputs               of each: name, dtype, shape (-1: any size; null: any rank),
                                      tensor_name (null: none), quantized (null: not);
                                      inputs: default (null: none; of many elements: "...")
        features                      of the serialized Examples that its only input is, of each:
                                      name, dtype, shape
        refused                       why it refused the sample; null if it did not
        measured                      of each: rows, seconds (the median), runs
        samples                       of each: protocol, title, language ("sh" or "python"),
                                      text (null: none), why_not (null: there is a text)

Keys are never taken away, and always there.
"""

from typing import Any, Final

from server.inspection import InspectedSignature, Inspection
from server.samples import Target, samples
from server.samples.values import text_or_base64
from server.signature import Array, Signature, TensorSpec

MOST_SHOWN: Final = 16
"""Elements of a default, beyond which it is not shown."""


def told(found: Inspection, target: Target) -> dict[str, Any]:
    """The object."""
    return {
        "path": str(found.path),
        "name": target.name,
        "version": found.version,
        "format": found.format,
        "platform": found.platform,
        "versions": [
            {
                "version": each.version,
                "format": each.format or None,
                "error": each.error or None,
                "served": each.version == found.version,
            }
            for each in found.versions
        ],
        "files": found.files,
        "file_bytes": found.file_bytes,
        "memory_bytes": found.memory_bytes,
        "load_seconds": round(found.load_seconds, 4),
        "signatures": [_signature(each, target) for each in found.signatures],
    }


def _signature(each: InspectedSignature, target: Target) -> dict[str, Any]:
    signature = each.signature
    return {
        "name": signature.name,
        "method_name": signature.method_name,
        "batchable": signature.batchable,
        "alone_because": signature.alone or None,
        "inputs": [
            _tensor(spec, each) | {"default": _default(signature, name)}
            for name, spec in signature.inputs.items()
        ],
        "outputs": [_tensor(spec, each) for spec in signature.outputs.values()],
        "features": [
            {"name": name, "dtype": feature.spec.dtype, "shape": _shape(feature.spec)}
            for name, feature in (each.request.features if each.request else {}).items()
        ],
        "refused": each.refused or None,
        "measured": [
            {"rows": m.rows, "seconds": round(m.seconds, 7), "runs": m.runs} for m in each.measured
        ],
        "samples": [
            {
                "protocol": sample.protocol,
                "title": sample.title,
                "language": sample.language,
                "text": sample.text or None,
                "why_not": sample.why_not or None,
            }
            for sample in (samples(target, each.request) if each.request else ())
        ],
    }


def _tensor(spec: TensorSpec, each: InspectedSignature) -> dict[str, Any]:
    return {
        "name": spec.name,
        "dtype": spec.dtype,
        "shape": _shape(spec),
        "tensor_name": spec.tensor_name or None,
        "quantized": each.quantized.get(spec.name),
    }


def _shape(spec: TensorSpec) -> list[int] | None:
    return None if spec.shape is None else [-1 if size is None else size for size in spec.shape]


def _default(signature: Signature, name: str) -> Any:
    default = signature.defaults.get(name)
    return None if default is None else default_value(default)


def default_value(array: Array) -> Any:
    """A default as nested lists of what JSON has; "..." if it is long."""
    if array.size > MOST_SHOWN:
        return "..."
    return _listed(array.tolist())


def _listed(value: Any) -> Any:
    if isinstance(value, list):
        return [_listed(part) for part in value]
    return str(value) if isinstance(value, complex) else text_or_base64(value)
