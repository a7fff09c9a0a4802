"""What the Open Inference Protocol tells about the server and its models, as plain dicts. Pure.

Keys are those of the JSON answers, which are the field names of the protobuf messages as well;
counts, sizes and nanoseconds are integers, as readers of either form expect.
"""

from collections.abc import Sequence
from typing import Any, Final

from server.errors import Unavailable
from server.inference import ModelAddress, ServedModel, VersionState
from server.protocols.oip_tensors import datatype
from server.protocols.protocol import Serving
from server.signature import DEFAULT_SIGNATURE, Signature, TensorSpec
from server.statistics import Duration, VersionStatistics

SERVER_NAME: Final = "batcher-server"
EXTENSIONS: Final = (
    "binary_tensor_data",
    "classification",
    "logging",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "parameters",
    "schedule_policy",
    "statistics",
    "trace",
)

READY: Final = "READY"
_STATES: Final = {
    "START": "LOADING",
    "LOADING": "LOADING",
    "AVAILABLE": READY,
    "UNLOADING": "UNLOADING",
    "END": "UNAVAILABLE",
}
"""The states of a version -> what the repository extension calls them."""
_UNLOADED: Final = "unloaded"


def default_signature(model: ServedModel) -> Signature:
    """The signature that is meant when a client names none: serving_default, else the first."""
    signatures = model.signatures
    return signatures.get(DEFAULT_SIGNATURE) or signatures[min(signatures)]


def server_metadata(serving: Serving) -> dict[str, Any]:
    """Name, version and extensions."""
    return {"name": SERVER_NAME, "version": serving.version, "extensions": list(EXTENSIONS)}


def model_ready(serving: Serving, address: ModelAddress) -> bool:
    """Whether a model takes requests. NotFound."""
    try:
        serving.find(address)
    except Unavailable:
        return False
    return serving.ready


def model_metadata(serving: Serving, address: ModelAddress) -> dict[str, Any]:
    """The tensors of the default signature, batch dimension included, -1 for any size.

    `versions` are all that are ready, or the one that was asked for. NotFound, Unavailable.
    """
    model = serving.find(address)
    signature = default_signature(model)
    return {
        "name": model.name,
        "versions": _versions(serving, model, address),
        "platform": model.platform,
        "inputs": [_tensor(spec) for spec in signature.inputs.values()],
        "outputs": [_tensor(spec) for spec in signature.outputs.values()],
    }


def model_config(serving: Serving, address: ModelAddress) -> dict[str, Any]:
    """Triton's ModelConfig, as far as it says something here. NotFound, Unavailable."""
    model = serving.find(address)
    return config_of(model, _versions(serving, model, ModelAddress(model.name)))


def config_of(model: ServedModel, versions: Sequence[str]) -> dict[str, Any]:
    """The ModelConfig of a model whose `versions` are ready.

    `max_batch_size` is 0 for a model whose requests run alone, as Triton has it; then `dims` are
    whole shapes, otherwise they lack the batch dimension.
    """
    signature = default_signature(model)
    batches = signature.batchable
    config = {
        "name": model.name,
        "platform": model.platform,
        "backend": model.platform.partition("_")[0],
        "version_policy": {"specific": {"versions": [int(version) for version in versions]}},
        "max_batch_size": model.max_batch_size if batches else 0,
        "input": [
            _config(spec, batches=batches) | {"is_shape_tensor": False, "optional": False}
            for spec in signature.inputs.values()
        ],
        "output": [_config(spec, batches=batches) for spec in signature.outputs.values()],
        "instance_group": [{"name": model.name, "kind": "KIND_AUTO", "count": 1}],
        "model_transaction_policy": {"decoupled": False},
    }
    if batches:
        config["dynamic_batching"] = {
            "preferred_batch_size": [model.max_batch_size],
            "preserve_ordering": False,
        }
    return config


def statistics(serving: Serving, address: ModelAddress | None) -> dict[str, Any]:
    """What the requests of versions went through; None: of all models. NotFound."""
    return {"model_stats": [_statistics(of) for of in serving.statistics(address)]}


def repository_index(serving: Serving, ready: bool) -> list[dict[str, Any]]:  # noqa: FBT001 - the field's name
    """All versions of all models; only those that take requests, if `ready`."""
    return [
        entry
        for name in serving.names()
        for state in serving.states(ModelAddress(name))
        if (entry := _entry(name, state))["state"] == READY or not ready
    ]


def _versions(serving: Serving, model: ServedModel, address: ModelAddress) -> list[str]:
    if address.version is not None:
        return [str(address.version)]
    states = serving.states(ModelAddress(model.name))
    return sorted((str(s.version) for s in states if _STATES[s.state] == READY), key=int)


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    # A shape of any rank has no form in the protocol; one dimension of any size comes closest.
    sizes = (None,) if spec.shape is None else spec.shape
    return {
        "name": spec.name,
        "datatype": datatype(spec.dtype),
        "shape": [-1 if size is None else size for size in sizes],
    }


def _config(spec: TensorSpec, *, batches: bool) -> dict[str, Any]:
    tensor = _tensor(spec)
    named = "STRING" if tensor["datatype"] == "BYTES" else tensor["datatype"]
    shape = tensor["shape"]
    return {
        "name": spec.name,
        "data_type": f"TYPE_{named}",
        "dims": shape[1:] if batches and spec.shape is not None else shape,
    }


def _statistics(of: VersionStatistics) -> dict[str, Any]:
    never = Duration()
    return {
        "name": of.name,
        "version": str(of.version),
        "last_inference": int(of.last_inference * 1000),
        "inference_count": of.rows,
        "execution_count": sum(ran.count for ran in of.batches.values()),
        "inference_stats": {
            "success": _duration(of.success),
            "fail": _duration(of.fail),
            "queue": _duration(of.queue),
            "compute_input": _duration(of.compute_input),
            "compute_infer": _duration(of.compute_infer),
            "compute_output": _duration(of.compute_output),
            "cache_hit": _duration(never),
            "cache_miss": _duration(never),
        },
        "response_stats": {},
        "batch_stats": [_batches(size, of.batches[size]) for size in sorted(of.batches)],
        "memory_usage": [],
    }


def _batches(size: int, ran: Duration) -> dict[str, Any]:
    # Bodies are read and written for each request, not for a batch: no time of a batch is theirs.
    beside = _duration(Duration(ran.count))
    return {
        "batch_size": size,
        "compute_input": beside,
        "compute_infer": _duration(ran),
        "compute_output": beside,
    }


def _duration(duration: Duration) -> dict[str, int]:
    return {"count": duration.count, "ns": round(duration.seconds * 1e9)}


def _entry(name: str, state: VersionState) -> dict[str, Any]:
    shown = _STATES[state.state]
    entry = {"name": name, "version": str(state.version), "state": shown}
    if state.error or state.state == "END":
        entry["reason"] = state.error or _UNLOADED
    return entry
