"""The command line: what is told wrong ends with one clear line and exit code 2."""

import shutil
import signal
import socket
from pathlib import Path

import pytest

from server.demo import DIGITS
from tests.server.process import ServerProcess, run_to_end


def assert_one_line(result: tuple[int, str, str], *words: str) -> None:
    code, output, errors = result
    assert (code, output) == (2, "")
    assert errors.count("\n") == 1, errors
    assert errors.startswith("batcher-server: ")
    for word in words:
        assert word in errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--no-such-option"], ["--no-such-option"]),
        (["--port", "70000"], ["--port", "70000"]),
        (["--max-batch-size", "0"], ["--max-batch-size"]),
        (["--batch-timeout-ms", "-1"], ["--batch-timeout-ms"]),
        (["--batch-timeout-ms", "nan"], ["batch_timeout"]),
        (["--drain-delay", "inf"], ["drain_delay"]),
        (["--log-level", "loud"], ["--log-level", "loud"]),
        (["--model", "half"], ["--model", "NAME=PATH", "half"]),
        (["/no/such/model"], ["/no/such/model", "does not exist"]),
        (["--model", "a=/no/such/model"], ["/no/such/model"]),
        (["--model", f"a={DIGITS}", "--model", f"a={DIGITS}"], ["'a'"]),
        ([__file__], [__file__, "not a folder"]),
        ([str(Path(__file__).parent)], ["holds no model", "saved_model.pb"]),
        (["--host", "host.invalid"], ["cannot listen", "host.invalid"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_what_is_told_wrong_is_one_line(arguments: list[str], words: list[str]) -> None:
    assert_one_line(run_to_end(*arguments), *words)


def test_a_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert_one_line(run_to_end("--port", port), "cannot listen", port, "in use")


def test_a_broken_model_is_one_line(tmp_path: Path) -> None:
    version = shutil.copytree(DIGITS / "1", tmp_path / "broken" / "1")
    (version / "saved_model.pb").write_bytes(b"this is no protobuf")
    result = run_to_end("--port", "0", "--log-level", "error", str(tmp_path / "broken"))
    assert_one_line(result, str(version), "SavedModel")


def test_missing_variables_are_one_line(tmp_path: Path) -> None:
    version = shutil.copytree(DIGITS / "1", tmp_path / "broken" / "1")
    shutil.rmtree(version / "variables")
    result = run_to_end("--port", "0", "--log-level", "error", str(tmp_path / "broken"))
    assert_one_line(result, str(version), "SavedModel")


def test_help_and_version_exit_with_0() -> None:
    code, output, _ = run_to_end("--help")
    assert code == 0
    assert "--max-batch-size" in output
    assert run_to_end("--version")[0] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_and_exits_with_0(number: signal.Signals) -> None:
    with ServerProcess("--drain-delay", "0") as server:
        code, log = server.stop(number)
    assert code == 0
    assert '"event": "stopped"' in log
    assert "Traceback" not in log


def test_a_second_sigterm_changes_nothing() -> None:
    with ServerProcess() as server:
        server.process.send_signal(signal.SIGTERM)
        code, log = server.stop(signal.SIGTERM)
    assert code == 0
    assert '"event": "stopped"' in log


def test_the_log_is_json_when_nobody_watches_and_holds_nothing_of_tensorflow() -> None:
    with ServerProcess("--drain-delay", "0") as server:
        _, log = server.stop()
    assert log
    assert all(line.startswith("{") for line in log.splitlines()), log
