"""TensorFlow Serving's command line, as a layer: all flags of its version 2.20. Main thread.

Written after tensorflow/serving, model_servers/main.cc and server.cc. A command line with any of
its flags that has an underscore is in its language: there `--port` is gRPC's, `--rest_api_port` is
HTTP's. Options of ours may stand beside them. Every flag is either taken for a setting of ours, or
accepted with a note that it means nothing here, or refused, if a server that went on without it
would not be what was asked for.
"""

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from server.config import ConfigError
from server.configuration.kinds import FLAG, NONE, TEXT, Kind, real, whole
from server.configuration.layers import Given, Layer, nearest
from server.configuration.settings import GLOBAL
from server.configuration.tfserving_files import read_batching, read_models, read_monitoring
from server.configuration.typed import OF_MODELS, add_model

GRPC_PORT: Final = "8500"
DEFAULT_NAME: Final = "default"

Flags = Mapping[str, str]
"""What was given for each flag, by its name."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag of TensorFlow Serving, and what becomes of it.

    It is taken for `setting` as `typed` translates it; or it means nothing or is refused, for the
    reason `why`, unless its value is one of `as_here`, which is how this server is anyway. One with
    none of these has a function of its own.
    """

    kind: Kind
    setting: str = ""
    typed: Callable[[str], str] = str
    why: str = ""
    refused: bool = False
    as_here: tuple[object, ...] = ()


def _positive(otherwise: str) -> Callable[[str], str]:
    """A number as it is if it is positive; else the word that means the same here."""
    return lambda text: text if float(text) > 0 else otherwise


def _means(setting: str, kind: Kind = FLAG, typed: Callable[[str], str] = str) -> Flag:
    return Flag(kind, setting, typed)


def _nothing(kind: Kind, why: str, *as_here: object) -> Flag:
    return Flag(kind, why=why, as_here=as_here)


def _refused(kind: Kind, why: str, *as_here: object) -> Flag:
    return Flag(kind, why=why, refused=True, as_here=as_here)


_NUMBER: Final = whole()
_SIZED: Final = "the server sizes its threads itself"
_LOADS: Final = "models are loaded one after the other, on a thread of their own"
_RETRY: Final = "what failed to load is tried again when its files change"
_TFLITE: Final = "to serve a .tflite file, give its path"
_TLS: Final = "put a proxy with TLS in front"

