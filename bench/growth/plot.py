"""One figure, a panel for each thing that grows: a flat line is a cost that does not."""

import pathlib
from collections.abc import Sequence
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.growth.point import Line, Panel

FILE: Final = "growth.png"

COLOURS: Final = ("#0b6e99", "#d9730d", "#448361", "#9065b0", "#c4554d", "#787774")

ROOM: Final = 3.0
"""The top of a panel, in times of its highest first cost: what grows more leaves through it."""


def plot(panels: Sequence[Panel], folder: pathlib.Path) -> pathlib.Path:
    """Draw all panels beside each other, costs from 0; returns the file. OSError."""
    mpl.rcParams["font.size"] = 9
    figure = Figure(figsize=(6.4 * len(panels), 4.4), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _draw(axes, panel)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / FILE
    figure.savefig(file, dpi=150)
    return file


def _draw(axes: Any, panel: Panel) -> None:
    sizes = panel.sizes()
    axes.set(title=panel.title, xlabel=panel.grows, ylabel=panel.cost, xscale="log")
    top = _top(panel.lines)
    labels = []
    for colour, line in zip(COLOURS, panel.lines, strict=False):
        spreads = line.spreads()
        medians = [spread.median for spread in spreads.values()]
        axes.plot([*spreads], medians, "o-", color=colour, markersize=4)
        lows, highs = zip(*[(s.low, s.high) for s in spreads.values()], strict=True)
        axes.fill_between([*spreads], lows, highs, color=colour, alpha=0.15, linewidth=0)
        beyond = f" {medians[-1]:,.0f} µs ↑" if medians[-1] > top else ""
        labels.append((min(medians[-1], top), f"{line.name}{beyond}", colour))
    axes.set_ylim(0, top)
    axes.set_xlim(sizes[0] / 1.3, sizes[-1] * 1.3)
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    _label(axes, labels, sizes[-1] * 1.4, top)


def _top(lines: Sequence[Line]) -> float:
    """High enough for all lines but those that leave the others far below."""
    spreads = [spread for line in lines for spread in line.spreads().values()]
    firsts = [next(iter(line.spreads().values())).median for line in lines]
    return min(max(spread.high for spread in spreads) * 1.05, max(firsts) * ROOM)


def _label(axes: Any, labels: list[tuple[float, str, str]], x: float, top: float) -> None:
    """Name each line at its end, one above the other where they end together."""
    lowest = 0.0
    for y, name, colour in sorted(labels):
        place = max(y, lowest)
        axes.text(x, place, name, color=colour, va="center", clip_on=False)
        lowest = place + top / 18
