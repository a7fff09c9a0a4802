"""How commands end: their exit codes, and that nobody sees a traceback."""

import contextlib
import io
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.cli import main
from server.configuration.settings import GLOBAL, OF_A_MODEL
from server.configuration.tfserving_flags import FLAGS
from server.demo import DIGITS
from tests.server.process import ServerProcess

COMMANDS = ["serve", "inspect", "convert", "load", "client", "monitoring", "token", "completion"]

# Stands in the place of a module: when it is imported, Ctrl-C comes.
INTERRUPTED = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nsignal.pause()\n"


def ended(*arguments: str, **options: str) -> tuple[int, str]:
    """Exit code and standard error of a process with these variables in its environment."""
    done = subprocess.run(
        [sys.executable, "-m", "server", *arguments],
        env={**os.environ, **options},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


# ------------------------------------------------------------------------------------ interrupted


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("click", []),
        ("uvloop", []),
        ("aiohttp", ["--port", "0"]),
        ("rich", ["inspect", str(DIGITS)]),
        ("tensorflow", ["inspect", str(DIGITS)]),
        ("orjson", ["load"]),
    ],
)
def test_an_interrupt_while_modules_are_imported_is_no_traceback(
    tmp_path: Path, module: str, arguments: list[str]
) -> None:
    (tmp_path / f"{module}.py").write_text(INTERRUPTED)
    code, errors = ended(*arguments, PYTHONPATH=str(tmp_path))
    assert (code, errors.strip()) == (130, "")


def test_who_is_started_without_interrupts_stays_so(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nraise SystemExit(7)\n"
    )
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert ended(PYTHONPATH=str(tmp_path)) == (7, "")
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interrupt_while_a_model_is_loaded_ends_a_server_in_order(tmp_path: Path) -> None:
    (tmp_path / "tensorflow.py").write_text(INTERRUPTED)
    arguments = ["--port", "0", "--log-level", "error"]
    assert ended(*arguments, PYTHONPATH=str(tmp_path)) == (0, "")


def test_a_second_interrupt_ends_a_server_that_still_drains() -> None:
    with ServerProcess("--drain-delay", "1000") as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.stderr is not None
        while "drain" not in (line := server.process.stderr.readline()):
            assert line
        code, log = server.stop(signal.SIGINT)
    assert code == 130
    assert "Traceback" not in log


# ------------------------------------------------------------------------------------ broken pipes


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["inspect", str(DIGITS)],
        ["completion", "zsh"],
        ["--print-config"],
        ["token", "x"],
    ],
    ids=lambda value: value[0],
)
def test_who_reads_no_further_sees_no_traceback(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "server", *arguments],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert done.returncode == 1
    assert "BrokenPipe" not in done.stderr
    assert "Traceback" not in done.stderr


# ---------------------------------------------------------------------------------- said clearly


@pytest.mark.parametrize("command", [*COMMANDS, ""])
def test_each_command_has_help_with_examples(
    run: Callable[..., tuple[int, str, str]], command: str
) -> None:
    words = [command] if command else []
    code, told, errors = run(*words, "--help")
    assert (code, errors) == (0, "")
    assert run(*words, "-h") == (0, told, "")
    assert "\n  Examples:\n    " in told
    assert max(map(len, told.splitlines())) <= 100


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["inspct", str(DIGITS)],
            "'inspct' is neither a command nor a path; did you mean inspect?",
        ),
        (["sevre"], "did you mean serve?"),
        (["--max-batchsize", "8"], "--max-batch-size"),
        (["load", "--rat", "5"], "--rate"),
        (["--max_batch_size=8"], "did you mean --max-batch-size?"),
        (["convert", "a", "b", "--quantise", "int8"], "--quantize"),
    ],
)
def test_what_is_mistyped_gets_a_suggestion(
    run: Callable[..., tuple[int, str, str]], arguments: list[str], told: str
) -> None:
    code, output, errors = run(*arguments)
    assert (code, output, errors.count("\n")) == (2, "", 1)
    assert told in errors


