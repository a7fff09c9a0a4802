"""What the process may use of the machine: quotas of control groups of both versions, GPUs."""

import math
import os
from pathlib import Path

import pytest

from server.machine import cpus, has_gpu, quota


def control_groups(folder: Path, own: str, files: dict[str, str]) -> tuple[Path, Path]:
    """A mounted tree of control groups, and the file that names those of this process."""
    for name, content in files.items():
        file = folder / "mounted" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    (folder / "own").write_text(own)
    return folder / "mounted", folder / "own"


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        pytest.param("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5, id="version 2"),
        pytest.param("0::/\n", {"cpu.max": "max 100000\n"}, math.inf, id="version 2, no limit"),
        pytest.param(
            "0::/a/b\n",
            {"a/b/cpu.max": "400000 100000", "a/cpu.max": "300000 100000", "cpu.max": "max 100000"},
            3.0,
            id="a group above has less",
        ),
        pytest.param("0::/host/only\n", {"cpu.max": "200000 100000"}, 2.0, id="path of the host"),
        pytest.param(
            "7:memory:/x\n4:cpu,cpuacct:/x\n0::/\n",
            {
                "cpu,cpuacct/x/cpu.cfs_quota_us": "50000\n",
                "cpu,cpuacct/x/cpu.cfs_period_us": "100000\n",
            },
            0.5,
            id="version 1",
        ),
        pytest.param(
            "1:cpu:/\n",
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            math.inf,
            id="version 1, no limit",
        ),
        pytest.param("5:devices:/x\n", {"devices/x/cpu.max": "1 2"}, math.inf, id="another's"),
        pytest.param("0::/\n", {}, math.inf, id="nothing mounted"),
    ],
)
def test_a_quota_is_the_least_of_those_that_apply(
    tmp_path: Path, own: str, files: dict[str, str], expected: float
) -> None:
    assert quota(*control_groups(tmp_path, own, files)) == expected


def test_without_control_groups_there_is_no_quota(tmp_path: Path) -> None:
    assert quota(tmp_path, tmp_path / "absent") == math.inf


def test_the_cpus_are_those_that_the_process_may_run_on() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert cpus() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("files", "hidden", "expected"),
    [
        (["null", "nvidiactl"], None, False),
        (["nvidia0"], None, True),
        (["nvidia0"], "", False),
        (["nvidia0"], "-1", False),
        (["nvidia1"], "1", True),
        (["kfd"], None, True),
    ],
)
def test_a_gpu_is_known_by_its_driver_unless_it_is_hidden(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: list[str],
    hidden: str | None,
    *,
    expected: bool,
) -> None:
    for name in files:
        (tmp_path / name).touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert has_gpu(tmp_path) is expected
