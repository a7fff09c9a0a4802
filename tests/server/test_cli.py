"""The command line: what is told wrong ends with one clear line and exit code 2."""

import json
import resource
import shutil
import signal
import socket
import tomllib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from server.cli.doors import FEW_FILES, warn_of_few_files, warn_of_open_doors
from server.config import Config
from server.demo import DIGITS
from server.tokens import make_token, name_of, read_tokens
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
        (["--batch-timeout-ms", "nan"], ["--batch-timeout-ms", "nan"]),
        (["--drain-delay", "inf"], ["--drain-delay", "inf"]),
        (["--log-level", "loud"], ["--log-level", "loud"]),
        (["--model", "half"], ["--model", "NAME=PATH", "half"]),
        (["/no/such/model"], ["/no/such/model", "does not exist"]),
        (["--model", "a=/no/such/model"], ["/no/such/model"]),
        (["--model", f"a={DIGITS}", "--model", f"a={DIGITS}"], ["'a'"]),
        ([__file__], [__file__, "not a model"]),
        ([str(Path(__file__).parent)], ["holds no model", "saved_model.pb"]),
        (["--host", "host.invalid"], ["cannot listen", "host.invalid"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_what_is_told_wrong_is_one_line(arguments: list[str], words: list[str]) -> None:
    assert_one_line(run_to_end("--port", "0", *arguments), *words)


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


def test_as_many_files_may_be_open_as_the_system_lets_it() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        with ServerProcess("--drain-delay", "0") as server:
            limits = Path(f"/proc/{server.process.pid}/limits").read_text()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    (line,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
    assert line.split()[3] == line.split()[4]


@pytest.mark.parametrize(("files", "warns"), [(FEW_FILES - 1, True), (FEW_FILES, False)])
def test_an_operator_hears_that_few_connections_fit(files: int, *, warns: bool) -> None:
    with capture_logs() as entries:
        warn_of_few_files(files)
    assert bool(entries) is warns


def test_the_log_is_json_when_nobody_watches_and_holds_nothing_of_tensorflow() -> None:
    with ServerProcess("--drain-delay", "0") as server:
        _, log = server.stop()
    assert log
    assert all(line.startswith("{") for line in log.splitlines()), log


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--grpc-port", "70000"], ["--grpc-port", "70000"]),
        (["--grpc-port", "8501"], ["port and grpc_port must differ"]),
        (["--admin"], ["admin needs admin_tokens"]),
        (["--allowed-host", "http://x"], ["allowed_hosts", "'http://x'"]),
        (["--label", "digits"], ["--label", "MODEL:LABEL=VERSION", "'digits'"]),
        (["--label", "digits:stable"], ["MODEL:LABEL=VERSION"]),
        (["--label", "digits:stable=x"], ["MODEL:LABEL=VERSION"]),
        (["--label", "digits=1"], ["MODEL:LABEL=VERSION"]),
        (["--label", "digits:=1"], ["MODEL:LABEL=VERSION"]),
        (["--label", "other:stable=1"], ["no model 'other' to serve, only 'digits'"]),
        (["--label", "digits:a=1", "--label", "digits:a=2"], ["version 1 already"]),
        (["serve", "--port", "70000"], ["--port", "70000"]),
        (["token"], ["NAME"]),
        (["token", "a b"], ["the name of a token"]),
        (["token", "ci", "more"], ["more"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_options_that_cannot_be_are_one_line(
    run: Callable[..., tuple[int, str, str]], arguments: list[str], words: list[str]
) -> None:
    assert_one_line(run(*arguments), *words)


# -------------------------------------------------------------------------------------- subcommands


def test_serve_is_meant_when_no_subcommand_is_named(
    run: Callable[..., tuple[int, str, str]],
) -> None:
    code, output, _ = run("--help")
    assert code == 0
    assert output.startswith("Usage: batcher-server [OPTIONS] [PATH]\n")
    assert run("-h") == (0, output, "")
    assert run("serve", "--help") == (0, output, "")


def test_a_new_token_is_shown_beside_the_line_that_lets_it_in(
    run: Callable[..., tuple[int, str, str]],
) -> None:
    code, line, shown = run("token", "ci")
    assert code == 0
    secret = shown.splitlines()[-1]
    assert name_of(secret, read_tokens(line)) == "ci"
    assert secret not in line


# ----------------------------------------------------------------------------- tokens and the doors


def ask(server: ServerProcess, target: str, token: str = "", method: str = "GET") -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.request(method, server.url + target, headers=headers).status_code


def test_who_has_a_token_gets_in_and_the_operator_hears_what_matters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use, use_kept = make_token("ci")
    other, other_kept = make_token("nightly")
    admin, admin_kept = make_token("ops")
    monkeypatch.setenv("BATCHER_TOKENS", f"{use_kept},{other_kept}")
    file = tmp_path / "admins"
    file.write_text(f"# all of us\n{admin_kept}\n")
    file.chmod(0o644)
    options = ["--host", "0.0.0.0", "--admin", "--admin-tokens", str(file)]
    options += ["--label", "digits:stable=1", "--log-level", "warning", "--drain-delay", "0"]
    label, load = "/v1/models/digits/labels/{}/metadata", "/v2/repository/models/digits/load"
    with ServerProcess(*options) as server:
        assert ask(server, "/readyz") == 200
        assert [ask(server, label.format("stable"), t) for t in ("", use, other, admin)] == [
            *(401, 200, 200, 200)
        ]
        assert ask(server, label.format("other"), use) == 400
        assert [ask(server, load, t, "POST") for t in ("", use, admin)] == [401, 403, 200]
        _, log = server.stop()
    entries = [json.loads(line) for line in log.splitlines()]
    # The doors stand open to who has a token only; what administrators do is always written.
    warning, *changes = entries
    assert warning["event"] == "every user of this machine may read this file of tokens"
    assert [(e["event"], e["token"], e["model"], e["outcome"]) for e in changes] == [
        ("administration", "", "digits", "UNAUTHENTICATED"),
        ("administration", "ci", "digits", "PERMISSION_DENIED"),
        ("administration", "ops", "digits", "OK"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["there is no token"]),
        ("# none\n", ["there is no token"]),
        ("ci sha256:00\n", ["line 1", "NAME sha256:HEX"]),
    ],
)
def test_tokens_that_cannot_be_read_are_one_line(
    run: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    words: list[str],
) -> None:
    file = tmp_path / "tokens"
    file.write_text(text)
    assert_one_line(run("--tokens", str(file)), str(file), *words)
    monkeypatch.setenv("BATCHER_ADMIN_TOKENS", text)
    assert_one_line(run("--admin"), "BATCHER_ADMIN_TOKENS", *words)


def test_a_file_that_cannot_be_read_is_one_line(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, why in [("missing", "No such file"), ("", "directory"), ("binary", "UTF-8")]:
        place = str(tmp_path / name)
        assert_one_line(run("--tokens", place), place, why)


@pytest.mark.parametrize(
    ("host", "warns"),
    [
        ("127.0.0.1", False),
        ("127.1.2.3", False),
        ("::1", False),
        ("localhost", False),
        ("0.0.0.0", True),
        ("::", True),
        ("", True),
        ("192.0.2.7", True),
        ("batcher.lan", True),
    ],
)
def test_what_is_wider_than_this_machine(host: str, *, warns: bool) -> None:
    _, token = make_token("ci")
    for tokens, expected in [((), warns), ((token,), False)]:
        with capture_logs() as entries:
            warn_of_open_doors(Config(host=host, tokens=tokens), [])
        assert [entry["log_level"] for entry in entries] == ["warning"] * expected


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--allowed-batch-sizes", "1,x"], "--allowed-batch-sizes: expected whole numbers"),
        (["--allowed-batch-sizes", "1,8"], "must be max_batch_size=64"),
        (["--pad", "ids:1"], "--pad: expected INPUT:AXIS=VALUE, not 'ids:1'"),
        (["--pad", "ids=0"], "--pad: expected INPUT:AXIS=VALUE, not 'ids=0'"),
        (["--pad", "ids:1=0"], "boundaries must be positive and ascend"),
        (["--pad", "ids:0=0", "--pad-to", "4"], "the axis of 'ids' must be 1 or more"),
        (["--cut", "tags"], "--cut: expected a name and an axis, NAME:AXIS, not 'tags'"),
        (["--cut", "tags:1"], "need a pad INPUT:AXIS=VALUE"),
        (["--run-timeout", "0"], "--run-timeout: expected a number of more than 0, or none"),
    ],
)
def test_batching_options_that_make_no_sense_end_with_a_line(
    run: Callable[..., tuple[int, str, str]], arguments: list[str], told: str
) -> None:
    assert_one_line(run(*arguments), told)


# ------------------------------------------------------------------------------------ configuration


def test_a_configuration_is_shown_and_taken_again(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHER_MAX_BATCH_SIZE", "8")
    code, shown, errors = run("--rest_api_port=9000", "--port=0", "--no-cors", "--print-config")
    assert (code, errors) == (0, "")
    tables = tomllib.loads(shown)
    assert (tables["port"], tables["grpc_port"]) == (9000, "none")
    assert tables["models"]["digits"]["max_batch_size"] == 8
    monkeypatch.delenv("BATCHER_MAX_BATCH_SIZE")
    file = tmp_path / "batcher.toml"
    file.write_text(shown)
    again = run("--config", str(file), "--print-config")[1]
    assert tomllib.loads(again) == tables


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[models.half]\npaht = '/m'", ["[models.half]", "'paht'", "did you mean path?"]),
        ("port = ", ["line 1"]),
    ],
)
def test_a_wrong_file_is_one_line(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, text: str, words: list[str]
) -> None:
    file = tmp_path / "batcher.toml"
    file.write_text(text)
    assert_one_line(run("--config", str(file)), str(file), *words)


def test_a_wrong_flag_of_tensorflow_serving_is_one_line(
    run: Callable[..., tuple[int, str, str]],
) -> None:
    assert_one_line(run("--rest_api_prot=1"), "did you mean --rest_api_port?")


def test_a_missing_word_is_one_line_with_its_choices(
    run: Callable[..., tuple[int, str, str]],
) -> None:
    assert_one_line(run("monitoring"), "Missing argument", "Choose from: dashboard, alerts")
