import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.family import Family

LEAVES_AN_ORPHAN = """\
import subprocess, sys, time
middle = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', '{}']).pid)"
waits = "import time; time.sleep(600)"
subprocess.run([sys.executable, "-c", middle.format(waits)], check=True)
sys.stdout.flush()
time.sleep(600)
"""


@pytest.fixture
def server() -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", LEAVES_AN_ORPHAN]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        yield process
        process.kill()


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_an_orphan_is_frozen_thawed_and_ended_with_its_family(
    server: "subprocess.Popen[str]",
) -> None:
    assert server.stdout is not None
    orphan = int(server.stdout.readline())
    family = Family(server.pid)
    family.freeze()
    assert (state(server.pid), state(orphan)) == ("T", "T")
    family.thaw()
    assert "T" not in {state(server.pid), state(orphan)}
    family.kill()
    assert server.wait() == -signal.SIGKILL
    assert family.size() == 0


def test_whoever_is_no_member_has_no_part() -> None:
    nobody = Family(2**22 + 1)
    assert (nobody.size(), nobody.cpu(), nobody.memory()) == (0, 0.0, 0.0)
