"""What a simulated Batcher and its callers make use of: switches thrown at random. Pure."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import batcher as lib

PLAIN_SHARE = 0.35
"""The share of Batchers in which nothing is switched on."""

SWITCHED_ON = 0.35
"""How often each switch is on in the others: mostly a few at a time."""


@dataclass(slots=True)
class Features:
    """The options of one Batcher, and how often its callers ask for what."""

    allowed_sizes: tuple[int, ...] = ()
    max_cost: float | None = None
    touchy_rate: float = 0.0
    repeatable: bool = False
    max_extra_runs: int = 32
    probe_after: int = 100
    run_timeout: float | None = None
    hang_rate: float = 0.0
    max_queue_bytes: int | None = None
    max_wait: float | None = None
    ageing: float = 1.0
    timeout_rate: float = 0.0
    priority_rate: float = 0.0
    bytes_rate: float = 0.0
    poison_rate: float = 0.0
    memory: int | None = None
    prefetch: bool = False
    regroup: bool = False

    @classmethod
    def draw(cls, rng: random.Random, max_batch_size: int) -> "Features":
        """Throw the switches."""
        features = cls()
        if rng.random() < PLAIN_SHARE:
            return features
        for switch in SWITCHES:
            if rng.random() < SWITCHED_ON:
                switch(features, rng, max_batch_size)
        return features

    def options(self, cost: Callable[[Sequence[Any]], float]) -> dict[str, Any]:
        """For the constructor of a Batcher."""
        costs = {"batch_cost": cost, "max_batch_cost": self.max_cost}
        return {
            "allowed_batch_sizes": self.allowed_sizes,
            **(costs if self.max_cost is not None else {}),
            "repeatable": self.repeatable,
            "run_timeout": self.run_timeout,
            "prefetch": self.prefetch,
            "regroup": self.regroup,
            "admission": lib.Admission(self.max_queue_bytes, self.max_wait),
            "fairness": lib.Fairness(self.ageing),
            "isolation": lib.Isolation(self.max_extra_runs, self.probe_after),
        }


def _prescribe_sizes(features: Features, rng: random.Random, most: int) -> None:
    smaller = sorted(rng.sample(range(1, most), rng.randint(0, min(3, most - 1))))
    features.allowed_sizes = (*smaller, most)


def _count_costs(features: Features, rng: random.Random, _: int) -> None:
    features.max_cost = rng.choice((10.0, 20.0, 60.0))
    features.touchy_rate = rng.choice((0.0, 0.1))


def _repeat(features: Features, rng: random.Random, _: int) -> None:
    features.repeatable = True
    features.max_extra_runs = rng.choice((1, 2, 4, 32, 32))
    features.poison_rate = rng.choice((0.0, 0.1, 0.3))


def _exhaust_memory(features: Features, rng: random.Random, most: int) -> None:
    features.repeatable = rng.random() < 0.9
    features.memory = rng.randint(max(1, most // 3), most)
    features.probe_after = rng.choice((1, 3, 100))


def _hang(features: Features, rng: random.Random, _: int) -> None:
    features.run_timeout = rng.choice((1.0, 3.0, 5.0))
    features.hang_rate = rng.choice((0.0, 0.05, 0.2))


def _set_deadlines(features: Features, rng: random.Random, _: int) -> None:
    features.timeout_rate = rng.choice((0.2, 0.5, 1.0))


def _set_priorities(features: Features, rng: random.Random, _: int) -> None:
    features.priority_rate = rng.choice((0.3, 0.8))
    features.ageing = rng.choice((0.1, 0.25, 1.0, 4.0))


def _bound_bytes(features: Features, rng: random.Random, _: int) -> None:
    features.max_queue_bytes = rng.choice((None, 60, 200))
    features.bytes_rate = 0.7


def _bound_waits(features: Features, rng: random.Random, _: int) -> None:
    features.max_wait = rng.choice((0.5, 2.0))


def _prefetch(features: Features, rng: random.Random, _: int) -> None:
    features.prefetch = True
    features.regroup = rng.random() < 0.5


def _regroup(features: Features, _: random.Random, __: int) -> None:
    features.regroup = True


SWITCHES: list[Callable[[Features, random.Random, int], None]] = [
    _prescribe_sizes,
    _count_costs,
    _repeat,
    _exhaust_memory,
    _hang,
    _set_deadlines,
    _set_priorities,
    _bound_bytes,
    _bound_waits,
    _prefetch,
    _regroup,
]
