"""Latency against offered rate: requests sent when they are due, answered or not, ever faster.

`python -m bench load` waits for answers before it sends more, so a server that falls behind gets
less to do. Here it gets what was planned, and the latency of a request begins when it was due.
"""

import contextlib
import pathlib
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, get_args

import click
import uvloop

from bench.compare.forms import PLAIN, Form
from bench.compare.rows import SHAPES, row_of
from bench.models import cached
from bench.options import cache_option, json_option
from bench.rates_seen import Sweep
from bench.record import write_json
from bench.screen import steps
from bench.servers import running
from bench.target import Target
from server.load import Kind, Offered, Result, offer, sweep


class Plan(NamedTuple):
    """How to load: see the options of the same names."""

    rates: Sequence[float]
    begin: float
    refine: int
    seconds: float
    warmup: float
    settle: float
    kind: Kind
    seed: int
    connections: int
    timeout: float


@click.command(
    epilog="""\b
Examples:
  python -m bench rates --plot rates.png
  python -m bench rates --model mlp --form raw --seconds 10
  python -m bench rates --rates 500,1000,2000 --arrivals constant
  python -m bench rates http://127.0.0.1:8501/v1/models/digits:predict --body digit.json"""
)
@click.argument("urls", nargs=-1, metavar="[URL...]")
@click.option("--model", type=click.Choice(sorted(SHAPES)), default="tiny", show_default=True)
@click.option("--form", type=click.Choice(sorted(PLAIN)), default="json", show_default=True)
@click.option(
    "--body",
    "body_file",
    type=click.Path(exists=True, dir_okay=False, path_type=pathlib.Path),
    help="What to send instead of the model's row.",
)
@click.option("--rates", "listed", help="Rates, with commas; found automatically without.")
@click.option(
    "--begin",
    type=click.FloatRange(0.1, 1e6),
    default=100.0,
    show_default=True,
    help="The first rate when they are found: it doubles until it is too much.",
)
@click.option(
    "--refine",
    type=click.IntRange(0, 10),
    default=3,
    show_default=True,
    help="How many more between the last rate that was not too much and the first that was.",
)
@click.option("--seconds", type=click.FloatRange(0.1, 600), default=5.0, show_default=True)
@click.option(
    "--warmup",
    type=click.FloatRange(0, 60),
    default=1.0,
    show_default=True,
    help="Seconds of each rate before those that count.",
)
@click.option(
    "--settle",
    type=click.FloatRange(0, 60),
    default=0.5,
    show_default=True,
    help="Seconds of rest between two rates.",
)
@click.option(
    "--arrivals", "kind", type=click.Choice(get_args(Kind)), default="poisson", show_default=True
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--connections", type=click.IntRange(1, 16384), default=256, show_default=True)
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 600),
    default=10.0,
    show_default=True,
    help="Seconds after which a request is given up.",
)
@click.option(
    "--plot",
    "plot_file",
    type=click.Path(dir_okay=False, writable=True, path_type=pathlib.Path),
    help="Where to draw latency against rate, as PNG.",
)
@cache_option
@json_option
def command(
    *,
    urls: Sequence[str],
    model: str,
    form: str,
    body_file: pathlib.Path | None,
    listed: str | None,
    plot_file: pathlib.Path | None,
    cache: pathlib.Path,
    json_file: pathlib.Path | None,
    **options: Any,
) -> None:
    """Offer a server ever more requests a second until it no longer keeps up.

    URL is where to POST; it must be on this machine. Without any, our server is started with the
    model. The rate is too much when less than 95 % of it is answered, or p99 is 20 times that of a
    lower rate (and above 50 ms). A rate is offered whatever the server does: requests go out when
    they are due, on as many connections as that takes, up to a limit.
    """
    plan = Plan(rates=_rates(listed), **options)
    written = PLAIN[form](f"/v1/models/{model}:predict")
    body, content_type = _body(body_file, written, model)
    with contextlib.ExitStack() as stack:
        named = [(url, url) for url in urls] or [
            (f"ours, {model} {form},", stack.enter_context(_ours(model, written, cache)))
        ]
        sweeps = [
            Sweep(name, target, target.post(body, content_type), [])
            for name, target in [(name, _target(url)) for name, url in named]
        ]
        interrupted = _interrupted(sweeps, plan)
    settings = {**plan._asdict(), "model": model, "form": form, "body_bytes": len(body)}
    _report([swept for swept in sweeps if swept.stretches], settings, plot_file, json_file)
    if interrupted:
        sys.exit(128 + signal.SIGINT)


def _rates(listed: str | None) -> list[float]:
    if listed is None:
        return []
    try:
        rates = [float(rate) for rate in listed.split(",")]
        for rate in rates:
            Offered(rate, seconds=1.0)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--rates") from error
    return rates


def _target(url: str) -> Target:
    try:
        return Target.of(url)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="URL") from error


@contextlib.contextmanager
def _ours(model: str, form: Form, cache: pathlib.Path) -> Iterator[str]:
    """Where our server answers for a model."""
    folder = cached(model, cache)
    arguments = ["server", "--model", f"{model}={folder}", "--port", "0", "--log-level", "warning"]
    with running("ours", arguments) as server:
        yield server.url(form.path)


def _body(file: pathlib.Path | None, form: Form, model: str) -> tuple[bytes, str]:
    """What to send, and its type."""
    sent = form.write(row_of(model))
    return file.read_bytes() if file else sent.body, sent.headers["Content-Type"]


def _interrupted(sweeps: Sequence[Sweep], plan: Plan) -> bool:
    """Offer each server all rates; Ctrl-C ends it, and what was measured so far stays."""
    try:
        for swept in sweeps:
            uvloop.run(_sweep(swept, plan))
    except KeyboardInterrupt:
        return True
    return False


async def _sweep(swept: Sweep, plan: Plan) -> None:
    """Offer one server all rates. ClickException."""
    target = swept.target
    # A bar that draws itself anew all the time would make the generator late.
    with steps(live=False) as progress:
        bar = progress.add_task("", total=len(plan.rates) or None)

        async def measure(rate: float) -> Result:
            progress.update(bar, description=f"{target.authority}: {rate:,.0f} requests/s")
            progress.refresh()
            planned = Offered(rate, plan.seconds, plan.warmup, plan.kind, plan.seed)
            result = await offer(
                (target.host, target.port),
                swept.request,
                planned,
                connections=plan.connections,
                timeout=plan.timeout,
            )
            progress.advance(bar)
            return result

        async for stretch in sweep(
            measure, rates=plan.rates, begin=plan.begin, refine=plan.refine, settle=plan.settle
        ):
            _check(target, stretch.result)
            swept.stretches.append(stretch)


def _check(target: Target, result: Result) -> None:
    """A server that answers nothing well needs no lower rate but a look. ClickException."""
    if result.failed and not result.good:
        happened = dict(result.statuses) or dict(result.failures)
        msg = f"{target} gave no good answer: {happened} {result.first_error.decode('latin-1')}"
        raise click.ClickException(msg)


def _report(
    sweeps: Sequence[Sweep],
    settings: Mapping[str, Any],
    plot_file: pathlib.Path | None,
    json_file: pathlib.Path | None,
) -> None:
    """Show what came of all servers, and write it where it is wanted."""
    for swept in sweeps:
        swept.show()
    if plot_file is not None and sweeps:
        from bench.rates_plot import plot  # noqa: PLC0415 - matplotlib takes a second

        plot(sweeps, plot_file)
    if json_file is not None:
        write_json(json_file, "rates", settings, {"servers": [swept.plain() for swept in sweeps]})
