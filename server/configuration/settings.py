"""The settings there are: their names, what they may be, what they are by default. Pure.

A setting is a line here, a field of `Config` or `ModelConfig`, and a line in `build`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from server.config import LOG_LEVELS, MAX_PORT, Config
from server.configuration.kinds import (
    AXIS,
    DEVICE,
    FLAG,
    LABELS,
    MODEL_PATH,
    NONE,
    PADDING,
    PATH,
    TEXT,
    URL_PATH,
    VERSIONS,
    WHOLE_NUMBERS,
    Kind,
    choice,
    optional,
    real,
    whole,
)

PREFIX: Final = "BATCHER_"


@dataclass(frozen=True, slots=True)
class Setting:
    """Something that an operator may set.

    `default` is what one would type to get it. What is `repeatable` may be given several times, and
    has a tuple of values. Of what is `secret`, the environment has the contents, not the path.
    """

    name: str
    kind: Kind
    default: str
    help: str
    metavar: str
    repeatable: bool = False
    secret: bool = False

    @property
    def option(self) -> str:
        """Its option on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return f"{PREFIX}{self.name.upper()}"


_D: Final = Config()
_M: Final = _D.models[0]
_FLAG: Final = ""
_PORT: Final = whole(0, MAX_PORT)

SERVER: Final = (
    Setting("host", TEXT, _D.host, "Address to listen on.", "ADDRESS"),
    Setting(
        "port", _PORT, str(_D.port), "Port to listen on; 0 picks a free one and prints it.", "PORT"
    ),
    Setting(
        "grpc_port", optional(_PORT), NONE, "Port for gRPC; 0 picks a free one, none: off.", "PORT"
    ),
    Setting(
        "max_body_size",
        whole(1),
        str(_D.max_body_size),
        "Most bytes of a request's body; beyond it clients are answered 413.",
        "BYTES",
    ),
    Setting(
        "drain_delay",
        real(),
        str(_D.drain_delay),
        "Seconds after SIGTERM in which new requests are answered 503, before the port closes.",
        "SECONDS",
    ),
    Setting(
        "drain_timeout",
        real(),
        str(_D.drain_timeout),
        "Seconds that accepted requests have to finish after SIGTERM.",
        "SECONDS",
    ),
    Setting(
        "log_level",
        choice(*LOG_LEVELS),
        _D.log_level,
        "The least important log entries to write.",
        f"[{'|'.join(LOG_LEVELS)}]",
    ),
    Setting(
        "metrics_path",
        URL_PATH,
        _D.metrics_path,
        "Where Prometheus finds the metrics besides /metrics, with TensorFlow Serving's names.",
        "/PATH",
    ),
    Setting(
        "otel", FLAG, "false", "Leave spans for OpenTelemetry, as OTEL_... variables say.", _FLAG
    ),
    Setting("cors", FLAG, "false", "Let pages of other origins use the models.", _FLAG),
    Setting(
        "tokens",
        optional(PATH),
        NONE,
        "Answer those who have a token in this file, besides probes; or in BATCHER_TOKENS.",
        "FILE",
        secret=True,
    ),
    Setting(
        "admin", FLAG, "false", "Let administrators change models, logging and tracing.", _FLAG
    ),
    Setting(
        "admin_tokens",
        optional(PATH),
        NONE,
        "Who they are: those who have a token in this file; or in BATCHER_ADMIN_TOKENS.",
        "FILE",
        secret=True,
    ),
    Setting(
        "allowed_host",
        TEXT,
        "",
        "A host name by which administrators reach this server; repeatable.",
        "NAME",
        repeatable=True,
    ),
    Setting(
        "model_root",
        PATH,
        "",
        "A folder below which administrators may bring models; repeatable.",
        "FOLDER",
        repeatable=True,
    ),
    Setting(
        "poll_interval",
        optional(real(more=True), "never", NONE, "0"),
        str(_D.poll_interval),
        "Seconds between two looks for new versions of models; 0 or never: only when asked.",
        "SECONDS",
    ),
    Setting(
        "reread_interval",
        optional(real(more=True), "never", NONE, "0"),
        "never",
        "Seconds between two looks for changes of the configuration; never: only on SIGHUP.",
        "SECONDS",
    ),
    Setting(
        "intra_op_threads",
        optional(whole(1)),
        NONE,
        "Threads for one operation of a model; none: sized to the machine.",
        "N",
    ),
    Setting(
        "inter_op_threads",
        optional(whole(1)),
        NONE,
        "Operations of a model at the same time; none: sized to the machine.",
        "N",
    ),
    Setting(
        "gpu_memory_growth",
        FLAG,
        "true",
        "Take memory of a GPU as it is needed, not all at once.",
        _FLAG,
    ),
    Setting(
        "gpu_memory_limit_mb", optional(whole(1)), NONE, "Most memory of each GPU to take.", "MB"
    ),
)
"""Settings of the whole server."""

