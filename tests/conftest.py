"""One server of the bundled model, in a process of its own, for all tests that only ask it."""

from collections.abc import Iterator

import pytest

from tests.server.process import ServerProcess


@pytest.fixture(scope="session")
def digits_server() -> Iterator[ServerProcess]:
    """Started once: it takes longer than most tests that need it."""
    with ServerProcess("--log-level", "error") as server:
        yield server
