"""What the kernel counts of TCP, of all programs on this machine together. Assumption: Linux."""

import pathlib
import resource
from collections.abc import Mapping
from typing import Final

import click

TIMEOUTS: Final = "timeouts of all kinds"
"""Packets sent again; some are lost even on a busy loopback."""

COUNTED: Final[Mapping[str, str]] = {
    "ListenOverflows": "connections for which the backlog had no room",
    "ListenDrops": "connections that the listener dropped",
    "TCPSynRetrans": "SYN retries",
    "TCPTimeouts": TIMEOUTS,
}
"""The counters that tell of trouble, and what each means."""

SPARE_FILES: Final = 512
"""Files that a program has open besides its connections, and more."""


def counters() -> dict[str, int]:
    """The counters that tell of trouble, by their meaning."""
    found: dict[str, int] = {}
    lines = pathlib.Path("/proc/net/netstat").read_text().splitlines()
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        for name, value in zip(names.split()[1:], values.split()[1:], strict=True):
            if meaning := COUNTED.get(name):
                found[meaning] = int(value)
    return found


def allow_connections(count: int) -> None:
    """Let this process, and those it starts, have so many open. ClickException."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count + SPARE_FILES:
        msg = (
            f"{count:,} connections need {count + SPARE_FILES:,} open files, this machine allows"
            f" {hard:,}: raise the hard limit (`ulimit -Hn`), or ask for fewer connections"
        )
        raise click.ClickException(msg)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
