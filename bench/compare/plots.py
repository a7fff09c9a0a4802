"""Plots of a comparison, as PNG files.

`compare-MODEL-FORMAT.png` shows who answers how many requests, and at what price: bars are medians,
whiskers the lowest and the highest round, figures stand beside them. `compare-MODEL-open-loop.png`
shows latency at offered rates.
"""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.compare.match import Match
from bench.compare.open_loop import Point
from bench.compare.peers import FORMATS, OURS
from bench.compare.results import Result
from bench.rates_plot import set_round_ticks
from bench.spread import Spread

OUR_COLOUR: Final = "#1668b3"
THEIR_COLOUR: Final = "#b9c0c7"
TEXT_COLOUR: Final = "#333333"

SHOWN: Final = 64
"""Clients of the plots, or else as many as there are below that."""

WIDTH: Final = 13.0
"""Inches."""

DOTS: Final = 130
"""Per inch."""

ROOM: Final = 1.32
"""How much longer the axis is than the longest whisker: the figures need the room."""


class Panel(NamedTuple):
    """One quantity: what it is called, which way is good, and its figures' format."""

    quantity: str
    title: str
    good: str
    form: str


PANELS: Final = (
    Panel("rate", "requests/s", "longer is better", ",.0f"),
    Panel("p99", "p99, ms", "shorter is better", ",.3g"),
    Panel("cpu", "CPU seconds per 1,000 requests", "shorter is better", ".2g"),
)


def plot(matches: Sequence[Match], folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Write the plots; each file as it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    for match in matches:
        for name, bodies in FORMATS.items():
            results = [result for result in match.results() if result.cell.body in bodies]
            if results:
                file = folder / f"compare-{match.model}-{name}.png"
                _draw(f"{match.model}, {name}", _chosen(results)).savefig(file)
                yield file
        if points := match.points():
            file = folder / f"compare-{match.model}-open-loop.png"
            _draw_offers(match.model, points).savefig(file)
            yield file


def _chosen(results: Sequence[Result]) -> list[Result]:
    """One number of clients, the fastest server last: bars are drawn from below."""
    numbers = {result.cell.clients for result in results}
    clients = max((number for number in numbers if number <= SHOWN), default=min(numbers))
    here = [result for result in results if result.cell.clients == clients]
    return sorted(here, key=lambda result: result.quantities["rate"].median)


def _draw(title: str, results: Sequence[Result]) -> Figure:
    figure = Figure(figsize=(WIDTH, 1.5 + 0.42 * len(results)), dpi=DOTS, layout="constrained")
    FigureCanvasAgg(figure)
    clients = results[0].cell.clients
    figure.suptitle(
        f"{title}: {clients} clients, one row a request", fontsize=14, x=0.01, ha="left"
    )
    axes = figure.subplots(1, len(PANELS), sharey=True)
    for one, panel in zip(axes, PANELS, strict=True):
        _draw_panel(one, panel, results)
    axes[0].set_yticks(range(len(results)), [result.label for result in results])
    for label, result in zip(axes[0].get_yticklabels(), results, strict=True):
        label.set_fontweight(_weight(result.server))
    return figure


def _draw_panel(axes: Axes, panel: Panel, results: Sequence[Result]) -> None:
    spreads = [result.quantities[panel.quantity] for result in results]
    medians = [spread.median for spread in spreads]
    whiskers = [
        [spread.median - spread.low for spread in spreads],
        [spread.high - spread.median for spread in spreads],
    ]
    colours = [OUR_COLOUR if result.server == OURS else THEIR_COLOUR for result in results]
    places = range(len(results))
    axes.barh(places, medians, xerr=whiskers, color=colours, ecolor=TEXT_COLOUR, capsize=2)
    for place, result, spread in zip(places, results, spreads, strict=True):
        axes.annotate(
            f"{spread.median:{panel.form}}",
            (spread.high, place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color=TEXT_COLOUR,
            weight=_weight(result.server),
        )
    axes.set_xlim(0, max(spread.high for spread in spreads) * ROOM)
    axes.set_title(f"{panel.title} ({panel.good})", fontsize=10, loc="left", color=TEXT_COLOUR)
    axes.tick_params(left=False, bottom=False, labelbottom=False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _draw_offers(model: str, points: Sequence[Point]) -> Figure:
    figure = Figure(figsize=(WIDTH, 5.5), dpi=DOTS, layout="constrained")
    FigureCanvasAgg(figure)
    title = f"{model}, json: latency at offered rates, Poisson arrivals (lower is better)"
    figure.suptitle(title, fontsize=14, x=0.01, ha="left")
    panels = zip(figure.subplots(1, 2, sharey=True), ("p50", "p99"), strict=True)
    for axes, name in panels:
        for number, server in enumerate(dict.fromkeys(point.server for point in points)):
            mine = [point for point in points if point.server == server]
            _draw_line(axes, name, mine, OUR_COLOUR if server == OURS else f"C{number}")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(f"{name}, ms", fontsize=10, loc="left", color=TEXT_COLOUR)
        axes.set_xlabel("offered requests/s", color=TEXT_COLOUR)
        for axis, form in ((axes.xaxis, "{x:,.0f}"), (axes.yaxis, "{x:,g}")):
            set_round_ticks(axis)
            axis.set_major_formatter(form)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure


def _draw_line(axes: Axes, name: str, points: Sequence[Point], colour: str) -> None:
    """One server: a point a rate, whiskers for the rounds."""
    server = points[0].server
    spreads: list[Spread] = [getattr(point, name) for point in points]
    medians = [spread.median for spread in spreads]
    whiskers = [
        [spread.median - spread.low for spread in spreads],
        [spread.high - spread.median for spread in spreads],
    ]
    rates = [point.rate for point in points]
    axes.errorbar(
        rates,
        medians,
        whiskers,
        label=server,
        color=colour,
        linewidth=2.5 if server == OURS else 1.2,
        elinewidth=0.8,
        marker="o",
        markersize=4,
        capsize=2,
    )


def _weight(server: str) -> str:
    return "bold" if server == OURS else "normal"