def test_a_path_that_looks_like_a_command_is_a_path(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "serv").mkdir()
    code, _, errors = run("serv", "--print-config")
    assert (code, errors) == (0, "")


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_errors_are_red_on_a_terminal(variables: dict[str, str], *, coloured: bool) -> None:
    main_end, terminal = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "server", "--port", "x"],
        stderr=terminal,
        env={**os.environ, **variables},
        check=False,
    )
    os.close(terminal)
    shown = os.read(main_end, 4096).decode()
    os.close(main_end)
    assert done.returncode == 2
    assert ("\x1b[31m" in shown) is coloured
    assert "--port" in shown


# ------------------------------------------------------------------------------- whatever is typed


def outcome(*arguments: str) -> int | str | None:
    """How the command line ends that is run within this process; nothing is shown."""
    with (
        mock.patch.object(sys, "argv", ["batcher-server", *arguments]),
        contextlib.redirect_stderr(io.StringIO()) as errors,
        contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    if ended.value.code == 2:
        assert errors.getvalue().startswith("batcher-server: ")
    return ended.value.code


ODD = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    st.text("0123456789,.-+e:=_ ", max_size=12),
    st.sampled_from(
        [
            *(
                "9" * 5000,
                "1," + "9" * 5000,
                "-" + "9" * 5000,
                f"x:{'9' * 5000}=0",
                "x:1=" + "9" * 5000,
            ),
            *("1e999", "-1e999", "nan", "inf", "-0", "1e308", "٣", "²", "1_0", " 1", "\udcff", ""),
            *("latest " + "9" * 5000, "gpu:" + "9" * 5000, f"a={'9' * 5000}", "/\udcff", "a:b:c"),
        ]
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(GLOBAL)), ODD)
def test_no_value_of_an_option_gives_a_traceback(name: str, value: str) -> None:
    assert outcome(f"{GLOBAL[name].option}={value}", "--print-config") in (0, 2)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(OF_A_MODEL)), ODD)
def test_no_value_of_a_models_setting_gives_a_traceback(name: str, value: str) -> None:
    assert outcome(f"--set=digits.{name}={value}", "--print-config") in (0, 2)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["--set", "--model", "--label", "--config"]), ODD)
def test_no_other_value_gives_a_traceback(option: str, value: str) -> None:
    assert outcome(f"{option}={value}", "--print-config") in (0, 2)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(FLAGS)), ODD)
def test_no_value_of_a_flag_of_tensorflow_serving_gives_a_traceback(name: str, value: str) -> None:
    assert outcome(f"--{name}={value}", "--print-config") in (0, 2)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(
        [
            *("--clients", "--rate", "--rates", "--seconds", "--warmup", "--timeout"),
            *("--connections", "--seed", "--rows", "--header", "--protocol", "--body"),
        ]
    ),
    ODD,
)
def test_no_value_of_an_option_of_load_gives_a_traceback(option: str, value: str) -> None:
    # Nobody listens at port 0: what is right ends there.
    assert outcome("load", "http://127.0.0.1:0", f"{option}={value}") == 2


@settings(max_examples=100, deadline=None)
@given(ODD)
def test_no_url_of_load_gives_a_traceback(url: str) -> None:
    assert outcome("load", "--", f"http://127.0.0.1:0{url}") == 2
    assert outcome("load", "--", f"x://{url}") == 2


def test_a_name_that_is_no_text_is_one_line() -> None:
    assert outcome("load", "http://127.0.0.1:0", "--model=\udcff") == 2


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["--sizes", "--quantize", "--representative", "--labels", "--rows"]), ODD)
def test_no_value_of_an_option_of_convert_gives_a_traceback(option: str, value: str) -> None:
    assert outcome("convert", "/no/such/model", "/no/such/file", f"{option}={value}") == 2


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["--max-batch-size", "--port", "--grpc-port", "--signature"]), ODD)
def test_no_value_of_an_option_of_inspect_gives_a_traceback(option: str, value: str) -> None:
    assert outcome("inspect", "/no/such/model", f"{option}={value}") == 2


def test_sizes_of_many_digits_are_one_line(run: Callable[..., tuple[int, str, str]]) -> None:
    code, output, errors = run("convert", "a", "b", "--sizes", "9" * 5000)
    assert (code, output, errors.count("\n")) == (2, "", 1)
    assert "--sizes takes whole numbers from 1 to 65,536" in errors
