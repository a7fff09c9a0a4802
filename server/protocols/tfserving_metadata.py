"""Status and signatures of a model, as TensorFlow Serving's REST API tells them. Pure.

They are the JSON of protobuf messages (GetModelStatusResponse, SignatureDefMap): numbers of 64 bits
are strings, and what is empty is written all the same.
"""

import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Final

from server.inference import ServedModel, VersionState
from server.signature import Array, Shape, Signature, TensorSpec

DTYPE_NAMES: Final = {"float32": "DT_FLOAT", "float64": "DT_DOUBLE", "float16": "DT_HALF"}
"""What TensorFlow's enumeration calls dtypes; all others by their own names."""


def status(states: Sequence[VersionState]) -> dict[str, Any]:
    """The states of versions, in their order."""
    return {
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


def metadata(model: ServedModel) -> dict[str, Any]:
    """The signatures, without the one by which TensorFlow initializes a model."""
    signatures = {name: _signature_def(s) for name, s in model.signatures.items()}
    return {
        "model_spec": {"name": model.name, "signature_name": "", "version": str(model.version)},
        "metadata": {"signature_def": {"signature_def": signatures}},
    }


def _signature_def(signature: Signature) -> dict[str, Any]:
    return {
        "inputs": _tensor_infos(signature.inputs),
        "outputs": _tensor_infos(signature.outputs),
        "method_name": signature.method_name,
        "defaults": {
            name: _tensor_proto(array, signature.inputs[name].dtype)
            for name, array in signature.defaults.items()
        },
    }


def _tensor_infos(specs: Mapping[str, TensorSpec]) -> dict[str, Any]:
    return {
        name: {
            "dtype": _enum(spec.dtype),
            "tensor_shape": _shape(spec.shape),
            "name": spec.tensor_name,
        }
        for name, spec in specs.items()
    }


def _tensor_proto(array: Array, dtype: str) -> dict[str, Any]:
    """A tensor; what is bytes in protobuf is base64 in its JSON."""
    told: dict[str, Any] = {"dtype": _enum(dtype), "tensor_shape": _shape(array.shape)}
    if array.dtype.hasobject:
        return told | {"string_val": [_base64(value) for value in array.ravel().tolist()]}
    return told | {"tensor_content": _base64(array.tobytes())}


def _base64(value: bytes) -> str:
    return binascii.b2a_base64(value, newline=False).decode()


def _enum(dtype: str) -> str:
    return DTYPE_NAMES.get(dtype, f"DT_{dtype.upper()}")


def _shape(shape: Shape | None) -> dict[str, Any]:
    return {
        "dim": [{"size": str(-1 if size is None else size), "name": ""} for size in shape or ()],
        "unknown_rank": shape is None,
    }
