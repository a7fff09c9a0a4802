"""Latency against offered rate as a picture: one panel a server, one line a percentile."""

import math
import pathlib
from collections.abc import Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from bench.rates_seen import Sweep
from server.load import Result
from server.load.result import PERCENTILES

COLOURS: Final = ("#6baed6", "#3182bd", "#08519c", "#041f3d")
"""From the median to the rarest: the darker, the worse."""

TOO_MUCH: Final = "#d94801"

PANEL: Final = (8.0, 4.8)
"""Inches."""

WIDE: Final = 10.0
"""From this ratio on an axis of rates is logarithmic."""

ROUND: Final = (1.0, 2.0, 5.0)
"""Ticks of a logarithmic axis in each decade."""

LABEL: Final = 0.045
"""Height of a label as a share of the panel."""


def plot(sweeps: Sequence[Sweep], file: pathlib.Path) -> None:
    """Draw the sweeps below each other, on the same axes, into a PNG."""
    figure = Figure((PANEL[0], PANEL[1] * len(sweeps)), layout="constrained")
    panels = figure.subplots(len(sweeps), sharex=True, sharey=True, squeeze=False)[:, 0]
    results = [stretch.result for swept in sweeps for stretch in swept.stretches]
    _scale(panels[0], results)
    for panel, swept in zip(panels, sweeps, strict=True):
        _draw(panel, swept)
    panels[-1].set_xlabel("offered requests/s")
    figure.savefig(file, dpi=150)


def _scale(panel: Axes, results: Sequence[Result]) -> None:
    """Set both axes so that everything has room, the labels at the left end as well."""
    rates = [result.offered.rate for result in results]
    times = [wait * 1e3 for result in results for _, wait in _waits(result)]
    if max(rates) >= WIDE * min(rates):
        panel.set_xscale("log")
        panel.set_xlim(min(rates) / 1.6, max(rates) * 1.25)
        set_round_ticks(panel.xaxis)
    panel.xaxis.set_major_formatter("{x:,.0f}")
    panel.set_yscale("log")
    panel.set_ylim(min(times) / 1.5, max(times) * 1.5)
    set_round_ticks(panel.yaxis)
    panel.yaxis.set_major_formatter("{x:,g}")


def set_round_ticks(axis: Axis) -> None:
    """Give a logarithmic axis ticks at `ROUND` in each decade, and no others."""
    axis.set_major_locator(LogLocator(subs=ROUND))
    axis.set_minor_locator(LogLocator(subs=()))


def _waits(result: Result) -> list[tuple[float, float]]:
    """The percentiles that a result has, each with its seconds."""
    known = [percent for percent in PERCENTILES if result.resolves(percent)]
    return [(percent, result.percentile(percent)) for percent in known]


def _draw(panel: Axes, swept: Sweep) -> None:
    results = sorted((s.result for s in swept.stretches), key=lambda result: result.offered.rate)
    low, high = (math.log10(bound) for bound in panel.get_ylim())
    free = low
    for percent, colour in zip(PERCENTILES, COLOURS, strict=True):
        drawn = [result for result in results if result.resolves(percent)]
        if not drawn:
            continue
        rates = [result.offered.rate for result in drawn]
        times = [result.percentile(percent) * 1e3 for result in drawn]
        panel.plot(rates, times, "o-", color=colour, markersize=3.5)
        # Where lines begin close together, the label of the higher one moves up.
        at = max(math.log10(times[0]), free)
        free = at + LABEL * (high - low)
        panel.annotate(
            f"p{percent:g}",
            (rates[0], 10**at),
            (-7, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            color=colour,
        )
    panel.set_ylabel("ms from when it was due\nto the answer")
    panel.grid(visible=True, which="major", alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_title(swept.told(), loc="left", fontsize=10)
    _mark(panel, swept)


def _mark(panel: Axes, swept: Sweep) -> None:
    """Shade the rates that are too much."""
    missed = [rate for rate in swept.missed if rate > swept.kept]
    if missed:
        panel.axvspan(missed[0], panel.get_xlim()[1], color=TOO_MUCH, alpha=0.12, linewidth=0)
        panel.annotate(
            "too much",
            (missed[0], 1.0),
            (-5, -4),
            xycoords=panel.get_xaxis_transform(),
            textcoords="offset points",
            color=TOO_MUCH,
            ha="right",
            va="top",
        )
