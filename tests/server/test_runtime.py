"""Threads and devices as they are asked for: checked, and called by one name."""

from dataclasses import replace
from typing import Any

import pytest

from server.runtime import Runtime, device_name, existing_device, threads


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("", ""),
        ("cpu", "CPU:0"),
        ("CPU:0", "CPU:0"),
        ("gpu", "GPU:0"),
        ("gpu:1", "GPU:1"),
        ("gpu:01", "GPU:1"),
        ("/GPU:0", "GPU:0"),
        ("/device:GPU:2", "GPU:2"),
        ("device:XPU:3", "XPU:3"),
    ],
)
def test_a_device_has_one_name(device: str, name: str) -> None:
    assert device_name(device) == name
    assert Runtime(device=device).device == device


@pytest.mark.parametrize("device", ["1", "gpu:", "gpu:-1", "gpu 1", "gpu:one", "//gpu", " ", "gpü"])
def test_what_cannot_be_a_device_is_refused(device: str) -> None:
    with pytest.raises(ValueError, match=f'like "cpu", "gpu" or "gpu:1", not {device!r}'):
        Runtime(device=device)


@pytest.mark.parametrize(("device", "name"), [("", ""), ("cpu", "CPU:0"), ("/gpu:1", "GPU:1")])
def test_a_device_that_exists_is_found(device: str, name: str) -> None:
    assert existing_device(device, ["CPU:0", "GPU:0", "GPU:1"]) == name


def test_a_device_that_does_not_exist_is_refused_and_those_named_that_do() -> None:
    with pytest.raises(ValueError, match=r"no device 'gpu:2' here; there are CPU:0, GPU:0$"):
        existing_device("gpu:2", ["CPU:0", "GPU:0"])


@pytest.mark.parametrize(
    ("asked", "cpus", "expected"),
    [(None, 1, 1), (None, 2, 2), (None, 4, 3), (None, 8, 7), (3, 1, 3), (1, 64, 1)],
)
def test_of_many_cpus_one_is_left_to_the_event_loop(
    asked: int | None, cpus: int, expected: int
) -> None:
    assert threads(asked, cpus) == expected


@pytest.mark.parametrize("name", ["intra_op_threads", "inter_op_threads", "gpu_memory_limit"])
def test_numbers_are_at_least_one(name: str) -> None:
    zero: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=f"{name} must be at least 1, not 0"):
        replace(Runtime(), **zero)