FLAGS: Final[Mapping[str, Flag]] = {
    # Where it listens.
    "port": _means("grpc_port", _NUMBER, _positive(NONE)),
    "rest_api_port": _means("port", _NUMBER),
    "rest_api_enable_cors_support": _means("cors"),
    "grpc_socket_path": _refused(TEXT, "gRPC listens on a port only", ""),
    "ssl_config_file": _refused(TEXT, _TLS, ""),
    "use_alts_credentials": _refused(FLAG, _TLS, False),
    "rest_api_num_threads": _nothing(_NUMBER, "one event loop serves all connections"),
    "grpc_max_threads": _nothing(_NUMBER, "one event loop serves all connections"),
    "grpc_channel_arguments": _nothing(TEXT, "gRPC's channel has settings of its own", ""),
    "rest_api_timeout_in_ms": _nothing(
        _NUMBER, "clients say how long they wait; --max-wait-ms and --run-timeout bound it"
    ),
    "enable_grpc_healthcheck_service": _nothing(FLAG, "it is always there", True),
    "enable_profiler": _nothing(FLAG, "there is no profiler service", False),
    "enable_serialization_as_tensor_content": _nothing(FLAG, "answers are always so", True),
    "monitoring_config_file": Flag(TEXT),
    # Which models.
    "model_name": Flag(TEXT),
    "model_base_path": Flag(TEXT),
    "model_config_file": Flag(TEXT),
    "model_config_file_poll_wait_seconds": _means("reread_interval", _NUMBER, _positive("never")),
    "file_system_poll_wait_seconds": _means("poll_interval", _NUMBER, _positive("never")),
    "allow_version_labels_for_unavailable_models": _nothing(FLAG, "labels may always be so", True),
    "saved_model_tags": _refused(TEXT, "what is exported for 'serve' is served", "", "serve"),
    "platform_config_file": _refused(TEXT, "platforms are formats of models, told by content", ""),
    "num_load_threads": _nothing(_NUMBER, _LOADS, 0),
    "num_unload_threads": _nothing(_NUMBER, _LOADS, 0),
    "max_num_load_retries": _nothing(_NUMBER, _RETRY),
    "load_retry_interval_micros": _nothing(_NUMBER, _RETRY),
    "flush_filesystem_caches": _nothing(FLAG, "the system decides about its caches"),
    "enable_model_warmup": _nothing(FLAG, "models are always warmed up", True),
    "num_request_iterations_for_warmup": _nothing(_NUMBER, "each request runs once", 0, 1),
    "enable_signature_method_name_check": _nothing(FLAG, "method names are not looked at", False),
    "remove_unused_fields_from_bundle_metagraph": _nothing(FLAG, "TensorFlow decides"),
    "prefer_tflite_model": _nothing(FLAG, _TFLITE, False),
    "num_tflite_pools": _nothing(_NUMBER, _SIZED),
    "num_tflite_interpreters_per_pool": _nothing(_NUMBER, _SIZED),
    # How they run.
    "enable_batching": _nothing(FLAG, "requests run together anyway, when the model is busy", True),
    "batching_parameters_file": Flag(TEXT),
    "enable_per_model_batching_parameters": _nothing(
        FLAG, "say settings of one model by --set MODEL.SETTING=VALUE", False
    ),
    "tensorflow_session_parallelism": Flag(_NUMBER),
    "tensorflow_intra_op_parallelism": Flag(_NUMBER),
    "tensorflow_inter_op_parallelism": Flag(_NUMBER),
    "tensorflow_session_config_file": _nothing(
        TEXT, "say threads and devices by --intra-op-threads, --inter-op-threads and --device", ""
    ),
    "thread_pool_factory_config_file": _nothing(TEXT, _SIZED, ""),
    "per_process_gpu_memory_fraction": _nothing(
        real(), "memory is taken as it is needed; --gpu-memory-limit-mb bounds it", 0.0
    ),
    "mixed_precision": _nothing(TEXT, "models run in the precision they were exported with", ""),
    "xla_cpu_compilation_enabled": _nothing(FLAG, "TensorFlow decides"),
    "xla_gpu_compilation_enabled": _nothing(FLAG, "TensorFlow decides"),
    "skip_initialize_tpu": _nothing(FLAG, "there are no TPUs here"),
}
"""All but `version`, which is ours as well."""

_WORD: Final = re.compile(r"--?([A-Za-z]\w*)(?:=(.*))?", re.ASCII | re.DOTALL)


# ---------------------------------------------------------------------------- the command line


