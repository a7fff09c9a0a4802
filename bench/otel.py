"""What spans cost: the server without them beside itself with more and more of them, in turns."""

import contextlib
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import click

from bench.compare.forms import tensorflow_serving
from bench.models import cached
from bench.options import cache_option, json_option
from bench.record import write_json
from bench.screen import steps
from bench.servers import Server, running
from bench.settings import Turn, measure, show

MODEL: Final = "tiny"

ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"

_CALLER: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"


class Contender(NamedTuple):
    """A server's option, its variables, and a header that its clients send."""

    option: str = "--otel"
    variables: Mapping[str, str] = {}
    traceparent: str = ""

    @property
    def headers(self) -> Mapping[str, str]:
        """What its clients send besides."""
        return {"traceparent": self.traceparent} if self.traceparent else {}


def _ratio(ratio: float) -> Contender:
    sampler = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}
    return Contender(variables={**sampler, "OTEL_TRACES_SAMPLER_ARG": str(ratio)})


CONTENDERS: Final = {
    "off": Contender("--no-otel"),
    "off again": Contender("--no-otel"),
    "on, as it comes": Contender(),
    "on, callers sample none": Contender(traceparent=f"{_CALLER}-00"),
    "on, 1 %": _ratio(0.01),
    "on, 10 %": _ratio(0.1),
    "on, 100 %": _ratio(1.0),
    "off, callers sample all": Contender("--no-otel", traceparent=f"{_CALLER}-01"),
    "on, callers sample all": Contender(traceparent=f"{_CALLER}-01"),
}
"""The server twice without, for the noise."""


@click.command(
    epilog="""\b
Examples:
  python -m bench otel
  python -m bench otel --rounds 9 --only off --only "on, as it comes\""""
)
@click.option("--clients", type=click.IntRange(1, 4096), default=64, show_default=True)
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--seconds", type=click.IntRange(1, 60), default=2, show_default=True)
@click.option(
    "--only", type=click.Choice(list(CONTENDERS)), multiple=True, help="Measure these; repeatable."
)
@cache_option
@json_option
def command(
    *,
    clients: int,
    rounds: int,
    seconds: int,
    only: tuple[str, ...],
    cache: pathlib.Path,
    json_file: pathlib.Path | None,
) -> None:
    """Measure requests a second and CPU a request, with spans and without.

    The tiny model, so that all of the server's own cost shows. What is exported goes to a process
    that takes everything, and has a part of this machine meanwhile. All servers but the one that is
    measured are frozen.
    """
    names = list(only or CONTENDERS)
    turns: dict[str, list[Turn]] = {name: [] for name in names}
    with steps() as progress, contextlib.ExitStack() as stack:
        bar = progress.add_task(f"{MODEL}, {clients} clients", total=rounds * len(names))
        sink = stack.enter_context(running("sink", ["bench.otlp_sink"]))
        servers = [
            (name, stack.enter_context(_frozen(name, cache, sink.url("")))) for name in names
        ]
        form = tensorflow_serving(f"/v1/models/{MODEL}:predict")
        for number in range(rounds):
            # Who begins changes from round to round.
            begins = number % len(servers)
            for name, server in servers[begins:] + servers[:begins]:
                headers = CONTENDERS[name].headers
                with server.thawed():
                    turn = measure(server, form, MODEL, clients, seconds, headers=headers)
                turns[name].append(turn)
                progress.advance(bar)
    show(f"{MODEL}, {clients} clients", turns)
    if json_file is not None:
        asked: dict[str, Any] = {"clients": clients, "rounds": rounds, "seconds": seconds}
        told = {name: [turn._asdict() for turn in of] for name, of in turns.items()}
        write_json(json_file, "otel", asked, told)


@contextlib.contextmanager
def _frozen(name: str, cache: pathlib.Path, sink: str) -> Iterator[Server]:
    """A server that is ready, and stopped where it is."""
    contender = CONTENDERS[name]
    arguments = ["server", "--model", f"{MODEL}={cached(MODEL, cache)}", "--port", "0"]
    arguments += ["--log-level", "error", contender.option]
    variables = {ENDPOINT: sink, **contender.variables}
    with running(name, arguments, variables=variables) as server:
        server.freeze()
        yield server
