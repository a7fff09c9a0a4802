"""One environment a peer, made from PyPI once and kept: `CACHE/peers/NAME`.

`made` in it tells what it was made from: whoever changes the requirements gets a new one.
`install.log` has what pip said.
"""

import hashlib
import pathlib
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from typing import IO, Final

from bench.compare.peers import Peer

TIME_LIMIT: Final = 1800.0
"""Seconds for installing a peer; a slow network needs most of them."""


class Unavailable(Exception):
    """A peer that cannot be measured here, and why."""


def home(peer: Peer, cache: pathlib.Path) -> pathlib.Path:
    """All that is kept for a peer."""
    return cache.expanduser().absolute() / "peers" / peer.name


def programs(peer: Peer, cache: pathlib.Path) -> pathlib.Path:
    """The folder of an environment's programs, which is made now if need be. Unavailable."""
    requirements = peer.requirements()
    if requirements is None:
        return pathlib.Path(sys.executable).parent
    folder = home(peer, cache)
    marker = folder / "made"
    made_from = _digest(peer, requirements)
    if not marker.exists() or marker.read_text() != made_from:
        marker.unlink(missing_ok=True)
        _make(peer, requirements, folder)
        marker.write_text(made_from)
    return folder / "venv" / "bin"


def check_ports(peer: Peer) -> None:
    """Whatever a peer takes without being asked must be free. Unavailable."""
    taken = [str(port) for port in peer.ports if _taken(port)]
    if taken:
        msg = f"it needs the ports {', '.join(taken)}, which are in use"
        raise Unavailable(msg)


def _digest(peer: Peer, requirements: pathlib.Path) -> str:
    told = [sys.version, requirements.read_text(), *map(str, peer.edits)]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def _make(peer: Peer, requirements: pathlib.Path, folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    venv = folder / "venv"
    shutil.rmtree(venv, ignore_errors=True)
    python = str(venv / "bin" / "python")
    with (folder / "install.log").open("w+") as log:
        _run([sys.executable, "-m", "venv", str(venv)], log)
        _run([python, "-m", "pip", "install", "-r", str(requirements)], log)
    packages = pathlib.Path(
        sysconfig.get_path("purelib", vars={"base": str(venv), "platbase": str(venv)})
    )
    for edit in peer.edits:
        file = packages / edit.file
        text = file.read_text()
        if edit.old not in text:
            msg = f"it is not what was expected: {edit.file} has no {edit.old!r}"
            raise Unavailable(msg)
        file.write_text(text.replace(edit.old, edit.new))


def _run(command: list[str], log: IO[str]) -> None:
    try:
        subprocess.run(command, check=True, stdout=log, stderr=log, timeout=TIME_LIMIT)
    except subprocess.TimeoutExpired as late:
        msg = f"it did not install within {TIME_LIMIT:g} s, see {log.name}"
        raise Unavailable(msg) from late
    except (OSError, subprocess.CalledProcessError) as error:
        log.seek(0)
        said = log.read().splitlines()[-1:] or [str(error)]
        msg = f"it did not install: {said[0]} (all of it is in {log.name})"
        raise Unavailable(msg) from error


def _taken(port: int) -> bool:
    with socket.socket() as one:
        # As servers do: a connection that has just ended does not count.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def timed_programs(peer: Peer, cache: pathlib.Path) -> tuple[pathlib.Path, float]:
    """`programs`, and the seconds that it took: none to speak of when they were there."""
    began = time.perf_counter()
    return programs(peer, cache), time.perf_counter() - began
