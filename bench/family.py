"""A process and all that came of it, watched in /proc: those below it and those of its session.

A server's children may outlive whoever started them and belong to nobody then; the session that
they were born in stays. So the root must lead a session of its own. Assumptions: Linux.
"""

import contextlib
import os
import pathlib
import signal
import time
from typing import Final, NamedTuple

TICKS: Final = os.sysconf("SC_CLK_TCK")

SETTLED: Final = 0.3
"""Share of a core below which nobody works on anything but housekeeping."""

LOOK: Final = 0.1
"""Seconds between two looks at how much CPU was used."""

GONE: Final = frozenset("ZX")
"""States of processes that have ended."""

STOPPED: Final = "T"


class Member(NamedTuple):
    """One process; `cpu` is seconds."""

    parent: int
    session: int
    state: str
    cpu: float


class Family:
    """All processes that came of one."""

    def __init__(self, root: int) -> None:
        self._root = root

    def cpu(self) -> float:
        """Seconds of CPU that those alive have used so far, to a hundredth."""
        return sum(member.cpu for member in self._members().values())

    def memory(self) -> float:
        """Megabytes of memory now; what they share counts once, in equal parts (PSS)."""
        kilobytes = 0
        for pid in self._members():
            with contextlib.suppress(OSError):
                for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        kilobytes += int(line.split()[1])
        return kilobytes * 1024 / 1e6

    def size(self) -> int:
        """How many there are."""
        return len(self._members())

    def freeze(self) -> None:
        """Stop all of them where they are, those included that are born meanwhile."""
        while running := [p for p, m in self._members().items() if m.state != STOPPED]:
            _signal(running, signal.SIGSTOP)
            time.sleep(0.001)

    def thaw(self) -> None:
        """Let them go on."""
        _signal(self._members(), signal.SIGCONT)

    def kill(self) -> None:
        """End all of them at once."""
        while members := self._members():
            _signal(members, signal.SIGKILL)
            time.sleep(0.01)

    def settle(self, limit: float) -> None:
        """Wait until they have done what was asked of them, for at most `limit` seconds."""
        until = time.monotonic() + limit
        before = self.cpu()
        while time.monotonic() < until:
            time.sleep(LOOK)
            now = self.cpu()
            if now - before < SETTLED * LOOK:
                return
            before = now

    def _members(self) -> dict[int, Member]:
        """Those alive, by their ids."""
        everybody = _everybody()
        found: set[int] = set()
        # By its session too: once the root has ended, its number may be somebody else's.
        born = {pid for pid, one in everybody.items() if one.session == self._root}
        while born:
            found |= born
            born = {
                pid
                for pid, one in everybody.items()
                if pid not in found and (one.parent in found or one.session in found)
            }
        return {pid: everybody[pid] for pid in found if everybody[pid].state not in GONE}


def _everybody() -> dict[int, Member]:
    members = {}
    for file in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name, in brackets, may contain anything.
            fields = file.read_text().rpartition(")")[2].split()
            cpu = (int(fields[11]) + int(fields[12])) / TICKS
            members[int(file.parent.name)] = Member(int(fields[1]), int(fields[3]), fields[0], cpu)
    return members


def _signal(pids: "dict[int, Member] | list[int]", number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
