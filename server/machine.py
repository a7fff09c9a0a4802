"""What this process may use of the machine: CPUs, files, and whether there is a GPU. Any thread.

A container limits the CPUs in one of two ways: it names those to run on (affinity), or it gives a
share of the time of all (a quota of its control group, `cpu.max`). Frameworks look at the first at
best, and would start more threads than can run.
"""

import math
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

CONTROL_GROUPS: Final = Path("/sys/fs/cgroup")

OWN_GROUPS: Final = Path("/proc/self/cgroup")
"""Lines `number:controllers:path`; the number of version 2 is 0, and it has no controllers."""

DEVICES: Final = Path("/dev")

GPU_FILES: Final = ("nvidia[0-9]*", "kfd", "dxg")
"""How drivers of NVIDIA, AMD and Windows' subsystem call them."""


def cpus() -> int:
    """CPUs that this process may use: by affinity, and by whole ones of its quota; at least 1."""
    allowed = len(os.sched_getaffinity(0))
    return max(1, math.floor(min(allowed, quota(CONTROL_GROUPS, OWN_GROUPS))))


def open_files() -> int:
    """Have as many files open as the system lets us, each connection being one; how many.

    What programs get without asking, the soft limit, is 1,024 for the sake of an old system call.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # Systems have limits of their own to "unlimited".
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else sys.maxsize


def quota(mounted: Path, own: Path) -> float:
    """CPUs' time that control groups leave to this process: the least of its group and those above.

    Infinite without a limit, and where there are no control groups.
    """
    return min([math.inf, *(limit for group in _groups(mounted, own) for limit in _limits(group))])


def has_gpu(devices: Path = DEVICES) -> bool:
    """Whether a GPU is there and not hidden from this process."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0") in {"", "-1"}:
        return False
    return any(next(devices.glob(name), None) is not None for name in GPU_FILES)


def _groups(mounted: Path, own: Path) -> Iterator[Path]:
    """The folders of this process's control groups and of those above them, as far as mounted."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            root = mounted / controllers
            group = root / path.strip("/")
            yield group
            # In a container, the path may be the host's: then only the root is there.
            yield from (above for above in group.parents if above.is_relative_to(root))


def _limits(group: Path) -> Iterator[float]:
    """The limits that one control group sets, of either version."""
    match _words(group / "cpu.max"):
        case [most, period] if most != "max":
            yield int(most) / int(period)
    match _words(group / "cpu.cfs_quota_us"), _words(group / "cpu.cfs_period_us"):
        case [most], [period] if int(most) > 0:
            yield int(most) / int(period)


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []
