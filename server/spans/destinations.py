"""Where spans go: this server's own exporters, or those of the application around it. Event loop.

What is our own is configured by OpenTelemetry's variables (OTEL_EXPORTER_OTLP_ENDPOINT,
OTEL_SERVICE_NAME and so on), through its SDK. An application that has a tracer provider, as
`opentelemetry-instrument` gives it one, has configured that already.
"""

import asyncio
import contextlib
import functools
import os
import threading
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points, version
from typing import Final, Protocol

import structlog
from opentelemetry import trace
from opentelemetry.environment_variables import OTEL_TRACES_EXPORTER
from opentelemetry.sdk.environment_variables import (
    OTEL_BSP_MAX_QUEUE_SIZE,
    OTEL_EXPORTER_OTLP_PROTOCOL,
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL,
    OTEL_SDK_DISABLED,
    OTEL_TRACES_SAMPLER,
    OTEL_TRACES_SAMPLER_ARG,
)
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Tracer, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from server.errors import StartupError
from server.spans.exporting import Exporting, Waiting
from server.spans.sampling import RATE, AtMost, ParentOr, Ratio
from server.spans.tree import Note, Source

log: Final = structlog.get_logger("server.spans")

SCOPE: Final = InstrumentationScope("batcher", version("batcher"))

MOST_WAITING: Final = 2048
"""Notes that may wait to be exported, unless OTEL_BSP_MAX_QUEUE_SIZE is set."""

FLUSH_SECONDS: Final = 3.0
"""How long the server waits at its end for the last spans to be taken."""

_OTLP: Final = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}


class Destination(Protocol):
    """Takes what was recorded. `is_inner` says that requests may come with a span already begun."""

    source: Source
    sampler: Sampler
    is_inner: bool

    def is_full(self) -> bool:
        """Whether what is begun now would not get through anyway."""

    def put(self, note: Note) -> None:
        """Take a note."""

    async def close(self) -> None:
        """Let what was taken go out, for a bounded time."""


class Own:
    """Exporters of this server's own, behind a queue and a thread of the SDK's. StartupError."""

    is_inner = False

    def __init__(self, exporters: Sequence[SpanExporter], sampler: Sampler | None = None) -> None:
        self._provider = TracerProvider(sampler, _resource(), shutdown_on_exit=False)
        self.sampler = self._provider.sampler
        self.source = Source(self._provider.resource, SCOPE, self._provider.id_generator)
        self._exporting = Exporting(exporters, self.source)
        self._most = _most_waiting()
        try:
            self._queue = BatchSpanProcessor(self._exporting, max_queue_size=self._most)
        except ValueError as error:
            msg = f"the variables OTEL_BSP_... do not go together: {error}"
            raise StartupError(msg) from None
        # What is under way already, and its batches, is to find room.
        self._many = self._most * 3 // 4
        self._taken = self._lost = 0
        self._is_full = False

    def is_full(self) -> bool:
        """Whether so many wait that it is not worth following another."""
        # Two counters, each of a thread of its own.
        full = self._taken - self._exporting.exported >= self._many
        if full and not self._is_full:
            log.warning("not all spans are recorded: more are sampled than can be exported")
            self._is_full = True
        return full

    def put(self, note: Note) -> None:
        """Queue a note; lose it if there is no room, which the SDK would log each time."""
        if self._taken - self._exporting.exported >= self._most:
            self._lost += 1
            return
        self._taken += 1
        self._queue.on_end(Waiting(note))

    async def close(self) -> None:
        """Export what waits; after FLUSH_SECONDS, leave it."""
        self._exporting.hurry()
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        shutdown: Callable[[], None] = self._queue.shutdown

        def end() -> None:
            shutdown()
            with contextlib.suppress(RuntimeError):  # The loop has not waited for it.
                loop.call_soon_threadsafe(ended.set)

        # Of its own, and a daemon: an exporter that hangs must not hold up the end.
        threading.Thread(target=end, name="last spans", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), FLUSH_SECONDS)
        lost = self._lost + self._taken - self._exporting.exported
        if lost:
            log.warning("spans were recorded and not exported", notes=lost)


