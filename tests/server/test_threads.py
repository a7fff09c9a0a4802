"""The models of one device share its thread, whatever they call it."""

import asyncio

import pytest

from server.machine import has_gpu
from server.threads import ModelThreads


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("cpu", "/device:CPU:0", True),
        ("gpu:1", "GPU:1", True),
        ("", "gpu" if has_gpu() else "cpu", True),
        ("cpu", "gpu", False),
        ("gpu:0", "gpu:1", False),
    ],
)
def test_a_device_has_one_thread(first: str, second: str, *, same: bool) -> None:
    async def main() -> None:
        threads = ModelThreads()
        assert (threads.of(first) is threads.of(second)) is same
        threads.end()

    asyncio.run(main())
