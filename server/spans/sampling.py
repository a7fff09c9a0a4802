"""Which requests are sampled: as their callers say, else so many a second, or any sampler. Pure.

To follow every request would cost more than to answer it, at twenty thousand a second; to follow
one in so many, as is usual, shows nothing of a server that is asked twice. So a number a second is
followed: every request while there are few, and a bounded cost however many there are.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import (
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceState,
    set_span_in_context,
)

RATE: Final = 100.0
"""Requests a second that are sampled, of those whose callers say nothing of it."""

NOTHING: Final[Mapping[str, Any]] = {}


class Root(Protocol):
    """Decides where no caller does."""

    def draw(self, ids: IdGenerator, now: float) -> int:
        """The id of a new trace, or 0 if the request that comes `now` is not sampled."""


class AtMost(Sampler):
    """At most `rate` a second, and as many as that at once after a rest."""

    def __init__(self, rate: float) -> None:
        self.rate: Final = rate
        self._interval = 1 / rate
        # When the next would be due if they came evenly; at most a second ago.
        self._due = 0.0

    def take(self, now: float) -> bool:
        """Whether there is one left at this time, in seconds; it is taken then."""
        if self._due > now:
            return False
        self._due = max(self._due, now - 1.0) + self._interval
        return True

    def draw(self, ids: IdGenerator, now: float) -> int:
        """The id of a new trace, if there is one left."""
        return ids.generate_trace_id() if self.take(now) else 0

    def should_sample(  # noqa: PLR0917 - the SDK's signature
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Any = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """The same for the SDK."""
        taken = self.take(time.perf_counter())
        return SamplingResult(Decision.RECORD_AND_SAMPLE if taken else Decision.DROP, attributes)

    def get_description(self) -> str:
        """What the SDK calls it."""
        return f"AtMost{{{self.rate:g}/s}}"


class Ratio(TraceIdRatioBased):
    """The SDK's, without what it makes for each decision."""

    def draw(self, ids: IdGenerator, now: float) -> int:
        """The id of a new trace, if it is one of the sampled."""
        drawn = ids.generate_trace_id()
        return drawn if drawn & self.TRACE_ID_LIMIT < self.bound else 0


class ParentOr(ParentBased):
    """As the caller says, else as a root that can be asked at little cost."""

    def __init__(self, root: AtMost | Ratio) -> None:
        super().__init__(root)
        self.root: Final = root


class Sampled(NamedTuple):
    """A request to follow: its trace, and what the sampler adds."""

    trace_id: int
    state: TraceState | None = None
    attributes: Mapping[str, Any] = NOTHING


class Rule(Protocol):
    """Decides for one request after the other.

    `obeys` says that it never samples a request whose caller says that it is not sampled.
    """

    obeys: bool

    def sample(self, parent: SpanContext | None, now: float, method: str) -> Sampled | None:
        """Whether to follow a request that comes `now` (perf_counter) with this parent."""


class ByRoot:
    """What `ParentOr` decides, at a fifth of the cost."""

    obeys = True

    def __init__(self, root: Root, ids: IdGenerator) -> None:
        self._root = root
        self._ids = ids

    def sample(self, parent: SpanContext | None, now: float, method: str) -> Sampled | None:
        """As the parent says, else as the root does."""
        if parent is None:
            drawn = self._root.draw(self._ids, now)
            return Sampled(drawn) if drawn else None
        sampled = parent.trace_flags.sampled
        return Sampled(parent.trace_id, parent.trace_state) if sampled else None


class BySampler:
    """Any other sampler."""

    obeys = False

    def __init__(self, sampler: Sampler, ids: IdGenerator) -> None:
        self._sampler = sampler
        self._ids = ids

    def sample(self, parent: SpanContext | None, now: float, method: str) -> Sampled | None:
        """As the sampler says."""
        context = None
        if parent is None:
            trace_id = self._ids.generate_trace_id()
        else:
            context = set_span_in_context(NonRecordingSpan(parent), Context())
            trace_id = parent.trace_id
        told = self._sampler.should_sample(context, trace_id, method, SpanKind.SERVER)
        if told.decision is not Decision.RECORD_AND_SAMPLE:
            return None
        return Sampled(trace_id, told.trace_state, told.attributes or NOTHING)


def rule_of(sampler: Sampler, ids: IdGenerator) -> Rule:
    """The cheapest that decides as this sampler does."""
    return ByRoot(sampler.root, ids) if isinstance(sampler, ParentOr) else BySampler(sampler, ids)
