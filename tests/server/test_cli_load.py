"""`batcher-server load`: real servers, ours and made-up ones, and what it tells of them."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from batcher import BatchRecord, Reason
from server.load.batches import Batches, Timing, read_metrics, read_timings
from server.load.target import Target
from server.load.told import NotTold, read_oip, read_tfserving
from server.metrics import Metrics
from server.tokens import make_token
from tests.server.load_by_hand import answer
from tests.server.process import ServerProcess, run_to_end

SHORT = ("--seconds", "0.3", "--warmup", "0")


@pytest.fixture(scope="module")
def server(digits_server: ServerProcess) -> ServerProcess:
    return digits_server


def loaded(server: ServerProcess, *arguments: str) -> dict[str, Any]:
    """What `load` writes as JSON of a load that goes well."""
    code, output, errors = run_to_end("load", server.url, *SHORT, "--json", "-", *arguments)
    assert (code, errors) == (0, "")
    told = json.loads(output)
    assert isinstance(told, dict)
    return told


# -------------------------------------------------------------------------------------- our server


@pytest.mark.parametrize(
    ("arguments", "path", "rows"),
    [
        ([], "/v1/models/digits:predict", 1),
        (["--protocol", "oip", "--rows", "3"], "/v2/models/digits/infer", 3),
        (["--protocol", "oip-binary", "--rows", "3"], "/v2/models/digits/infer", 3),
        (["--signature", "serving_default"], "/v1/models/digits:predict", 1),
    ],
)
def test_clients_ask_in_each_protocol_what_the_metadata_tells(
    server: ServerProcess, arguments: list[str], path: str, rows: int
) -> None:
    told = loaded(server, "--clients", "4", *arguments)
    assert told["url"] == server.url + path
    assert told["rows"] == rows
    (seen,) = told["seen"]
    assert (seen["clients"], seen["failed"], set(seen["statuses"])) == (4, 0, {"200"})
    # Of all that the server made of it, the first request that was tried is not a part.
    assert seen["batches"]["rows"] == rows * seen["good"]
    assert 0 < seen["batches"]["mean_rows"] <= 4 * rows


def test_an_address_needs_no_scheme(server: ServerProcess) -> None:
    code, output, errors = run_to_end("load", server.url.removeprefix("http://"), *SHORT)
    assert (code, errors) == (0, "")
    assert output.startswith(f"{server.url}/v1/models/digits:predict ")


def test_a_file_is_sent_as_it_is(server: ServerProcess, tmp_path: Path) -> None:
    body = tmp_path / "scans.json"
    body.write_text(json.dumps({"instances": [[[1] * 8] * 8] * 5}))
    told = loaded(server, "--rate", "50", "--model", "digits", "--body", str(body))
    (seen,) = told["seen"]
    assert (seen["offered"], seen["failed"]) == (50, 0)
    assert seen["batches"]["rows"] == 5 * seen["good"]
    assert told["body_bytes"] == body.stat().st_size


def test_a_table_in_a_pipe_is_plain_and_has_a_row_for_each_rate(
    server: ServerProcess, tmp_path: Path
) -> None:
    file = tmp_path / "result.json"
    arguments = ("--rates", "20,40", "--arrivals", "constant", "--json", str(file))
    code, output, errors = run_to_end("load", server.url, *SHORT, *arguments)
    assert (code, errors) == (0, "")
    assert "\x1b" not in output
    head, titles, first, second, *notes = output.splitlines()
    assert head.startswith(f"{server.url}/v1/models/digits:predict  TensorFlow Serving REST, 1 row")
    assert titles.split()[:3] == ["offered", "answered/s", "p50"]
    assert titles.split()[-6:] == ["max", "ms", "shed", "failed", "rows", "a", "batch"][-6:]
    assert (first.split()[0], second.split()[0]) == ("20/s", "40/s")
    assert any(note.startswith("20/s: ") and "batches" in note for note in notes)
    assert [seen["offered"] for seen in json.loads(file.read_text())["seen"]] == [20, 40]


def on_terminal(stream: str, *arguments: str) -> tuple[str, str]:
    """What `load` writes to a terminal of 60 columns, which `stream` is, and what to a pipe."""
    main, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "server", "load", *arguments, *SHORT, "--clients", "2"],
        stdout=terminal if stream == "stdout" else subprocess.PIPE,
        stderr=terminal if stream == "stderr" else subprocess.PIPE,
        env={**os.environ, "COLUMNS": "60"},
    ) as load:
        os.close(terminal)
        shown = b""
        try:
            while part := os.read(main, 4096):
                shown += part
        except OSError:
            # Linux says so when the last one who had the terminal has gone.
            pass
        piped = load.stderr if load.stdout is None else load.stdout
        assert piped is not None
        rest = piped.read()
    os.close(main)
    assert load.returncode == 0
    return shown.decode(), rest.decode()


def test_progress_is_shown_on_a_terminal_only(server: ServerProcess) -> None:
    shown, output = on_terminal("stderr", server.url)
    assert "2 clients: " in shown
    assert "\x1b" not in output


def test_no_number_is_cut_off_on_a_narrow_terminal(server: ServerProcess) -> None:
    shown, errors = on_terminal("stdout", server.url)
    assert errors == ""
    assert "rows a batch" in shown
    assert "…" not in shown


def test_who_needs_a_token_gives_one(tmp_path: Path) -> None:
    secret, kept = make_token("load")
    file = tmp_path / "tokens"
    file.write_text(f"{kept}\n")
    file.chmod(0o600)
    with ServerProcess("--tokens", str(file), "--log-level", "error") as server:
        (seen,) = loaded(server, "--clients", "2", "--token", secret)["seen"]
        assert seen["failed"] == 0
        code, output, errors = run_to_end("load", server.url, *SHORT)
    assert (code, output) == (2, "")
    assert "401" in errors
    assert errors.endswith("give --token TOKEN\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--model", "other"], "answers 404"),
        (["--signature", "other"], "the model has no signature 'other', only serving_default"),
        (["--protocol", "oip", "--signature", "x"], "tells no signatures"),
        (["--body", __file__], "refuses"),
        (["--rate", "1", "--clients", "2"], "--clients and --rate exclude each other"),
        (["--rates", "1,x"], "--rates takes numbers with commas between, or auto, not '1,x'"),
        (["--rate", "0"], "rate is 0.0: expected a finite number above 0"),
        (["--body", __file__, "--rows", "2"], "--body and --rows exclude each other"),
        (["--header", "x"], "--header takes NAME:VALUE, not 'x'"),
        (["--header", "x:1\t2"], "a header has what cannot be sent"),
        (["--timeout", "0"], "timeout is 0.0"),
        (["--json", "/no/such/file"], "--json /no/such/file: there is no folder /no/such"),
    ],
)
def test_what_cannot_be_is_one_line(
    server: ServerProcess,
    run: Callable[..., tuple[int, str, str]],
    arguments: list[str],
    told: str,
) -> None:
    code, output, errors = run("load", server.url, *arguments)
    assert (code, output, errors.count("\n")) == (2, "", 1)
    assert told in errors


# ------------------------------------------------------------------ servers of other people


TFSERVING = {
    "model_spec": {"name": "other", "signature_name": "", "version": "1"},
    "metadata": {
        "signature_def": {
            "signature_def": {
                "serving_default": {
                    "inputs": {
                        "x": {
                            "dtype": "DT_DOUBLE",
                            "tensor_shape": {"dim": [{"size": "-1"}, {"size": "2"}]},
                            "name": "x:0",
                        }
                    },
                    "outputs": {
                        "y": {"dtype": "DT_INT64", "tensor_shape": {"dim": [{"size": "-1"}]}}
                    },
                }
            }
        }
    },
}


class Other:
    """A server that tells metadata as TensorFlow Serving does, and answers `told` in turn."""

    def __init__(self, told: list[bytes]) -> None:
        self.told = told
        self.asked = 0
        self.url = ""
        self.has_been_asked = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
                await reader.readexactly(int(length or 0))
                writer.write(self._answer(head.split(b" ")[1]))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _answer(self, path: bytes) -> bytes:
        if path.endswith(b"/metadata"):
            return answer(body=json.dumps(TFSERVING).encode())
        if not path.endswith(b":predict"):
            return answer(404)
        self.asked += 1
        if self.asked > 3:
            self.has_been_asked.set()
        return self.told[min(self.asked, len(self.told)) - 1]


@asynccontextmanager
async def other(*told: bytes) -> AsyncIterator[Other]:
    """One that answers the first request with the first of these, and so on; the last remains."""
    served = Other(list(told))
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.url = "http://{}:{}".format(*server.sockets[0].getsockname())
    async with server:
        yield served


async def started(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "server", "load", *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("told", "code", "words"),
    [
        (
            [answer(headers="Server-Timing: queue;dur=1.5, run;dur=2\r\n")],
            0,
            ["1.50 ms", "2.00 ms"],
        ),
        ([CHUNKED], 0, []),
        ([answer(), answer(503, b"full"), answer()], 0, ["503: 1 times, the first: full"]),
        ([answer(503, b"full")], 1, ["503: ", "the first: full"]),
        (
            [answer(), answer(500, b'{"error": "no"}'), answer()],
            1,
            ['500: 1 times, the first: {"e'],
        ),
        ([answer(), b"SSH\r\n\r\n", answer()], 1, ["no answer: 1 times, no HTTP/1 answer"]),
    ],
)
def test_the_exit_code_tells_whether_what_was_not_shed_was_answered(
    told: list[bytes], code: int, words: list[str]
) -> None:
    async def main() -> None:
        async with other(*told) as server:
            load = await started(server.url, "--model", "other", "--clients", "2", *SHORT)
            output, errors = await load.communicate()
        assert (load.returncode, errors) == (code, b"")
        for word in words:
            assert word in output.decode()

    asyncio.run(main())


@pytest.mark.parametrize("how", [["--clients", "3"], ["--rate", "100"], ["--rates", "100,200"]])
def test_an_interrupt_shows_what_came_so_far(how: list[str]) -> None:
    async def main() -> None:
        async with other(answer()) as server:
            arguments = ("--model", "other", "--seconds", "600", "--warmup", "0")
            load = await started(server.url, *arguments, *how)
            asked = asyncio.create_task(server.has_been_asked.wait())
            await asyncio.wait(
                [asked, asyncio.create_task(load.wait())], return_when=asyncio.FIRST_COMPLETED
            )
            assert asked.done()
            load.send_signal(signal.SIGINT)
            output, errors = await load.communicate()
        assert (load.returncode, errors) == (130, b"")
        assert "interrupted after" in output.decode()
        assert "200/s" not in output.decode()

    asyncio.run(main())


def test_nobody_there_is_one_line() -> None:
    code, output, errors = run_to_end("load", "http://127.0.0.1:1", *SHORT)
    assert (code, output) == (2, "")
    assert errors.startswith("batcher-server: nobody answers at http://127.0.0.1:1/v2/repository")


def test_a_server_that_does_not_tell_its_models_needs_a_name() -> None:
    async def main() -> None:
        async with other(answer()) as server:
            load = await started(server.url, *SHORT)
            _, errors = await load.communicate()
        assert load.returncode == 2
        assert b"does not tell which models it serves: give --model NAME" in errors

    asyncio.run(main())


# -------------------------------------------------------------------------------------- the readers


def test_signatures_are_read_as_they_are_told() -> None:
    signature = read_tfserving(json.dumps(TFSERVING).encode(), "")
    assert str(signature.inputs["x"]) == "float64[-1,2]"
    assert str(signature.outputs["y"]) == "int64[-1]"
    assert signature.batchable
    spec = {"name": "x", "datatype": "BYTES", "shape": [4]}
    signature = read_oip(json.dumps({"inputs": [spec], "outputs": [spec]}).encode(), "")
    assert str(signature.inputs["x"]) == "string[4]"
    assert not signature.batchable


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"null", b'{"inputs": [1], "outputs": []}'])
def test_what_is_no_metadata_says_so(body: bytes) -> None:
    for read in (read_tfserving, read_oip):
        with pytest.raises(NotTold, match="no metadata as"):
            read(body, "")


def record(size: int, padded: int) -> BatchRecord:
    return BatchRecord(
        size=size,
        padded_size=padded,
        requests=size,
        bucket=None,
        reason=Reason.IDLE,
        queue_times=(0.25,) * size,
        run_time=0.5,
        failed=0,
        abandoned=0,
        again=0,
        taken=0.0,
    )


def test_batches_are_counted_over_all_versions_of_a_model_since_the_last_look() -> None:
    metrics = Metrics()
    metrics.version("half", 1).observe(record(1, 1))
    before = read_metrics(metrics.scrape().decode(), "half")
    metrics.version("half", 1).observe(record(3, 4))
    metrics.version("half", 2).observe(record(8, 8))
    metrics.version("other", 1).observe(record(8, 8))
    after = read_metrics(metrics.scrape().decode(), "half")
    assert before is not None
    assert after is not None
    assert after.since(before) == Batches(
        batches=2,
        rows=11,
        padding=1,
        run_seconds=1.0,
        requests=11,
        queue_seconds=2.75,
        sizes={4.0: 1.0, 8.0: 1.0},
    )
    assert after.since(before).plain()["mean_rows"] == 5.5


@pytest.mark.parametrize("text", ["", "{", 'batcher_batch_rows_bucket{le="x"} 1', "other 1\n"])
def test_metrics_of_others_tell_no_batches(text: str) -> None:
    assert read_metrics(text, "half") is None


def test_timings_are_medians() -> None:
    told = [b"queue;dur=%d.0, run;dur=1.5" % n for n in (1, 9, 2)]
    assert read_timings([*told, b"", b"cache;dur=5"]) == Timing(2.0, 1.5)
    assert read_timings([b"", b"run;dur=1"]) is None


@pytest.mark.parametrize(
    "url",
    [
        *("", "x", "https://h/", "http://", "http://h/a b", "http://h/ä"),
        *(f"http://{'0' * 64}/", "http://a..b/"),
    ],
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ValueError, match=r"is no http:// URL|percent-encoded|is too long"):
        Target.of(url)


def test_paths_go_below_the_path_of_a_url() -> None:
    target = Target.of("http://[::1]:8501/ml/")
    assert str(target.below("/v1/x")) == "http://[::1]:8501/ml/v1/x"
    assert target.post(b"{}", headers={"A": "b"}).endswith(
        b"\r\nA: b\r\nContent-Length: 2\r\n\r\n{}"
    )
