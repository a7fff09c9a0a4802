"""Runs what `load` was asked for: finds the model, offers each plan, shows it. Main thread."""

import asyncio
import dataclasses
import functools
import signal
from collections.abc import Awaitable, Callable
from typing import Final

import orjson
import uvloop

from server.cli import load_text
from server.cli.load_live import Live
from server.cli.load_wishes import FIRST, Wishes
from server.config import ConfigError
from server.interrupts import INTERRUPTED
from server.load import Clients, Course, Offered, Result, Stretch, keep_busy, offer, sweep
from server.load.asking import Reply, Unreachable, ask
from server.load.batches import Batches, read_metrics
from server.load.forms import Sent
from server.load.result import GOOD, SHED
from server.load.target import Target
from server.load.told import NotTold
from server.samples.tried import candidates
from server.samples.values import NoForm

FAILED: Final = 1
_REFINE: Final = 3
"""Rates that are tried between one that was not too much and one that was."""

_WRONG_REQUEST: Final = range(400, 500)


def run(wishes: Wishes) -> int:
    """Do it all; the exit code. ConfigError."""
    try:
        model = wishes.model or _only_model(wishes)
        sent = _sent_file(wishes, model) if wishes.body else _made(wishes, model)
        loading = _Loading(wishes, model, sent)
        uvloop.run(loading.run())
    except Unreachable as error:
        raise ConfigError(str(error)) from None
    shown = load_text.Shown(
        str(loading.target), wishes.form.title, len(sent.body), wishes.rows, tuple(loading.seen)
    )
    load_text.show(shown, wishes.json_file)
    return _exit_code([stretch.result for stretch, _ in loading.seen], loading.interrupted)


def _exit_code(results: list[Result], interrupted: bool) -> int:  # noqa: FBT001 - a fact, no switch
    if interrupted:
        return INTERRUPTED
    failed = any(result.failed > result.shed for result in results)
    return FAILED if failed or not any(result.good for result in results) else 0


# ---------------------------------------------------------------------------------- what to send


def _only_model(wishes: Wishes) -> str:
    """The name of the one model that is served. ConfigError."""
    index = wishes.target.below("/v2/repository/index")
    headers = {"Content-Type": "application/json", **wishes.headers}
    reply = ask(index, "POST", body=b'{"ready": true}', headers=headers)
    _check_allowed(index, reply)
    try:
        told = orjson.loads(reply.body if reply.status == GOOD else b"")
        names = sorted({model["name"] for model in told})
    except (ValueError, KeyError, TypeError):
        msg = f"{wishes.target} does not tell which models it serves: give --model NAME"
        raise ConfigError(msg) from None
    if len(names) != 1:
        msg = f"give --model NAME: {wishes.target} serves {', '.join(names) or 'none'}"
        raise ConfigError(msg)
    return str(names[0])


def _sent_file(wishes: Wishes, model: str) -> Sent:
    """The contents of the file of --body, which the server took once. ConfigError."""
    assert wishes.body is not None
    try:
        body = wishes.body.read_bytes()
    except OSError as error:
        msg = f"--body {wishes.body}: {error.strerror}"
        raise ConfigError(msg) from None
    sent = Sent(body, wishes.content_type)
    target = wishes.target.below(wishes.form.path(model))
    reply = _try(target, sent, wishes)
    if reply.status in _WRONG_REQUEST and reply.status not in SHED:
        msg = f"{target} refuses {wishes.body}: {reply.status} {reply.text}"
        raise ConfigError(msg)
    return sent