def split(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Take TensorFlow Serving's flags out of a command line, if it has any. ConfigError.

    A flag has its value behind `=` or in the next word; a switch may have none. Given twice, the
    last counts.
    """
    if not any(_is_its_own(word) for word in arguments):
        return list(arguments), {}
    rest: list[str] = []
    flags: dict[str, str] = {}
    words = deque(arguments)
    while words:
        word = words.popleft()
        found = _WORD.fullmatch(word)
        if found is None or not (found[1] in FLAGS or _is_its_own(word)):
            rest.append(word)
            continue
        name, value = found[1], found[2]
        _check_known(name)
        flags[name] = _next_value(name, words) if value is None else value
    return rest, flags


def _next_value(name: str, words: deque[str]) -> str:
    kind = FLAGS[name].kind
    if kind is FLAG and not (words and words[0].lower() in {"true", "false"}):
        return "true"
    if not words:
        msg = f"--{name}: expected {kind.expected}, nothing came"
        raise ConfigError(msg)
    return words.popleft()


def _is_its_own(word: str) -> bool:
    found = _WORD.fullmatch(word)
    return found is not None and "_" in found[1]


def _check_known(name: str) -> None:
    if name not in FLAGS:
        ours = [each.replace("_", "-") for each in (*GLOBAL, *OF_MODELS)]
        near = nearest(f"--{name}", [f"--{each}" for each in (*FLAGS, *ours)])
        msg = f"--{name}: TensorFlow Serving has no such flag{near}"
        raise ConfigError(msg)


# ------------------------------------------------------------------------------- what they mean


def from_flags(flags: Flags) -> tuple[list[Layer], list[str]]:
    """The layer of these flags, that of what TensorFlow Serving does by default, and notes.

    ConfigError names the flag, or file and key.
    """
    if not flags:
        return [Layer(), Layer()], []
    layer, notes = Layer(), [_understood(flags)]
    for name, text in flags.items():
        _check(name, text)
        flag = FLAGS[name]
        if flag.setting:
            layer.server[flag.setting] = _given(name, flag.typed(text))
        elif flag.why and flag.kind.read(text) not in flag.as_here:
            notes.append(f"--{name} means nothing here: {flag.why}")
    if flags.get("rest_api_port") == "0":
        notes.append(
            "--rest_api_port=0: HTTP is never off here, it has a port of the system's choice"
        )
    _add_threads(layer, flags)
    notes += _add_files(layer, flags)
    _add_models(layer, flags)
    return [layer, _defaults()], notes


def _understood(flags: Flags) -> str:
    told = ", ".join(f"--{name}" for name in flags)
    return (
        f"taken for a command line of TensorFlow Serving, because of {told}: there --port is gRPC's"
        f" ({GRPC_PORT} without it) and --rest_api_port HTTP's; --host says who may connect"
    )


def _check(name: str, text: str) -> None:
    flag = FLAGS[name]
    try:
        value = flag.kind.read(text)
    except ValueError:
        msg = f"--{name}: expected {flag.kind.expected}, not {text!r}"
        raise ConfigError(msg) from None
    if flag.refused and value not in flag.as_here:
        msg = f"--{name}: this server does not have it: {flag.why}"
        raise ConfigError(msg)


def _given(name: str, *texts: str) -> Given:
    return Given(texts, f"option --{name}", f"--{name}")


def _add_threads(layer: Layer, flags: Flags) -> None:
    """Both kinds of threads at once, or each; as in server.cc, not both ways."""
    session, intra, inter = (
        f"tensorflow_{kind}_parallelism" for kind in ("session", "intra_op", "inter_op")
    )
    told = [name for name in (session, intra, inter) if int(flags.get(name, "0")) > 0]
    if len(told) == 3:  # noqa: PLR2004 - all of them
        msg = f"--{session}: expected it, or --{intra} and --{inter}, not all three"
        raise ConfigError(msg)
    for name, setting in ((intra, "intra_op_threads"), (inter, "inter_op_threads")):
        chosen = session if told == [session] else name
        if chosen in told:
            layer.server[setting] = _given(chosen, flags[chosen])


def _add_files(layer: Layer, flags: Flags) -> list[str]:
    """What the files give that flags name; notes."""
    notes: list[str] = []
    if file := flags.get("batching_parameters_file"):
        batching, told = read_batching(Path(file))
        layer.server.update(batching.server)
        notes += told
    if file := flags.get("monitoring_config_file"):
        layer.server.update(read_monitoring(Path(file)).server)
    if file := flags.get("model_config_file"):
        models, told = read_models(Path(file))
        layer.models.update(models.models)
        notes += told
    return notes


def _add_models(layer: Layer, flags: Flags) -> None:
    """The one model of the flags; with a file of models they are ignored, as main.cc says."""
    if flags.get("model_config_file"):
        return
    if path := flags.get("model_base_path"):
        add_model(layer, flags.get("model_name", DEFAULT_NAME), _given("model_base_path", path))
    elif "model_name" in flags:
        msg = "--model_name: expected a --model_base_path besides it"
        raise ConfigError(msg)


def _defaults() -> Layer:
    """TensorFlow Serving serves gRPC unless told otherwise; so do we, if we can."""
    if find_spec("grpc") is None:
        return Layer()
    return Layer({"grpc_port": Given((GRPC_PORT,), "TensorFlow Serving's default", "--port")})