class Around:
    """The tracer provider of the application around this server, and what it has for spans."""

    is_inner = True

    def __init__(self, tracer: Tracer) -> None:
        self.sampler = tracer.sampler
        self.source = Source(tracer.resource, SCOPE, tracer.id_generator)
        self._processor = tracer.span_processor

    def is_full(self) -> bool:
        """No: the application's processors decide."""
        return False

    def put(self, note: Note) -> None:
        """Make spans at once: what the application does with them is not known here."""
        try:
            for span in note.spans(self.source):
                self._processor.on_end(span)
        except Exception:
            # Whoever observes a request must not be its end.
            log.exception("a span processor of the application failed")

    async def close(self) -> None:
        """Nothing: the application ends what is its own."""


def destination() -> Destination:
    """What the application around has, else our own as the environment says. StartupError."""
    if os.environ.get(OTEL_SDK_DISABLED, "").strip().lower() == "true":
        return Own((), ALWAYS_OFF)
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider):
        return Own([_exporter(name) for name in _exporter_names()], _sampler())
    tracer = provider.get_tracer(SCOPE.name, SCOPE.version)
    if not isinstance(tracer, Tracer):
        msg = (
            f"spans need a tracer provider of opentelemetry-sdk, not {type(provider).__module__}."
            f"{type(provider).__name__}"
        )
        raise StartupError(msg)
    return Around(tracer)


def _sampler() -> Sampler | None:
    """Who decides; None for what the SDK makes of the variables. StartupError."""
    name = os.environ.get(OTEL_TRACES_SAMPLER)
    if not name:
        # The standard's own default would follow every request.
        return ParentOr(AtMost(RATE))
    if name.lower() != "parentbased_traceidratio":
        return None
    told = os.environ.get(OTEL_TRACES_SAMPLER_ARG, "1")
    try:
        return ParentOr(Ratio(float(told)))
    except ValueError:
        msg = f"{OTEL_TRACES_SAMPLER_ARG}: expected a number from 0 to 1, not {told!r}"
        raise StartupError(msg) from None


class _HashedOnce(Resource):
    """The exporter looks the resource of every span up: as JSON, a fifth of its time."""

    @functools.cached_property
    def _hash(self) -> int:
        return super().__hash__()

    def __hash__(self) -> int:
        return self._hash


def _resource() -> Resource:
    found = Resource.create()
    attributes = dict(found.attributes)
    if str(attributes[SERVICE_NAME]).startswith("unknown_service"):
        attributes[SERVICE_NAME] = "batcher-server"
    return _HashedOnce(attributes, found.schema_url)


def _most_waiting() -> int:
    told = os.environ.get(OTEL_BSP_MAX_QUEUE_SIZE, "")
    return int(told) if told.isascii() and told.isdigit() and int(told) else MOST_WAITING


def _exporter_names() -> list[str]:
    names = [name.strip() for name in os.environ.get(OTEL_TRACES_EXPORTER, "otlp").split(",")]
    protocol = os.environ.get(OTEL_EXPORTER_OTLP_TRACES_PROTOCOL) or os.environ.get(
        OTEL_EXPORTER_OTLP_PROTOCOL, "http/protobuf"
    )
    if "otlp" in names and protocol not in _OTLP:
        msg = f"{OTEL_EXPORTER_OTLP_PROTOCOL}: expected {' or '.join(_OTLP)}, not {protocol!r}"
        raise StartupError(msg)
    return [_OTLP[protocol] if name == "otlp" else name for name in names if name != "none"]


def _exporter(name: str) -> SpanExporter:
    """An exporter by the name that its package registers. StartupError."""
    found = entry_points(group="opentelemetry_traces_exporter", name=name)
    if not found:
        msg = f"{OTEL_TRACES_EXPORTER}: no package that is installed has an exporter {name!r}"
        raise StartupError(msg)
    made: SpanExporter = next(iter(found)).load()()
    return made