def _made(wishes: Wishes, model: str) -> Sent:
    """A request made from the metadata, which the server took once. ConfigError."""
    target = wishes.target.below(wishes.form.metadata(model))
    reply = ask(target, headers=wishes.headers)
    _check_allowed(target, reply)
    if reply.status != GOOD:
        msg = f"{target} answers {reply.status}: {reply.text}"
        raise ConfigError(msg)
    refused = "nothing fits it"
    infer = wishes.target.below(wishes.form.path(model))
    try:
        signature = wishes.form.read(reply.body, wishes.signature)
        for request in candidates(signature):
            rows = request.of_rows(wishes.rows) if signature.batchable else request
            sent = wishes.form.write(rows)
            answer = _try(infer, sent, wishes)
            if answer.status == GOOD or answer.status in SHED:
                return sent
            refused = f"{answer.status} {answer.text}"
    except (NotTold, NoForm) as error:
        refused = str(error)
    msg = f"no request could be made for {infer}: {refused}; give --body FILE"
    raise ConfigError(msg)


def _try(target: Target, sent: Sent, wishes: Wishes) -> Reply:
    headers = {"Content-Type": sent.content_type, **(sent.headers or {}), **wishes.headers}
    reply = ask(target, "POST", body=sent.body, headers=headers, timeout=wishes.timeout)
    _check_allowed(target, reply)
    return reply


def _check_allowed(target: Target, reply: Reply) -> None:
    if reply.status in (401, 403):
        msg = f"{target} answers {reply.status}: {reply.text}; give --token TOKEN"
        raise ConfigError(msg)


# ------------------------------------------------------------------------------------- the load


class _Loading:
    """Offers the plans one after the other; `seen` is what came of each, with its batches."""

    def __init__(self, wishes: Wishes, model: str, sent: Sent) -> None:
        self.target = wishes.target.below(wishes.form.path(model))
        self.seen: list[tuple[Stretch, Batches | None]] = []
        self.interrupted = False
        self._wishes = wishes
        self._model = model
        headers = {**(sent.headers or {}), **wishes.headers}
        self._request = self.target.post(sent.body, sent.content_type, headers)
        self._course: Course | None = None
        self._live = Live()

    async def run(self) -> None:
        """Do what was asked for, until it is done or interrupted."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._interrupt)
        plan = self._wishes.clients
        with self._live:
            if plan is not None:
                result, batches = await self._measure(plan)
                self.seen.append((Stretch(result, ""), batches))
            else:
                await self._sweep()

    async def _sweep(self) -> None:
        found: list[Batches | None] = []

        async def measure(rate: float) -> Result:
            planned = dataclasses.replace(self._wishes.plan, rate=rate)
            result, batches = await self._measure(planned)
            found.append(batches)
            return result

        rates = self._wishes.rates
        async for stretch in sweep(measure, rates=rates, begin=FIRST, refine=_REFINE):
            self.seen.append((stretch, found[-1]))
            if self.interrupted or not stretch.result.good:
                # One that answers nothing well needs no other rate but a look.
                return

    async def _measure(self, plan: Offered | Clients) -> tuple[Result, Batches | None]:
        # Nothing is under way: whoever waits for these answers makes nobody late.
        before = self._batches()
        address = (self.target.host, self.target.port)
        self._live.begin(plan)
        begun: Callable[..., Awaitable[Result]]
        if isinstance(plan, Clients):
            begun = functools.partial(keep_busy, address, self._request, plan)
        else:
            begun = functools.partial(
                offer, address, self._request, plan, connections=self._wishes.connections
            )
        result = await begun(timeout=self._wishes.timeout, on_begin=self._began)
        self._live.end()
        after = self._batches() if before else None
        return result, after.since(before) if before and after else None

    def _batches(self) -> Batches | None:
        """What the server tells of its batches, if it is one of ours and lets us see it."""
        try:
            reply = ask(self._wishes.target.below("/metrics"), headers=self._wishes.headers)
        except Unreachable:
            return None
        text = reply.body.decode(errors="replace")
        return read_metrics(text, self._model) if reply.status == GOOD else None

    def _began(self, course: Course) -> None:
        self._course = course
        self._live.follow(course)
        if self.interrupted:
            course.interrupt()

    def _interrupt(self) -> None:
        self.interrupted = True
        if self._course is not None:
            self._course.interrupt()
