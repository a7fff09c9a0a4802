"""All servers of one model: started one by one, measured in rounds, ended."""

import contextlib
import http.client
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from rich.progress import Progress

from bench.compare.contender import Contender, Question, started
from bench.compare.environment import Unavailable
from bench.compare.open_loop import (
    Offer,
    Point,
    closed_loop_rates,
    run_offers,
    summarize_offers,
)
from bench.compare.peers import FORMATS, Peer
from bench.compare.results import Result, summarize
from bench.compare.rounds import Cell, Turn, run_rounds
from bench.compare.rows import expected, row_of
from bench.models import cached
from bench.screen import steps

IDLE: Final = 3.0
"""Seconds of watching a server do nothing."""


class Plan(NamedTuple):
    """What to measure, for each model the same."""

    peers: Sequence[tuple[Peer, pathlib.Path]]
    formats: Sequence[str]
    rounds: int
    seconds: int
    cache: pathlib.Path
    open_loop: bool


class Standing(NamedTuple):
    """One server beside its load.

    `started_in` is seconds to its first good answer, `idle` the share of a core that it takes while
    it does nothing, `memory` megabytes after the load.
    """

    server: str
    bodies: Sequence[str]
    started_in: float
    idle: float
    memory: float


class Failure(NamedTuple):
    """A server that took no part, or not to the end: with which bodies, and why."""

    server: str
    bodies: Sequence[str]
    reason: str


@dataclass
class Match:
    """What came of one model."""

    model: str
    turns: list[Turn] = field(default_factory=list)
    offers: list[Offer] = field(default_factory=list)
    standings: list[Standing] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def results(self) -> list[Result]:
        """The medians."""
        return summarize(self.turns)

    def points(self) -> list[Point]:
        """The medians of the open loop."""
        return summarize_offers(self.offers)

    def plain(self) -> dict[str, Any]:
        """The same as JSON knows it."""
        return {
            "servers": [standing._asdict() for standing in self.standings],
            "failures": [failure._asdict() for failure in self.failures],
            "results": [result.plain() for result in self.results()],
            "open_loop": [point.plain() for point in self.points()],
            "offers": [offer._asdict() for offer in self.offers],
            "turns": [
                {
                    "server": turn.server,
                    **turn.cell._asdict(),
                    "round": turn.round,
                    **turn.figures._asdict(),
                    "cpu": turn.cpu,
                }
                for turn in self.turns
            ],
        }


def play(plan: Plan, model: str, clients: Sequence[int]) -> Match:
    """Measure all servers of a model."""
    match = Match(model)
    bodies = [body for name in plan.formats for body in FORMATS[name]]
    cells = [Cell(body, number) for body in bodies for number in clients]
    with contextlib.ExitStack() as stack, steps() as progress:
        contenders = _start(plan, match, bodies, stack, progress)
        match.turns += run_rounds(
            contenders, cells, rounds=plan.rounds, seconds=plan.seconds, progress=progress
        )
        if plan.open_loop:
            match.offers += run_offers(
                contenders,
                closed_loop_rates(match.results()),
                rounds=plan.rounds,
                seconds=plan.seconds,
                progress=progress,
            )
        for one in contenders:
            _finish(one, match)
    return match


def _start(
    plan: Plan,
    match: Match,
    bodies: Sequence[str],
    stack: contextlib.ExitStack,
    progress: Progress,
) -> list[Contender]:
    """All that start, each frozen before the next one begins."""
    folder = cached(match.model, plan.cache)
    answer = expected(match.model, plan.cache)
    question = Question(match.model, folder, row_of(match.model), answer)
    groups = _groups(plan.peers, bodies)
    bar = progress.add_task("", total=len(groups))
    contenders = []
    for peer, programs, wanted in groups:
        progress.update(bar, description=f"starting {peer.name} of {match.model}")
        try:
            one = stack.enter_context(started(peer, wanted, question, programs=programs))
        except (OSError, http.client.HTTPException, Unavailable) as reason:
            match.failures.append(Failure(peer.name, wanted, str(reason)))
        else:
            one.rest(IDLE)
            one.freeze()
            contenders.append(one)
        progress.advance(bar)
    progress.remove_task(bar)
    return contenders


def _groups(
    peers: Sequence[tuple[Peer, pathlib.Path]], bodies: Sequence[str]
) -> list[tuple[Peer, pathlib.Path, Sequence[str]]]:
    """The servers to start, each with the bodies that it is measured with."""
    groups: list[tuple[Peer, pathlib.Path, Sequence[str]]] = []
    for peer, programs in peers:
        for group in peer.groups():
            wanted = [body for body in group if body in bodies]
            if wanted:
                groups.append((peer, programs, wanted))
    return groups


def _finish(one: Contender, match: Match) -> None:
    name = one.peer.name
    if one.failure:
        match.failures.append(Failure(name, list(one.forms), one.failure))
    one.weigh()
    standing = Standing(name, list(one.forms), one.started_in, one.idle, one.memory)
    match.standings.append(standing)


def plain(matches: Sequence[Match]) -> Mapping[str, Any]:
    """All models as JSON knows them."""
    return {"models": {match.model: match.plain() for match in matches}}
