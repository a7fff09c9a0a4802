"""TensorFlow Serving's own configuration files, in protobuf's text form, as a layer. Main thread.

Written after tensorflow/serving: config/model_server_config.proto, config/monitoring_config.proto,
servables/tensorflow/session_bundle_config.proto. What means nothing here leaves a note.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from server.config import TENSORFLOW_SERVING_METRICS, ConfigError
from server.configuration.files import text_of
from server.configuration.layers import Given, Layer
from server.configuration.typed import add_model
from server.errors import DecodeError
from server.protocols.wire import message, parse_text

LARGEST_BATCH: Final = 1000
"""Rows of a batch that nobody bounded, by which `max_enqueued_batches` counts."""

_PLATFORM: Final = "tensorflow"
_SETTINGS: Final = {
    "base_path": "path",
    "model_version_policy": "versions",
    "version_labels": "labels",
}
"""Keys of a model there -> its settings here."""

_NO_MEANING: Final[Mapping[str, str]] = {
    "num_batch_threads": "the models of one device run on one thread",
    "thread_pool_name": "the models of one device run on one thread",
    "pad_variable_length_inputs": (
        "inputs of other shapes run in batches of their own; to pad them, say which by --pad"
    ),
}
"""Batching parameters -> why they mean nothing here."""


def read_models(file: Path) -> tuple[Layer, list[str]]:
    """The models of a `--model_config_file`, and notes. ConfigError names file and key."""
    config = _read(file, "ModelServerConfig")
    if config.WhichOneof("config") == "custom_model_config":
        msg = f"{file}: custom_model_config cannot be served here: expected a model_config_list"
        raise ConfigError(msg)
    models = list(config.model_config_list.config)
    if not models:
        msg = f"{file}: model_config_list: expected at least one config"
        raise ConfigError(msg)
    layer, notes = Layer(), []
    for number, model in enumerate(models, 1):
        told = f"model {model.name!r}" if model.name else f"config number {number}"
        place = f"{file}: model_config_list: {told}"
        _check_model(place, model)
        for key, text in _of_model(place, model):
            given = Given((text,), f"model_config_file {file}", f"{place}: {key}", _folder(file))
            setting = _SETTINGS[key]
            if setting == "path":
                add_model(layer, model.name, given)
            else:
                layer.of_model(model.name)[setting] = given
        if model.HasField("logging_config"):
            notes.append(f"{place}: logging_config means nothing here: no requests are recorded")
    return layer, notes


def _check_model(place: str, model: Any) -> None:
    for key in ("name", "base_path"):
        if not getattr(model, key):
            msg = f"{place}: it has no {key}"
            raise ConfigError(msg)
    if model.model_platform not in ("", _PLATFORM):
        msg = f"{place}: model_platform: expected {_PLATFORM!r}, not {model.model_platform!r}"
        raise ConfigError(msg)
    kind = type(model).DESCRIPTOR.fields_by_name["model_type"].enum_type
    if model.model_type == kind.values_by_name["OTHER"].number:
        msg = f"{place}: model_type: expected TENSORFLOW, not OTHER"
        raise ConfigError(msg)


def _of_model(place: str, model: Any) -> Iterator[tuple[str, str]]:
    """Keys of a model, and what one would type for them."""
    yield "base_path", model.base_path
    policy = model.model_version_policy
    chosen = policy.WhichOneof("policy_choice")
    if chosen == "all":
        yield "model_version_policy", "all"
    elif chosen == "specific":
        if not policy.specific.versions:
            msg = f"{place}: model_version_policy: specific: expected versions"
            raise ConfigError(msg)
        yield "model_version_policy", ",".join(map(str, policy.specific.versions))
    elif chosen == "latest":
        # 0 is what TensorFlow Serving takes for 1.
        yield "model_version_policy", f"latest {policy.latest.num_versions or 1}"
    if model.version_labels:
        labels = [f"{label}={number}" for label, number in sorted(model.version_labels.items())]
        yield "version_labels", ",".join(labels)


def read_batching(file: Path) -> tuple[Layer, list[str]]:
    """The settings of all models in a `--batching_parameters_file`, and notes. ConfigError."""
    parameters = _read(file, "BatchingParameters")
    layer = Layer()
    for key, setting, text in _batching(parameters):
        origin, place = f"batching_parameters_file {file}", f"{file}: {key}"
        layer.server[setting] = Given((text,), origin, place)
    notes = [
        f"{file}: {field.name} means nothing here: {_NO_MEANING[field.name]}"
        for field, _ in parameters.ListFields()
        if field.name in _NO_MEANING
    ]
    return layer, notes


def _batching(parameters: Any) -> Iterator[tuple[str, str, str]]:
    """Keys of the file, the settings that they mean, and what one would type for these."""
    key, largest = _largest_batch(parameters)
    if key:
        yield key, "max_batch_size", str(largest)
    if parameters.allowed_batch_sizes:
        sizes = ",".join(map(str, parameters.allowed_batch_sizes))
        yield "allowed_batch_sizes", "allowed_batch_sizes", sizes
    if parameters.HasField("batch_timeout_micros"):
        micros = parameters.batch_timeout_micros.value
        yield "batch_timeout_micros", "batch_timeout_ms", str(micros / 1000)
    if parameters.HasField("max_enqueued_batches"):
        rows = parameters.max_enqueued_batches.value * largest
        yield "max_enqueued_batches", "max_queue_size", str(rows)


def _largest_batch(parameters: Any) -> tuple[str, int]:
    """The key that says how many rows may run together, "" if none does, and how many."""
    key = "max_execution_batch_size"
    if parameters.enable_large_batch_splitting.value and parameters.HasField(key):
        # Larger requests are always cut here: what counts is how much runs together.
        return key, parameters.max_execution_batch_size.value
    if parameters.HasField("max_batch_size"):
        return "max_batch_size", parameters.max_batch_size.value
    if parameters.allowed_batch_sizes:
        return "allowed_batch_sizes", parameters.allowed_batch_sizes[-1]
    return "", LARGEST_BATCH


def read_monitoring(file: Path) -> Layer:
    """The settings in a `--monitoring_config_file`. ConfigError."""
    layer = Layer()
    prometheus = _read(file, "MonitoringConfig").prometheus_config
    if prometheus.enable:
        layer.server["metrics_path"] = Given(
            (prometheus.path or TENSORFLOW_SERVING_METRICS,),
            f"monitoring_config_file {file}",
            f"{file}: prometheus_config: path",
        )
    return layer


def _read(file: Path, kind: str) -> Any:
    try:
        return parse_text(message(f"tensorflow.serving.{kind}"), text_of(file))
    except DecodeError as error:
        msg = f"{file}: {error}"
        raise ConfigError(msg) from None


def _folder(file: Path) -> Path:
    return file.absolute().parent
