"""The command line of the comparison."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Final

import click

from bench.compare.environment import Unavailable, timed_programs
from bench.compare.match import Failure, Match, Plan, plain, play
from bench.compare.peers import FORMATS, OURS, SERVERS, Peer
from bench.compare.rows import SHAPES
from bench.compare.tables import show_best, show_failures, show_match
from bench.options import cache_option, json_option
from bench.peers import settings
from bench.record import write_json
from bench.screen import screen, steps
from bench.wrk import find_wrk

CLIENTS: Final = (1, 64, 256)
CLIENTS_OF: Final[Mapping[str, Sequence[int]]] = {"mobilenet": (1, 32, 64)}
"""A batch of mobilenet takes a tenth of a second: 256 clients would only wait."""


@click.command(
    epilog="""\b
Examples:
  python -m bench compare --setup-only
  python -m bench compare | tee compare.md
  python -m bench compare --peer mosec --model mlp --clients 64 --rounds 9
  python -m bench compare --json compare.json --plots plots"""
)
@click.option(
    "--peer",
    "names",
    type=click.Choice([peer.name for peer in SERVERS if peer.name != OURS]),
    multiple=True,
    help="A server to compare with; may be repeated.  [default: all]",
)
@click.option(
    "--model",
    "models",
    type=click.Choice(list(SHAPES)),
    multiple=True,
    help="A model; may be repeated.  [default: all]",
)
@click.option(
    "--format",
    "formats",
    type=click.Choice(list(FORMATS)),
    multiple=True,
    help="What bodies are; may be repeated.  [default: all]",
)
@click.option(
    "--clients",
    type=click.IntRange(1, 4096),
    multiple=True,
    help="How many clients; may be repeated.  [default: 1, 64, 256; mobilenet: 1, 32, 64]",
)
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option(
    "--seconds",
    type=click.IntRange(1, 60),
    default=3,
    show_default=True,
    help="Load in each turn.",
)
@click.option(
    "--open-loop",
    is_flag=True,
    help="Measure latency at offered rates as well: shares of each server's own rate.",
)
@click.option("--setup-only", is_flag=True, help="Make the environments, and measure nothing.")
@cache_option
@json_option
@click.option(
    "--plots",
    type=click.Path(file_okay=False, path_type=pathlib.Path),
    help="A folder for plots, as PNG.",
)
def command(
    *,
    names: Sequence[str],
    models: Sequence[str],
    formats: Sequence[str],
    clients: Sequence[int],
    rounds: int,
    seconds: int,
    open_loop: bool,
    setup_only: bool,
    cache: pathlib.Path,
    json_file: pathlib.Path | None,
    plots: pathlib.Path | None,
) -> None:
    """Compare the server with others of the same models, each as its documentation sets it up.

    Every peer gets an environment of its own from PyPI, once. All servers of a model run at the
    same time, but all except the one being measured are frozen; wrk loads them in turns, round by
    round, each client sending its next request when it has its answer. Ratios are of turns in the
    same round. All share this machine's CPUs with wrk.
    """
    peers = [peer for peer in SERVERS if peer.name == OURS or not names or peer.name in names]
    ready, unavailable = _prepare(peers, cache)
    if setup_only:
        show_failures(unavailable)
        return
    find_wrk()
    plan = Plan(ready, formats or list(FORMATS), rounds, seconds, cache, open_loop)
    matches = []
    for model in models or list(SHAPES):
        match = play(plan, model, clients or CLIENTS_OF.get(model, CLIENTS))
        match.failures += unavailable
        show_match(match, plan.formats, [peer.name for peer in peers])
        matches.append(match)
        if json_file is not None:
            # After each model: all of them take an hour.
            write_json(json_file, "compare", _settings(plan, peers), plain(matches))
    show_best(matches)
    if plots is not None:
        _plot(matches, plots)


def _prepare(
    peers: Sequence[Peer], cache: pathlib.Path
) -> tuple[list[tuple[Peer, pathlib.Path]], list[Failure]]:
    """The peers that can be started, and why the others cannot."""
    ready, unavailable = [], []
    with steps() as progress:
        bar = progress.add_task("", total=len(peers))
        for peer in peers:
            progress.update(bar, description=f"the environment of {peer.name}")
            try:
                programs, seconds = timed_programs(peer, cache)
            except Unavailable as reason:
                unavailable.append(Failure(peer.name, list(peer.forms), str(reason)))
            else:
                ready.append((peer, programs))
                if seconds > 1:
                    screen().print(f"the environment of {peer.name} took {seconds:.0f} s")
            progress.advance(bar)
    return ready, unavailable


def _settings(plan: Plan, peers: Sequence[Peer]) -> dict[str, object]:
    return {
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "max_batch_size": settings.MAX_BATCH_SIZE,
        "wait_seconds": settings.WAIT,
        "requirements": {
            peer.name: file.read_text().split() for peer in peers if (file := peer.requirements())
        },
    }


def _plot(matches: Sequence[Match], folder: pathlib.Path) -> None:
    from bench.compare.plots import plot  # noqa: PLC0415 - matplotlib takes a second

    for file in plot(matches, folder):
        screen().print(f"wrote {file}")
