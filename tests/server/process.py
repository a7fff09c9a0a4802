"""A real `batcher-server` in a process of its own, as its users run it."""

import signal
import subprocess
import sys
from types import TracebackType
from typing import Self

ANNOUNCEMENT_ENDS_WITH_ADDRESSES = " on "


class ServerProcess:
    """Starts `python -m server` on a free port; `url` once it is ready.

    With `--grpc-port 0` among its arguments, `grpc_address` is where its gRPC is, host and port.
    """

    def __init__(self, *arguments: str, python: str = sys.executable) -> None:
        self._command = [python, "-m", "server", "--port", "0", *arguments]
        self.url = self.grpc_address = ""

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        addresses = line.rpartition(ANNOUNCEMENT_ENDS_WITH_ADDRESSES)[2].strip()
        self.url, _, grpc_url = addresses.partition(" and ")
        self.grpc_address = grpc_url.removeprefix("grpc://")
        if not self.url:
            raise AssertionError(self.process.communicate()[1])
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal and wait for the end: exit code and standard error."""
        self.process.send_signal(number)
        _, log = self.process.communicate()
        return self.process.returncode, log


def run_to_end(*arguments: str) -> tuple[int, str, str]:
    """Run `batcher-server` that is expected to end by itself: exit code, both outputs."""
    ended = subprocess.run(
        [sys.executable, "-m", "server", *arguments], capture_output=True, text=True, check=False
    )
    return ended.returncode, ended.stdout, ended.stderr
