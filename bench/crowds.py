"""What many open connections came to: the figures, and how they are told."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from bench.kernel import TIMEOUTS
from bench.screen import show_table
from bench.spread import Spread
from bench.wrk import Figures

FEW: Final = 64
"""Clients that keep the server busy, to compare with."""

NOTE: Final = """\
Medians (lowest..highest round); ratios are taken round by round. The kernel counts what all
programs of this machine do.\
"""

COLUMNS: Final = (
    *("active", "held open", "round", "requests/s", "p50 ms", "p99 ms", "max ms"),
    *("failed", "CPU µs per request", "wrk's share of a CPU"),
)


class Crowd(NamedTuple):
    """So many connections ask all the time, so many rest."""

    active: int
    idle: int


class Stretch(NamedTuple):
    """One stretch of load; `cpu` is microseconds of the server a request, `wrk` a share of a CPU.

    `failures` are of the resting connections that were asked after it.
    """

    crowd: Crowd
    figures: Figures
    cpu: float
    wrk: float
    failures: list[str]


class Memory(NamedTuple):
    """Megabytes of the server: before, with all connections at rest, and when all was over."""

    before: float
    held: float
    after: float


class Plan(NamedTuple):
    """What to do: `burst` connections are opened at once, a stretch of load lasts `seconds`."""

    connections: int
    active: int
    burst: int
    rounds: int
    seconds: int

    def crowds(self) -> list[Crowd]:
        """Few and nobody else, few beside all others, and many of all."""
        return [
            Crowd(FEW, 0),
            Crowd(FEW, self.connections - FEW),
            Crowd(self.active, self.connections - self.active),
        ]


class Outcome(NamedTuple):
    """All that was seen; `connects` is in seconds, `troubles` are the kernel's."""

    memory: Memory
    stretches: list[Stretch]
    connects: list[float]
    troubles: Mapping[str, int]


def failed(outcome: Outcome) -> bool:
    """Whether a request, a connection or a SYN was lost."""
    return any(stretch.figures.failed or stretch.failures for stretch in outcome.stretches) or any(
        count for what, count in outcome.troubles.items() if what != TIMEOUTS
    )


def show(outcome: Outcome, plan: Plan) -> None:
    """Print the table, and what follows from it."""
    groups = [[s for s in outcome.stretches if s.crowd == crowd] for crowd in plan.crowds()]
    show_table(
        f"{plan.connections:,} connections",
        COLUMNS,
        [
            [_row(stretch, number) for number, stretch in enumerate(group, start=1)]
            for group in groups
        ],
        below=_told(outcome, groups, plan.connections),
    )


def _row(stretch: Stretch, number: int) -> list[str]:
    crowd, figures, cpu, wrk, failures = stretch
    return [
        f"{crowd.active:,}",
        f"{crowd.idle:,}",
        str(number),
        f"{figures.rate:,.0f}",
        f"{figures.p50:.2f}",
        f"{figures.p99:.2f}",
        f"{figures.max:.1f}",
        str(figures.failed + len(failures)),
        f"{cpu:.1f}",
        f"{wrk:.0%}",
    ]


def _told(outcome: Outcome, groups: Sequence[Sequence[Stretch]], connections: int) -> str:
    """The ratios, round by round; memory; and whatever went wrong."""
    alone = [stretch.figures.rate for stretch in groups[0]]
    lines = [f"{FEW} clients alone: {Spread.of(alone):,.0f} requests/s."]
    for group in groups[1:]:
        active, idle = group[0].crowd
        rates = [stretch.figures.rate for stretch in group]
        ratio = Spread.of(rate / base * 100 for rate, base in zip(rates, alone, strict=True))
        cpu = Spread.of(s.cpu / base.cpu * 100 for s, base in zip(group, groups[0], strict=True))
        lines.append(
            f"{active:,} beside {idle:,} at rest: {Spread.of(rates):,.0f} requests/s,"
            f" {ratio:.0f} % of that, for {cpu:.0f} % of the CPU a request."
        )
    return "\n".join([*lines, _told_of_connections(outcome, connections), NOTE])


def _told_of_connections(outcome: Outcome, connections: int) -> str:
    """What they cost, how they were opened, and what became of them."""
    before, held, after = outcome.memory
    weight = (held - before) * 1e3 / connections
    took = statistics.median(outcome.connects) * 1e3, max(outcome.connects) * 1e3
    kernel = ", ".join(f"{count} {what}" for what, count in outcome.troubles.items())
    failures = [failure for stretch in outcome.stretches for failure in stretch.failures]
    return (
        f"A connection at rest takes {weight:.1f} kB of the server: {before:.0f} MB before,"
        f" {held:.0f} MB with {connections:,} of them, {after:.0f} MB at the end.\n"
        f"{len(outcome.connects):,} were opened, in {took[0]:.1f} ms, the slowest in"
        f" {took[1]:.1f}; {len(failures)} were lost{': ' + failures[0] if failures else '.'}\n"
        f"The kernel counted {kernel}."
    )


def plain(outcome: Outcome) -> dict[str, Any]:
    """The same as JSON knows it."""
    memory, stretches, connects, troubles = outcome
    return {
        "memory_mb": memory._asdict(),
        "opened": len(connects),
        "connect_ms": {
            "median": statistics.median(connects) * 1e3,
            "max": max(connects) * 1e3,
        },
        "kernel": dict(troubles),
        "stretches": [
            {
                **stretch.crowd._asdict(),
                **stretch.figures._asdict(),
                "cpu_us": stretch.cpu,
                "wrk_cpus": stretch.wrk,
                "idle_failures": stretch.failures,
            }
            for stretch in stretches
        ],
    }