MODEL: Final = (
    Setting(
        "versions",
        VERSIONS,
        str(_M.policy),
        "Which versions in a base folder to serve: latest, latest N, all, or their numbers.",
        "POLICY",
    ),
    Setting(
        "max_batch_size", whole(1), str(_M.max_batch_size), "Most rows that run together.", "ROWS"
    ),
    Setting(
        "batch_timeout_ms",
        real(),
        f"{_M.batch_timeout * 1000}",
        "How long a request may wait for company while the model is idle.",
        "MS",
    ),
    Setting(
        "regroup",
        FLAG,
        "true",
        "Let clients that ask again at once share one batch, where that takes less than two.",
        _FLAG,
    ),
    Setting(
        "prefetch",
        FLAG,
        "true",
        "Put a full batch together while another one runs.",
        _FLAG,
    ),
    Setting(
        "max_queue_size",
        whole(1),
        str(_M.max_queue_size),
        "Most rows that may wait; beyond it clients are answered 503.",
        "ROWS",
    ),
    Setting(
        "max_queue_bytes",
        optional(whole(1)),
        NONE,
        "Most bytes of input that may wait; beyond it clients are answered 503.",
        "BYTES",
    ),
    Setting(
        "max_wait_ms",
        optional(real()),
        NONE,
        "Refuse at once, by 503, who is predicted to wait longer.",
        "MS",
    ),
    Setting(
        "allowed_batch_sizes",
        WHOLE_NUMBERS,
        "",
        "The only sizes to run, ascending to the largest; others are padded.",
        "N,N,...",
    ),
    Setting(
        "run_timeout",
        optional(real(more=True)),
        NONE,
        "Seconds after which a call of a model is taken to hang.",
        "SECONDS",
    ),
    Setting(
        "ageing",
        real(more=True),
        str(_M.ageing),
        "Seconds of waiting that count as much as one level of priority.",
        "SECONDS",
    ),
    Setting(
        "pad",
        PADDING,
        "",
        "An axis of any length, and what to pad it with; repeatable.",
        "INPUT:AXIS=VALUE",
        repeatable=True,
    ),
    Setting("pad_to", WHOLE_NUMBERS, "", "The lengths to pad to, ascending.", "N,N,..."),
    Setting(
        "cut",
        AXIS,
        "",
        "An axis of an output to cut back to the length before padding; repeatable.",
        "OUTPUT:AXIS",
        repeatable=True,
    ),
    Setting("pad_mask", TEXT, "", "An input to fill with 1 for values and 0 for padding.", "INPUT"),
    Setting(
        "device", DEVICE, _M.device, "Where models run: cpu, gpu:1; left to TensorFlow.", "DEVICE"
    ),
)
"""Settings of a model, and of all models that have none of their own."""

MODEL_PLACE: Final = Setting(
    "path", MODEL_PATH, "", "The model, or its base folder, or module:function.", "PATH"
)
MODEL_LABELS: Final = Setting("labels", LABELS, "", "Names for versions.", "LABEL=VERSION,...")

GLOBAL: Final[Mapping[str, Setting]] = {setting.name: setting for setting in (*SERVER, *MODEL)}
"""What may be said of the whole server."""

OF_A_MODEL: Final[Mapping[str, Setting]] = {
    setting.name: setting for setting in (MODEL_PLACE, MODEL_LABELS, *MODEL)
}
"""What may be said of one model."""
