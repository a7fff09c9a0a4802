"""What a protocol is: a sans-IO codec between exchanges and what they ask for. Event loop.

`decode` and `encode` of large bodies are called on the codec thread, so they keep no state.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from typing import Protocol as Interface

from server.errors import ServingError
from server.exchange import Answer, Exchange
from server.inference import (
    FindModel,
    InferenceRequest,
    InferenceResponse,
    ModelAddress,
    ServedModel,
    VersionState,
)
from server.settings import LogSettings, TraceSettings
from server.statistics import VersionStatistics
from server.versions import Wanted


class Serving(Interface):
    """What a protocol may ask of the server, besides the inference of one request."""

    @property
    def version(self) -> str:
        """Of this server's software."""

    @property
    def ready(self) -> bool:
        """Whether every model is loaded and requests are taken."""

    async def until(self, *, ready: bool) -> None:
        """Wait until the server is ready, or no longer so; not at all if it is so already."""

    def find(self, address: ModelAddress) -> ServedModel:
        """Who serves an address. NotFound, InvalidArgument (unknown label), Unavailable."""

    def names(self) -> list[str]:
        """All models that there are to serve, loaded or not."""

    def states(self, address: ModelAddress) -> list[VersionState]:
        """Of all versions of a model, or of the one asked for; newest first. NotFound."""

    def statistics(self, address: ModelAddress | None) -> list[VersionStatistics]:
        """Of the versions of a model that serve, or of all models. NotFound."""

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Run one request: for calls that are made of several. ServingError."""

    def log_settings(self) -> LogSettings:
        """How the server logs."""

    def trace_settings(self, model: str) -> TraceSettings:
        """How requests for a model are traced; "" for all that have no settings of their own."""

    async def load(self, name: str) -> None:
        """Load a model that was configured, or load it anew, and switch to it. Administration.

        NotFound, FailedPrecondition when it cannot be loaded, Aborted when a change of it is under
        way, Unavailable while the server starts or ends.
        """

    async def unload(self, name: str) -> None:
        """Stop serving a model, finish what it has accepted and let it go. Administration."""

    async def serve_only(self, models: Sequence[Wanted]) -> None:
        """Serve these models by these policies and labels, and no others. Administration.

        InvalidArgument, PermissionDenied for models that may not be brought by a request,
        FailedPrecondition when one does not load, Aborted, Unavailable.
        """

    def set_log_settings(self, settings: LogSettings) -> None:
        """Log differently from now on. Administration."""

    def set_trace_settings(self, model: str, settings: TraceSettings | None) -> None:
        """Trace differently from now on; None: as all models do. Administration. NotFound."""


@dataclass(frozen=True, slots=True)
class Infer:
    """Run a model on what the body holds.

    `verb` is the protocol's own word for how, `note` what else it found in the head.
    """

    address: ModelAddress
    verb: str = ""
    note: Any = None


@dataclass(frozen=True, slots=True)
class Call:
    """Anything else that a client may ask for.

    `run` reads the body, if there is one, asks the server and writes the answer; it raises
    ServingError. `model` is the one it is about, for metrics. `admin` says that it changes the
    server; `is_open` that it is answered without a token, as probes of its health are.
    """

    run: Callable[[Serving], Awaitable[Answer]]
    model: str = ""
    admin: bool = False
    is_open: bool = False


Operation: TypeAlias = Infer | Call


class Protocol(Interface):
    """Bytes to operations, and their results to bytes. Knows no sockets, queues or models."""

    @property
    def name(self) -> str:
        """What metrics call it."""

    @property
    def cors(self) -> Mapping[str, str]:
        """The headers that let a browser's page of another origin use it, if the operator does."""

    def takes(self, exchange: Exchange) -> bool:
        """Whether a request is in this protocol; looks at the target first."""

    def route(self, exchange: Exchange) -> Operation:
        """What the client wants, from target and headers. ServingError."""

    def parsed_size(self, operation: Infer, exchange: Exchange) -> int:
        """How many bytes of the body are text to parse, not arrays to copy."""

    def decode(self, operation: Infer, exchange: Exchange, find: FindModel) -> InferenceRequest:
        """Read the body. DecodeError for what is wrong with it, and what `find` raises."""

    def printed_size(self, request: InferenceRequest, response: InferenceResponse) -> int:
        """How many elements of the outputs become text."""

    def encode(self, request: InferenceRequest, response: InferenceResponse) -> Answer:
        """Write the outputs. InvalidArgument for outputs that the protocol has no form for."""

    def error(self, error: ServingError) -> Answer:
        """Write an error."""

    def paths(self, models: Sequence[ServedModel]) -> Mapping[str, Any]:
        """What this protocol answers, as the `paths` of an OpenAPI 3.1 document."""
