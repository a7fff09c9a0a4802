"""Puts the parts together: models, batchers, metrics, the door and the front. Event loop."""

import asyncio
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batcher import Executor, ThreadExecutor
from server.access import Access
from server.config import Config
from server.errors import StartupError
from server.front import Front
from server.live.feed import Feed, Taken
from server.live.snapshot import snapshot
from server.live.stream import Stream
from server.live.survey import survey
from server.loading import Loader
from server.metrics import Metrics
from server.repository import Repository
from server.residents import Residents
from server.serving import Phase, Serving
from server.threads import ModelThreads
from server.upkeep import Upkeep

if TYPE_CHECKING:
    from server.spans.spans import Spans


class Application:
    """All parts of one server but its sockets, put together. The only place where they meet."""

    def __init__(self, config: Config) -> None:
        repository, loader = Repository(), Loader()
        metrics = Metrics(repository.all_states, lambda: self._serving.ready)
        feed = Feed()
        # Models run on their own threads only; large bodies are parsed on the codec thread.
        self._threads = ModelThreads()
        self._codec: Executor = ThreadExecutor(name="codec")
        residents = Residents(
            repository,
            metrics,
            self._threads,
            loader,
            feed,
            runtime=config.runtime,
            drain_timeout=config.drain_timeout,
        )
        self._upkeep = Upkeep(
            config.models,
            repository,
            residents,
            loader,
            roots=config.model_roots,
            template=config.template,
        )
        self._poll_interval = config.poll_interval
        self._polling: asyncio.Task[None] | None = None
        self._serving = Serving(repository, self._upkeep, config.log_level)
        self._stream = Stream(feed, self._describe)
        self._repository = repository
        self._spans = _spans() if config.otel else None
        self.front: Final = (Front if self._spans is None else self._spans.front)(
            repository,
            metrics,
            self._serving,
            Access(
                config.tokens,
                config.admin_tokens,
                admin=config.admin,
                hosts=(config.host, *config.allowed_hosts),
            ),
            self._codec,
            feed=feed,
            stream=self._stream,
            max_body_size=config.max_body_size,
            cors=config.cors,
            metrics_path=config.metrics_path,
        )

    def open(self) -> None:
        """Begin to take requests, the first of which are told that models are loading."""
        if self._spans is not None:
            self._spans.open()
        self._codec.attach(asyncio.get_running_loop())

    async def start(self) -> None:
        """Load and warm up every model, one after the other; then be ready.

        StartupError if none of them can be served.
        """
        await self._codec.call(_let_floats_overflow, None)
        try:
            await self._upkeep.start()
        except BaseException:
            await self.drain()
            raise
        self._serving.phase = Phase.READY
        if self._poll_interval is not None:
            polling = self._upkeep.poll(self._poll_interval)
            self._polling = asyncio.create_task(polling, name="looking for new versions")

    @property
    def serving(self) -> list[str]:
        """The models of which a version serves."""
        return self._upkeep.serving

    async def refresh(self, config: Config) -> None:
        """Serve the models of a new configuration; all else stays as it is until a restart."""
        await self._upkeep.refresh(config.models, config.template)

    def end_streams(self) -> None:
        """Take leave of those who look at the live page: their connections would not end else."""
        self._serving.phase = Phase.DRAINING
        self._stream.end()

    async def drain(self) -> None:
        """Refuse new requests; return when the accepted ones are answered, or their time is up."""
        self.end_streams()
        if self._polling is not None:
            self._polling.cancel()
        await self._upkeep.drain()
        self._threads.end()

    async def flush(self) -> None:
        """Let the spans of the last answers go out, for a bounded time."""
        if self._spans is not None:
            await self._spans.close()

    def close(self) -> None:
        """End the codec thread, which the last answers still needed."""
        self._codec.detach()

    def _describe(self, taken: Taken) -> dict[str, Any]:
        """What an event of the live page says."""
        told = {"server": self._serving.version, "phase": self._serving.phase.value}
        return told | snapshot(survey(self._repository), taken)


def _spans() -> "Spans":
    """What requests leave spans by. StartupError."""
    try:
        # Only who wants spans needs to have it installed.
        from server.spans.spans import Spans  # noqa: PLC0415 - see above
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "opentelemetry":
            raise
        msg = "OpenTelemetry is not installed: pip install 'batcher[otel]'"
        raise StartupError(msg) from error
    return Spans()


def _let_floats_overflow(_: None) -> None:
    """Let numbers become infinities without a warning on this thread, as adapters do on theirs."""
    np.seterr(over="ignore")
