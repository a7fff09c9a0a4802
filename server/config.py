"""What an operator can choose: for the whole server, and for each model. Pure.

Every value is checked when a configuration is made; ConfigError names the option.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from batcher import Admission, Fairness
from batcher.lengths import VariableLength
from batcher.options import allowed_sizes
from server.demo import DIGITS
from server.runtime import Runtime, device_name
from server.tokens import Token
from server.versions import Latest, Policy

MAX_PORT: Final = 65535
LOG_LEVELS: Final = ("debug", "info", "warning", "error")

TENSORFLOW_SERVING_METRICS: Final = "/monitoring/prometheus/metrics"
"""Where TensorFlow Serving has its metrics unless told otherwise (util/prometheus_exporter.cc)."""

_HOST_NAME: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?")
TARGET: Final = re.compile(r"/[^\s?#]*")
_LABEL: Final = re.compile(r"[^\s/:]+")


class ConfigError(ValueError):
    """An option has a value it cannot have; the message names both."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One model to serve.

    name
        What clients call it, in URLs and metrics.
    path
        A model, a base folder with numbered version folders, or a Python function as
        `module:function`.
    policy
        Which of the versions in a base folder are served: the highest one by default. `Latest(2)`
        for a canary beside the stable version, `All()`, or `Specific` to stay with some.
    max_batch_size
        Most rows that run together. Raise it while the model's time for a batch grows slower than
        the batch; the model's memory for a batch grows with it.
    batch_timeout
        Seconds that a request may wait for company while the model is idle. 0 never waits:
        batches form while the model is busy. Raise it only if the model gains much from batches at
        low load. Requests for signatures that run alone wait as long.
    regroup
        Whether the model may stay idle for clients that ask again as soon as they are answered,
        where one batch of them all is learned to take less time than two; not for a lone client.
        Switch it off to see what it does.
    prefetch
        Whether a full batch is put together while another one runs. Switch it off where requests
        with a priority or a deadline, that come while a batch is ready, must not wait for that one.
    max_queue_size
        Most rows that may wait; beyond it clients are answered 503. As many as the model runs in
        the time that clients are ready to wait.
    allowed_batch_sizes
        The only batch sizes that the model runs, ascending to `max_batch_size`; smaller batches are
        padded with a row of theirs. Name a few if the model is slow the first time at each size, as
        compiled ones are. None by default: any size.
    run_timeout
        Seconds after which a call of the model is taken to hang. Its clients are told, and others
        answered 503 until it comes back. None by default: a call may take as long as it likes.
        Several times the longest call that you have seen.
    max_queue_bytes
        Most bytes of input that may wait; beyond it clients are answered 503. None by default. For
        models whose requests differ much in size.
    max_wait
        Most seconds that a new request may be predicted to wait; beyond it clients are answered 503
        at once. None by default. As long as clients are ready to wait, if they do not say it.
    ageing
        Seconds of waiting that count as much as one level of priority.
    lengths
        Inputs of different lengths padded to boundaries, so that they share batches. None by
        default: only requests of the same shape run together.
    labels
        Names for versions that clients may ask for in place of their numbers: {"stable": 3}. Give
        one when clients are to follow what you decide is stable, not what is newest.
    device
        Where the model runs: "cpu", "gpu:1"; left to its framework by default. The models of one
        device take turns on one thread.
    """

    name: str
    path: Path
    policy: Policy = field(default_factory=Latest)
    max_batch_size: int = 64
    batch_timeout: float = 0.0
    regroup: bool = True
    prefetch: bool = True
    max_queue_size: int = 16384
    allowed_batch_sizes: tuple[int, ...] = ()
    run_timeout: float | None = None
    max_queue_bytes: int | None = None
    max_wait: float | None = None
    ageing: float = 1.0
    lengths: VariableLength | None = None
    labels: Mapping[str, int] = field(default_factory=dict)
    device: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            msg = "a model needs a name"
            raise ConfigError(msg)
        _at_least("max_batch_size", self.max_batch_size, 1)
        _at_least("max_queue_size", self.max_queue_size, 1)
        _at_least("batch_timeout", self.batch_timeout, 0)
        if self.run_timeout is not None and self.run_timeout <= 0:
            msg = f"run_timeout must be more than 0 seconds, not {self.run_timeout}"
            raise ConfigError(msg)
        try:
            allowed_sizes(self.allowed_batch_sizes, self.max_batch_size)
            Admission(self.max_queue_bytes, self.max_wait)
            Fairness(self.ageing)
            device_name(self.device)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        for label, version in self.labels.items():
            if not _LABEL.fullmatch(label):
                msg = f"a label must have no blanks, slashes or colons, and be there: {label!r}"
                raise ConfigError(msg)
            _at_least(f"the version of label {label!r}", version, 0)


@dataclass(frozen=True, slots=True)
class Config:
    """The whole server.

    models
        What to serve; names are unique. The bundled model of handwritten digits by default.
    host, port
        Where to listen; only this machine by default. Port 0 lets the system choose.
    grpc_port
        Where to listen for gRPC besides, on the same host; it needs `batcher[grpc]`. None by
        default: no gRPC. TensorFlow Serving has it on 8500, Triton on 8001.
    max_body_size
        Most bytes of a request's body; beyond it clients are answered 413.
    drain_delay
        Seconds between SIGTERM and closing the port. Meanwhile `/readyz` and new requests are
        answered 503, so that load balancers and clients go elsewhere without a reset connection.
        With a load balancer: longer than the interval of its health checks.
    drain_timeout
        Seconds that accepted requests have to finish after SIGTERM; what is left then fails.
    log_level
        debug, info, warning or error.
    metrics_path
        Where Prometheus finds the metrics besides `/metrics`, there under TensorFlow Serving's
        names as well as our own. By default it is TensorFlow Serving's path, so that its scrape
        configurations work as they are; "": nowhere.
    otel
        Whether requests leave spans for OpenTelemetry, whose own variables (`OTEL_...`) configure
        all else of them; it needs `batcher[otel]`. Off by default. An application that has a tracer
        provider when this server is made gets the spans.
    cors
        Whether pages of other origins may use the protocols from a browser. Off by default; switch
        it on for such a page. Pages of other origins never administer the server.
    tokens
        Whose requests are answered, other than probes: `read_tokens` has them from a file. Without
        any, the default, everybody may infer. Give some before you listen beyond this machine, and
        put TLS in front, or whoever sees the traffic has them too.
    admin_tokens
        Who may administer the server besides using it: load and unload models, change what is
        logged and traced. Only with `admin`.
    admin
        Whether anybody may. Off by default: switch it on, and give `admin_tokens`, if models are
        to change while the server runs.
    allowed_hosts
        Names under which administrators reach this server, besides `host`, localhost and all IP
        addresses. Requests for other names are refused: a page that a browser shows may have
        sent them. Tell the name that a proxy or DNS gives it, without a port.
    poll_interval
        Seconds between two looks into the base folders for new versions. None looks only when it is
        asked to: by SIGHUP, or an administrator's request.
    reread_interval
        Seconds between two looks for changes of the configuration, in its files. None by default:
        it is read anew only by SIGHUP.
    model_roots
        Folders below which an administrator's request may bring models that were not configured.
        None by default: only configured ones.
    template
        What holds for models that requests bring, but for their names, paths, versions and labels.
    runtime
        How frameworks may use the machine: threads and memory of GPUs.
    """

    models: tuple[ModelConfig, ...] = field(
        default_factory=lambda: (ModelConfig("digits", DIGITS),)
    )
    host: str = "127.0.0.1"
    port: int = 8501
    grpc_port: int | None = None
    max_body_size: int = 64 * 2**20
    drain_delay: float = 1.0
    drain_timeout: float = 30.0
    log_level: str = "info"
    metrics_path: str = TENSORFLOW_SERVING_METRICS
    otel: bool = False
    cors: bool = False
    tokens: tuple[Token, ...] = ()
    admin_tokens: tuple[Token, ...] = ()
    admin: bool = False
    allowed_hosts: tuple[str, ...] = ()
    poll_interval: float | None = 1.0
    reread_interval: float | None = None
    model_roots: tuple[Path, ...] = ()
    template: ModelConfig = field(default_factory=lambda: ModelConfig("template", Path()))
    runtime: Runtime = field(default_factory=Runtime)

    def __post_init__(self) -> None:
        names = [model.name for model in self.models]
        for name in names:
            if names.count(name) > 1:
                msg = f"two models are named {name!r}: names must differ"
                raise ConfigError(msg)
        if not names:
            msg = "there is no model to serve"
            raise ConfigError(msg)
        _check_port("port", self.port)
        if self.grpc_port is not None:
            _check_port("grpc_port", self.grpc_port)
            if self.grpc_port == self.port != 0:
                msg = f"port and grpc_port must differ, both are {self.port}"
                raise ConfigError(msg)
        if self.log_level not in LOG_LEVELS:
            msg = f"log_level must be one of {', '.join(LOG_LEVELS)}, not {self.log_level!r}"
            raise ConfigError(msg)
        _at_least("max_body_size", self.max_body_size, 1)
        _at_least("drain_delay", self.drain_delay, 0)
        _at_least("drain_timeout", self.drain_timeout, 0)
        for name in ("poll_interval", "reread_interval"):
            interval = getattr(self, name)
            if interval is not None and not interval > 0:
                msg = f"{name} must be more than 0 seconds, not {interval}"
                raise ConfigError(msg)
        if self.metrics_path and not TARGET.fullmatch(self.metrics_path):
            msg = f"metrics_path must be a path that begins with a slash, not {self.metrics_path!r}"
            raise ConfigError(msg)
        self._check_administration()

    def _check_administration(self) -> None:
        if self.admin and not self.admin_tokens:
            msg = "admin needs admin_tokens: without any, everybody could change the server"
            raise ConfigError(msg)
        for name in self.allowed_hosts:
            if not _HOST_NAME.fullmatch(name):
                msg = f"allowed_hosts must be names of hosts without port or scheme, not {name!r}"
                raise ConfigError(msg)


def _check_port(name: str, port: int) -> None:
    _at_least(name, port, 0)
    if port > MAX_PORT:
        msg = f"{name} must be at most {MAX_PORT}, not {port}"
        raise ConfigError(msg)


def _at_least(name: str, value: float, least: int) -> None:
    if not math.isfinite(value) or value < least:
        msg = f"{name} must be at least {least}, not {value}"
        raise ConfigError(msg)
