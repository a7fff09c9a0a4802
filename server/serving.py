"""What protocols may ask of the server, put together from the parts that know it. Event loop."""

import asyncio
import enum
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

from server.errors import NotFound, Unavailable
from server.inference import (
    InferenceRequest,
    InferenceResponse,
    ModelAddress,
    ServedModel,
    VersionState,
)
from server.logs import set_level
from server.repository import Repository
from server.settings import LogSettings, TraceSettings
from server.statistics import VersionStatistics
from server.upkeep import Upkeep
from server.versions import Wanted


class Phase(enum.Enum):
    """Where the whole server is in its life."""

    STARTING = "the server is starting"
    READY = "ready"
    DRAINING = "the server is shutting down"


class Serving:
    """The one implementation of `protocols.protocol.Serving`."""

    version: Final = version("batcher")

    def __init__(self, repository: Repository, upkeep: Upkeep, log_level: str) -> None:
        self._phase = Phase.STARTING
        self._phase_set = asyncio.Event()
        self.tracing = False
        self._repository = repository
        self._upkeep = upkeep
        self._log_settings = LogSettings.of_level(log_level)
        self._trace_settings: dict[str, TraceSettings] = {"": TraceSettings()}

    @property
    def phase(self) -> Phase:
        """Where the whole server is."""
        return self._phase

    @phase.setter
    def phase(self, phase: Phase) -> None:
        self._phase = phase
        self._phase_set.set()
        self._phase_set = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether every model is loaded and requests are taken."""
        return self.phase is Phase.READY

    async def until(self, *, ready: bool) -> None:
        """Wait until the server is ready, or no longer so; not at all if it is so already."""
        while self.ready is not ready:
            await self._phase_set.wait()

    def find(self, address: ModelAddress) -> ServedModel:
        """Who serves an address. NotFound, InvalidArgument (unknown label), Unavailable."""
        return self._repository.find(address)

    def names(self) -> list[str]:
        """All models that there are to serve, loaded or not."""
        return self._repository.names()

    def states(self, address: ModelAddress) -> list[VersionState]:
        """Of all versions of a model, or of the one asked for; newest first. NotFound."""
        return self._repository.states(address)

    def statistics(self, address: ModelAddress | None) -> list[VersionStatistics]:
        """Of the versions of a model that serve, or of all models. NotFound."""
        if address is None:
            return [endpoint.statistics for endpoint in self._repository.endpoints()]
        if address.version is not None:
            served = self._repository.find(address)
            return [self._repository.endpoint(served).statistics]
        self._repository.states(address)
        return [endpoint.statistics for endpoint in self._repository.versions(address.name)]

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Run one request. ServingError."""
        return await self._repository.endpoint(request.model).infer(request)

    def log_settings(self) -> LogSettings:
        """How the server logs."""
        return self._log_settings

    def trace_settings(self, model: str) -> TraceSettings:
        """How requests for a model are traced; "" for all that have no settings of their own."""
        return self._trace_settings.get(model, self._trace_settings[""])

    async def load(self, name: str) -> None:
        """Load a model that was configured, or load it anew, and switch to it."""
        self._check_ready()
        await self._upkeep.load(name)

    async def unload(self, name: str) -> None:
        """Stop serving a model, finish what it has accepted and let it go."""
        self._check_ready()
        await self._upkeep.unload(name)

    async def serve_only(self, models: Sequence[Wanted]) -> None:
        """Serve these models by these policies and labels, and no others."""
        self._check_ready()
        await self._upkeep.serve_only(models)

    def _check_ready(self) -> None:
        """Models change neither while they are loaded at the start, nor at the end. Unavailable."""
        if not self.ready:
            raise Unavailable(self.phase.value)

    def set_log_settings(self, settings: LogSettings) -> None:
        """Log differently from now on."""
        self._log_settings = settings
        set_level(settings.level)

    def set_trace_settings(self, model: str, settings: TraceSettings | None) -> None:
        """Trace differently from now on; None: as all models do, or as at the start."""
        if model and not self._repository.knows(model):
            msg = f"no such model here: {model}"
            raise NotFound(msg)
        if settings is not None:
            self._trace_settings[model] = settings
        elif model:
            self._trace_settings.pop(model, None)
        else:
            self._trace_settings[""] = TraceSettings()
        self.tracing = any(settings.on for settings in self._trace_settings.values())
