"""Rounds of closed-loop load: all servers in turns, each frozen while another is measured.

A server has the machine to itself in its turn: the others are stopped where they are (SIGSTOP), so
neither their idle loops nor their timers count. After a turn begins, a little load that does not
count brings the server's memory and caches back.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.progress import Progress

from bench.compare.contender import WARMUP, Contender
from bench.compare.environment import Unavailable
from bench.wrk import Figures


class Cell(NamedTuple):
    """What is measured: a form of body and a number of clients."""

    body: str
    clients: int


class Turn(NamedTuple):
    """One server's turn in one round; `cpu` is seconds of all its processes per 1,000 requests."""

    server: str
    cell: Cell
    round: int
    figures: Figures
    cpu: float


def turns(
    contenders: Sequence[Contender], cells: Sequence[Cell], rounds: int
) -> list[tuple[int, Cell, Contender]]:
    """Who is measured when.

    All turns of a cell and a round are next to each other, because the machine changes with time;
    who begins changes from round to round.
    """
    order = []
    for number in range(rounds):
        for cell in cells:
            able = [one for one in contenders if cell.body in one.forms]
            begins = number % max(len(able), 1)
            order += [(number, cell, one) for one in able[begins:] + able[:begins]]
    return order


def run_rounds(
    contenders: Sequence[Contender],
    cells: Sequence[Cell],
    *,
    rounds: int,
    seconds: int,
    progress: Progress,
) -> Iterator[Turn]:
    """Measure all; whoever fails takes part no more, and `failure` says why."""
    order = turns(contenders, cells, rounds)
    bar = progress.add_task("", total=len(order))
    for number, cell, one in order:
        name = one.peer.name
        progress.update(bar, description=f"{name}, {cell.body}, {cell.clients} clients")
        if not one.failure:
            with one.turn(f"round {number + 1}, {cell.clients} clients"):
                figures, cpu = _load(one, cell, seconds)
                yield Turn(name, cell, number, figures, cpu / figures.requests * 1e3)
        progress.advance(bar)
    progress.remove_task(bar)


def _load(one: Contender, cell: Cell, seconds: int) -> tuple[Figures, float]:
    one.check(cell.body)
    one.load(cell.body, clients=cell.clients, seconds=WARMUP)
    one.settle()
    figures, cpu = one.load(cell.body, clients=cell.clients, seconds=seconds)
    if not figures.requests:
        msg = f"no answer in {seconds} s"
        raise Unavailable(msg)
    return figures, cpu
