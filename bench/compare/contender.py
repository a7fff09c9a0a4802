"""A server that takes part: started, checked, frozen while others are measured, ended with all."""

import contextlib
import http.client
import os
import pathlib
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import click
import uvloop

from bench.compare.environment import Unavailable, check_ports
from bench.compare.forms import Form, Sent
from bench.compare.peers import RAW, Peer, Place
from bench.compare.rows import Row, same
from bench.family import Family
from bench.peers import settings
from bench.record import ROOT
from bench.target import Target
from bench.wrk import Figures, run_wrk
from server.load import Offered, Result, offer

START_LIMIT: Final = 180.0
"""Seconds until the first good answer; Ray takes thirty on a quiet machine."""

ANSWER_LIMIT: Final = 30.0

STOP_LIMIT: Final = 10.0

SETTLE_LIMIT: Final = 30.0
"""Seconds for the requests whose clients have left: not all servers notice."""

WARMUP: Final = 1
"""Seconds of load at the beginning of each turn, which do not count."""

PAUSE: Final = 0.05

PORTS: Final = 3
"""Neighbouring ports for each server."""

SHOWN_OF_LOG: Final = 300

SHOWN_OF_ANSWER: Final = 200


class Question(NamedTuple):
    """What a model is asked, and what TensorFlow itself answers."""

    model: str
    folder: pathlib.Path
    row: Row
    answer: Sequence[float]


class Contender:
    """A running server of one model. `failure` says why it takes part no more."""

    def __init__(
        self, peer: Peer, forms: Mapping[str, Form], question: Question, port: int, family: Family
    ) -> None:
        self.peer = peer
        self.forms = forms
        self._question = question
        self._port = port
        self._family = family
        self._sent = {body: form.write(question.row) for body, form in forms.items()}
        self.started_in = 0.0
        self.idle = 0.0
        self.memory = 0.0
        self.failure = ""

    def check(self, body: str) -> None:
        """Ask for the row. OSError and HTTPException without an answer, Unavailable if wrong."""
        form = self.forms[body]
        status, answer = self._ask(form.path, self._sent[body])
        if status == http.client.OK:
            with contextlib.suppress(ValueError, LookupError, TypeError):
                if same(form.read(answer), self._question.answer):
                    return
        said = answer[:SHOWN_OF_ANSWER].decode(errors="replace")
        msg = f"it answered wrongly, with status {status}: {said}"
        raise Unavailable(msg)

    def load(self, body: str, *, clients: int, seconds: int) -> tuple[Figures, float]:
        """Keep it busy: what wrk saw, and the seconds of CPU that it took. ClickException."""
        url = f"http://127.0.0.1:{self._port}{self.forms[body].path}"
        sent = self._sent[body]
        before = self._family.cpu()
        figures = run_wrk(
            url, sent.body, connections=clients, seconds=seconds, headers=sent.headers
        )
        return figures, self._family.cpu() - before

    def offer(self, body: str, *, rate: float, seconds: float, seed: int) -> Result:
        """Send so many requests a second, whatever becomes of them; `seed` draws their times."""
        target = Target("127.0.0.1", self._port, self.forms[body].path)
        sent = self._sent[body]
        request = target.post(sent.body, sent.headers["Content-Type"])
        plan = Offered(rate=rate, seconds=seconds, warmup=WARMUP, seed=seed)
        return uvloop.run(offer((target.host, target.port), request, plan))

    def settle(self) -> None:
        """Wait until it is done with what nobody waits for any more."""
        self._family.settle(SETTLE_LIMIT)

    def rest(self, seconds: float) -> None:
        """Watch it do nothing: `idle` is the share of a core that takes."""
        self.settle()
        before, began = self._family.cpu(), time.perf_counter()
        time.sleep(seconds)
        self.idle = (self._family.cpu() - before) / (time.perf_counter() - began)

    def weigh(self) -> None:
        """See how much memory it has."""
        self.memory = self._family.memory()

    def freeze(self) -> None:
        """Let it have no CPU at all until its next turn."""
        self._family.freeze()

    @contextlib.contextmanager
    def turn(self, what: str) -> Iterator[None]:
        """Let it go on until the block is left; what goes wrong there becomes its `failure`."""
        self._family.thaw()
        try:
            yield
            self.settle()
        except (OSError, http.client.HTTPException, Unavailable, click.ClickException) as bad:
            self.failure = f"{what}: {bad}"
        finally:
            self._family.freeze()

    def _ask(self, path: str, sent: Sent) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_LIMIT)
        try:
            connection.request("POST", path, sent.body, dict(sent.headers))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@contextlib.contextmanager
def started(
    peer: Peer,
    bodies: Sequence[str],
    question: Question,
    *,
    programs: pathlib.Path,
) -> Iterator[Contender]:
    """A server, from its first good answer until the block is left. Unavailable."""
    check_ports(peer)
    # Short, because it is part of the names of sockets, which have at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True) as folder:
        place = Place(programs, question.folder, _free_port(), pathlib.Path(folder))
        forms = {body: peer.forms[body] for body in bodies}
        with pathlib.Path(folder, "log").open("w+") as log:
            process = subprocess.Popen(
                peer.arguments(place),
                cwd=ROOT,
                env=_variables(peer, place, bodies),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            family = Family(process.pid)
            try:
                contender = Contender(peer, forms, question, place.port, family)
                _wait(contender, process, pathlib.Path(log.name))
                yield contender
            finally:
                _end(process, family)


def _wait(contender: Contender, process: "subprocess.Popen[bytes]", log: pathlib.Path) -> None:
    """Ask until the answer is right, and then in its other forms too."""
    first, *others = contender.forms
    began = time.perf_counter()
    happened = f"gave no good answer within {START_LIMIT:g} s"
    while (waited := time.perf_counter() - began) < START_LIMIT:
        time.sleep(PAUSE)
        if process.poll() is not None:
            happened = f"ended with {process.returncode} while it started"
            break
        try:
            contender.check(first)
        except (OSError, http.client.HTTPException):
            continue
        except Unavailable as wrong:
            happened = str(wrong).removeprefix("it ")
            continue
        contender.started_in = waited
        for body in others:
            contender.check(body)
        return
    said = " ".join(log.read_text(errors="replace").split())[-SHOWN_OF_LOG:]
    msg = f"it {happened}; it said: {said or 'nothing'}"
    raise Unavailable(msg)


def _variables(peer: Peer, place: Place, bodies: Sequence[str]) -> dict[str, str]:
    folders = {
        "folder": str(place.folder),
        "libraries": sysconfig.get_config_var("LIBDIR"),
    }
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(place.folder),
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        settings.MODEL: str(place.model / "1"),
        settings.PORT: str(place.port),
        settings.BODY: RAW if list(bodies) == [RAW] else "json",
        settings.FOLDER: str(place.folder),
        **{name: value.format(**folders) for name, value in peer.variables.items()},
    }


def _end(process: "subprocess.Popen[bytes]", family: Family) -> None:
    """Ask it to stop; then end all that it left behind."""
    family.thaw()
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_LIMIT)
    family.kill()
    process.wait()


def _free_port() -> int:
    """The first of some neighbouring ports that nobody listens at."""
    while True:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError, OverflowError):
            port = 0
            for number in range(PORTS):
                one = stack.enter_context(socket.socket())
                one.bind(("127.0.0.1", port + number if number else 0))
                port = port or one.getsockname()[1]
            return port
