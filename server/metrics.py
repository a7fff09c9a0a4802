"""Counts what happens and shows it to Prometheus. Event loop.

Counted once a batch wherever possible, once a request only for the answers by status and for how
long they took. What others know already is asked of them when somebody looks.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from server.errors import canonical
from server.inference import VersionState
from server.metric_families import LABELS, families
from server.statistics import Duration
from server.version_metrics import VersionMetrics

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_OUTCOMES: Final = ("loaded", "failed")


class Metrics(Collector):
    """Everything there is to scrape, from the whole server down to its process."""

    def __init__(
        self,
        states: Callable[[], Iterable[tuple[str, VersionState]]] = tuple,
        ready: Callable[[], bool] = lambda: False,
    ) -> None:
        self._states = states
        self._ready = ready
        self._answers: defaultdict[tuple[str, str, int], int] = defaultdict(int)
        self._loads: Counter[tuple[str, str]] = Counter()
        self._load_times: dict[str, Duration] = {}
        self._loaded: dict[tuple[str, str], float] = {}
        self._devices: dict[str, Duration] = {}
        self._versions: dict[tuple[str, int], VersionMetrics] = {}
        self._software = {"version": _installed("batcher"), "tensorflow": _installed("tensorflow")}
        self._registry = CollectorRegistry()
        self._registry.register(self)
        for its in (ProcessCollector, PlatformCollector, GCCollector):
            its(registry=self._registry)

    def count_answer(self, model: str, protocol: str, status: int) -> None:
        """A request was answered; `model` is "" unless it is one of ours."""
        self._answers[model, protocol, status] += 1

    def count_load(self, model: str, version: int, seconds: float, *, loaded: bool) -> None:
        """A version of a model was loaded, or could not be, after so many seconds."""
        self._loads[model, _OUTCOMES[not loaded]] += 1
        self._load_times.setdefault(model, Duration()).add(seconds)
        if loaded:
            self._loaded[model, str(version)] = time.time()

    def device(self, name: str) -> Duration:
        """The batches that have run on a device, and the seconds that they ran, for you to count.

        All models of a device share it.
        """
        return self._devices.setdefault(name, Duration())

    def version(self, name: str, version: int) -> VersionMetrics:
        """The metrics of a version of a model."""
        return self._versions.setdefault((name, version), VersionMetrics(name, version))

    @property
    def answers(self) -> list[tuple[str, str, int, int]]:
        """Model, protocol and its status; and how many requests were answered like that."""
        return [(*answered, count) for answered, count in sorted(self._answers.items())]

    @property
    def versions(self) -> list[VersionMetrics]:
        """Of all versions that have ever served."""
        return list(self._versions.values())

    def scrape(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """What `prometheus_client` asks of a collector."""
        yield InfoMetricFamily(
            "batcher_build", "The versions of this server and its TensorFlow.", self._software
        )
        yield GaugeMetricFamily(
            "batcher_ready",
            "1 while requests are taken, 0 while the server starts or ends.",
            float(self._ready()),
        )
        yield self._requests()
        yield from self._models()
        yield from families(self.versions)
        busy = CounterMetricFamily(
            "batcher_device_busy_seconds", "How long batches ran on a device.", labels=("device",)
        )
        for device, ran in sorted(self._devices.items()):
            busy.add_metric((device,), ran.seconds)
        yield busy

    def _requests(self) -> Metric:
        answers = CounterMetricFamily(
            "batcher_requests",
            "Requests answered; status is the protocol's own number, code its canonical name.",
            labels=("model", "protocol", "status", "code"),
        )
        for model, protocol, status, count in self.answers:
            answers.add_metric((model, protocol, str(status), canonical(status)), count)
        return answers

    def _models(self) -> Iterator[Metric]:
        loads = CounterMetricFamily(
            "batcher_model_loads",
            "Versions that were loaded, or could not be.",
            labels=("model", "outcome"),
        )
        times = SummaryMetricFamily(
            "batcher_model_load_seconds",
            "How long it took to load a version and to warm it up, or to fail to.",
            labels=("model",),
        )
        for model, took in sorted(self._load_times.items()):
            # Both from the first on: rates of what was never 0 miss its first increase.
            for outcome in _OUTCOMES:
                loads.add_metric((model, outcome), self._loads[model, outcome])
            times.add_metric((model,), took.count, took.seconds)
        states = GaugeMetricFamily(
            "batcher_model_state",
            "1 for the state that a version is in.",
            labels=(*LABELS, "state"),
        )
        broken = GaugeMetricFamily(
            "batcher_model_broken", "1 if a version could not be loaded, else 0.", labels=LABELS
        )
        loaded = GaugeMetricFamily(
            "batcher_model_loaded_timestamp_seconds",
            "When a version was loaded last, in seconds since 1970.",
            labels=LABELS,
        )
        for model, state in self._states():
            labels = (model, str(state.version))
            states.add_metric((*labels, state.state), 1)
            broken.add_metric(labels, bool(state.error))
            if labels in self._loaded:
                loaded.add_metric(labels, self._loaded[labels])
        yield from (loads, times, states, broken, loaded)


def _installed(package: str) -> str:
    """Its version, "" if it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
