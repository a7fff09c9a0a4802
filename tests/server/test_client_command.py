"""`batcher-server client`: what it sends, what it shows, and how it ends."""

import io
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from PIL import Image

from server.adapters.aiohttp_server import HttpServer
from server.cli.client import PROTOCOLS
from server.cli.client_inputs import Body, Named, Picture, Typed, Value, read, tensors
from server.cli.client_json import Answer, listed, written
from server.cli.client_pictures import Levels, pixels
from server.client import InvalidRequest, Receipt, dialect
from server.config import Config, ConfigError, ModelConfig
from server.demo.scans import held_out
from server.signature import Array, Signature, TensorSpec
from tests.server.administrator import BEARER, TOKEN
from tests.server.grpc_served import GrpcServed
from tests.server.process import ServerProcess

Run = Callable[..., tuple[int, str, str]]

NAMES = ("half_plus_two", "two_by_two", "words", "every_dtype")


@pytest.fixture(scope="module")
def url(models: dict[str, Path]) -> Iterator[str]:
    """A server on a thread of its own, as a command has a loop of its own."""
    labels = {"half_plus_two": {"stable": 123}}
    config = Config(
        tuple(
            ModelConfig(name, models[name], max_batch_size=8, labels=labels.get(name, {}))
            for name in NAMES
        )
    )
    with GrpcServed(config) as served:
        http = HttpServer(served.application.front)
        yield served.run(http.open("127.0.0.1", 0))
        served.run(http.close(timeout=1.0))


@pytest.fixture
def ask(run: Run, url: str) -> Run:
    """`client URL ...`: exit code and both outputs."""
    return lambda *words: run("client", url, *words)


@pytest.fixture
def shown(ask: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What `ask` shows a reader, without its colours."""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "100")
    return lambda *words: click.unstyle(ask(*words)[1])


def lines(text: str) -> list[list[str]]:
    return [line.split("\t") for line in text.splitlines()]


# ------------------------------------------------------------------------------- about models


def test_without_a_model_it_lists_them(ask: Run) -> None:
    code, out, err = ask()
    assert (code, err) == (0, "")
    assert ["half_plus_two", "123", "READY", ""] in lines(out)
    assert len(lines(out)) == 1 + len(NAMES)
    told = json.loads(ask("--json")[1])
    assert {model["name"] for model in told["models"]} == set(NAMES)


def test_with_a_model_it_tells_its_signatures(ask: Run) -> None:
    code, out, _ = ask("words")
    assert code == 0
    assert ["halves", "out", "brain", "bfloat16", "[-1,2]"] in lines(out)
    told = json.loads(ask("words", "--json")[1])
    assert told["signatures"]["halves"]["outputs"]["brain"] == {
        "dtype": "bfloat16",
        "shape": [-1, 2],
    }
    assert told["versions"][0]["ready"] is True


def test_a_reader_gets_tables(shown: Callable[..., str]) -> None:
    rows = [line.split() for line in shown().splitlines()]
    assert ["half_plus_two", "123", "READY"] in rows
    told = shown("half_plus_two").splitlines()
    assert told[0].strip() == "half_plus_two  123 READY"
    assert ["serving_default", "in", "x", "float32", "[-1,1]"] in [line.split() for line in told]


# ---------------------------------------------------------------------------------- inference


@pytest.mark.parametrize("protocol", ["auto", "oip", "oip-json", "tfserving", "npy"])
def test_values_are_answered_in_every_protocol(ask: Run, protocol: str) -> None:
    code, out, err = ask("half_plus_two", "[[1], [2.5]]", "--protocol", protocol)
    assert (code, err) == (0, "")
    assert lines(out) == [
        ["input", "output", "row", "values"],
        ["[[1], [2.5]]", "y", "0", "2.5"],
        ["[[1], [2.5]]", "y", "1", "3.25"],
    ]


def test_every_input_is_a_request_and_a_row_may_stand_alone(ask: Run) -> None:
    code, out, _ = ask("half_plus_two", "1", "[2]", "[1.0, 2.0]", "--json")
    assert code == 0
    answers = json.loads(out)["answers"]
    assert [answer["input"] for answer in answers] == ["1", "[2]", "[1.0, 2.0]"]
    assert [answer["outputs"]["y"]["values"] for answer in answers] == [
        [[2.5]],
        [[3.0]],
        [2.5, 3.0],
    ]


def test_repeated_requests_tell_what_they_went_through(ask: Run) -> None:
    code, out, _ = ask("half_plus_two", "[[1], [2]]", "--repeat", "20", "--json")
    assert code == 0
    (answer,) = json.loads(out)["answers"]
    assert len(answer["went_through"]) == 20
    assert {through["batch"] for through in answer["went_through"]} <= {2, 4, 6, 8}
    assert {through["attempts"] for through in answer["went_through"]} == {1}


def test_a_reader_is_told_what_requests_went_through(shown: Callable[..., str]) -> None:
    out = shown("half_plus_two", "[[1], [2]]")
    assert "float32" in out
    assert "in a batch of 2, answered after" in out
    assert "least" not in out
    out = " ".join(shown("half_plus_two", "1", "2", "--repeat", "5").split())
    assert "10 requests, queued " in out
    assert "least / median / most" in out


def test_a_reader_sees_likely_classes_and_not_all_of_much(shown: Callable[..., str]) -> None:
    few = ("every_dtype", "[[0.25, 0.125, 0.625, 0]]", "--signature", "float64")
    assert "2 62.50%  0 25.00%  1 12.50%" in shown(*few)
    assert "0.25  0.125  0.625  0" in shown(*few, "--top", "0")
    many = json.dumps(np.ones((20, 20)).tolist())
    out = " ".join(shown("every_dtype", many, "--signature", "float64").split())
    assert out.count("1.0, ") < 10
    assert "20 values" in out
    assert "20 rows" in out


def test_inputs_go_by_name(ask: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[10, 20]], "int8"))
    code, out, err = ask(
        "two_by_two", "--input", f"a={tmp_path / 'a.npy'}", "--input", "b=[[1, 2]]"
    )
    assert (code, err) == (0, "")
    assert {(line[1], *line[3:]) for line in lines(out)[1:]} == {
        ("sum", "11.0", "22.0"),
        ("difference", "9.0", "18.0"),
    }


def test_files_say_by_their_content_what_they_are(ask: Run, tmp_path: Path) -> None:
    a, b = np.array([[10.0, 20.0]]), np.array([[1.0, 2.0]])
    np.savez(tmp_path / "both", a=a, b=b)
    (tmp_path / "named").write_text(json.dumps({"a": a.tolist(), "b": b.tolist()}))
    (tmp_path / "rows").write_text(json.dumps({"instances": [{"a": [10, 20], "b": [1, 2]}]}))
    (tmp_path / "columns").write_text(json.dumps({"inputs": {"a": a.tolist(), "b": b.tolist()}}))
    inputs = [
        {"name": name, "datatype": "FP32", "shape": [1, 2], "data": array.ravel().tolist()}
        for name, array in (("a", a), ("b", b))
    ]
    (tmp_path / "oip").write_text(json.dumps({"inputs": inputs}))
    for name in ("both.npz", "named", "rows", "columns", "oip"):
        code, out, err = ask("two_by_two", str(tmp_path / name), "--json")
        assert (code, err) == (0, "")
        (answer,) = json.loads(out)["answers"]
        assert answer["outputs"]["sum"]["values"] == [[11.0, 22.0]]


def test_strings_come_as_text(ask: Run) -> None:
    code, out, _ = ask("words", '["a\\tb", "é"]')
    assert code == 0
    assert [line[3:] for line in lines(out) if line[1] == "text"] == [['"a\\tb"'], ["é"]]
    assert [line[3:] for line in lines(out) if line[1] == "length"] == [["3"], ["2"]]


def test_another_signature_version_or_label_is_asked(ask: Run) -> None:
    code, out, _ = ask("words", "[[1, 0.1]]", "--signature", "halves", "--json")
    assert code == 0
    outputs = json.loads(out)["answers"][0]["outputs"]
    assert outputs["half"] == {"dtype": "float16", "shape": [1, 2], "values": [[1.0, 0.1]]}
    assert ask("half_plus_two", "1", "--version", "123")[0] == 0
    assert ask("half_plus_two", "1", "--label", "stable")[0] == 0
    assert ask("half_plus_two", "1", "--version", "7")[0] == 1


def test_outputs_are_written_to_files(ask: Run, tmp_path: Path) -> None:
    for suffix in (".npy", ".npz", ".json"):
        target = tmp_path / f"out{suffix}"
        assert ask("half_plus_two", "[[1], [2]]", "5", "--output", str(target))[0] == 0
    expected = np.array([[2.5], [3.0], [4.5]], "float32")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npz")["y"], expected)
    assert json.loads((tmp_path / "out.json").read_text()) == {"y": expected.tolist()}


def test_outputs_that_cannot_be_written_are_told(ask: Run, tmp_path: Path) -> None:
    folder = tmp_path / "out.npy"
    folder.mkdir()
    code, _, err = ask("half_plus_two", "1", "--output", str(folder))
    assert (code, err) == (2, f"batcher-server: cannot write {folder}: Is a directory\n")


# -------------------------------------------------------------------------------- how it ends


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["none"], "none"),
        (["half_plus_two", "[[1, 2]]"], "input 'x' is float32[-1,1]"),
        (["half_plus_two", "1", "--label", "none"], "none"),
    ],
)
def test_what_the_server_refuses_ends_with_1(ask: Run, words: list[str], told: str) -> None:
    code, out, err = ask(*words)
    assert (code, out) == (1, "")
    assert told in err
    assert err.startswith("batcher-server: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["half_plus_two", "nothing.npy"], "cannot read nothing.npy: No such file"),
        (["half_plus_two", "["], "'[': the body is not JSON"),
        (["half_plus_two", '"text"'], "input 'x' is float32[-1,1]"),
        (["half_plus_two", '{"z": [1]}'], "has no input 'z', it takes 'x'"),
        (["half_plus_two", "--input", "x"], "NAME=FILE"),
        (["half_plus_two", "1", "--input", "x=1"], "give either"),
        (["half_plus_two", "--input", 'x={"instances": [1]}'], "not a whole request"),
        (["half_plus_two", "1", "--signature", "none"], "'none'"),
        (["half_plus_two", "1", "--protocol", "grpc"], "'grpc' is not one of 'auto'"),
        (["half_plus_two", "1", "--timeout", "0"], "above 0"),
        (["half_plus_two", "1", "--version", "1", "--label", "a"], "either --version or --label"),
        (["half_plus_two", "1", "--label", "stable", "--protocol", "oip"], "no labels"),
        (["half_plus_two", "1", "--pixels", "1"], "BLACK:WHITE"),
        (["half_plus_two", "1", "--output", "out.txt"], ".npy, .npz, .json"),
        (["half_plus_two", "1", "--output", "/no/such/out.npy"], "no folder /no/such"),
        (["half_plus_two", "--output", "out.npy"], "--output takes answers: give an INPUT"),
        (["half_plus_two\udcff"], "'half_plus_two\\udcff' cannot be sent"),
        (["two_by_two", "[[1, 2]]"], "give each with --input"),
        (["--protocol", "tfserving"], "does not list models"),
    ],
)
def test_what_is_impossible_ends_with_2(ask: Run, words: list[str], told: str) -> None:
    code, out, err = ask(*words)
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1


def test_where_nobody_listens_it_ends_with_1(run: Run) -> None:
    code, _, err = run("client", "127.0.0.1:1", "m", "--retries", "0")
    assert code == 1
    assert "http://127.0.0.1:1: cannot connect" in err
    code, _, err = run("client", "ftp://host")
    assert code == 2


def test_a_token_may_come_from_the_environment(
    run: Run, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config((ModelConfig("half_plus_two", models["half_plus_two"]),), tokens=(TOKEN,))
    with GrpcServed(config) as served:
        http = HttpServer(served.application.front)
        url = served.run(http.open("127.0.0.1", 0))
        assert run("client", url)[0] == 1
        monkeypatch.setenv("BATCHER_CLIENT_TOKEN", BEARER["Authorization"].partition(" ")[2])
        assert run("client", url)[0] == 0
        served.run(http.close(timeout=1.0))


def test_a_real_one_reads_digits_from_pictures_and_standard_input(
    tmp_path: Path, digits_server: ServerProcess
) -> None:
    scans, labels = held_out()
    for place in range(3):
        # Dark ink on white paper, ten pixels for one, as from a camera.
        paper = Image.fromarray((255 - scans[place] / 16 * 255).astype("uint8"))
        paper.resize((80, 80), Image.Resampling.NEAREST).save(tmp_path / f"{place}.png")
    np.save(tmp_path / "rows.npy", scans[:3])
    command = [sys.executable, "-m", "server", "client", digits_server.url.removeprefix("http://")]
    pictures = [str(tmp_path / f"{place}.png") for place in range(3)]
    seen = subprocess.run(
        [*command, "digits", *pictures, "--pixels", "16:0", "--json"],
        capture_output=True,
        check=True,
    )
    answers = json.loads(seen.stdout)["answers"]
    scores = [answer["outputs"]["probabilities"]["values"][0] for answer in answers]
    assert np.argmax(scores, axis=1).tolist() == labels[:3].tolist()
    typed = subprocess.run(
        [*command, "digits", "-"],
        input=(tmp_path / "rows.npy").read_bytes(),
        capture_output=True,
        check=True,
    )
    read_back = [line[3:] for line in lines(typed.stdout.decode())[1:]]
    np.testing.assert_allclose(np.array(read_back, "float64"), scores, atol=0.01)


def test_it_offers_the_protocols_of_the_client() -> None:
    assert PROTOCOLS == dialect.PROTOCOLS


def test_it_needs_nothing_of_what_serves_models() -> None:
    program = """
import sys
blocked = {"tensorflow", "keras", "h5py", "prometheus_client", "grpc", "ai_edge_litert", "sklearn"}
sys.modules |= dict.fromkeys(blocked)
from server.cli import main
sys.argv = ["batcher-server", "client", "127.0.0.1:1", "m", "1", "--retries", "0"]
main()
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("batcher-server: http://127.0.0.1:1: cannot connect")


@pytest.mark.parametrize("words", [["load"], ["serve", "--port", "0"]])
def test_what_else_there_is_says_what_it_needs(words: list[str]) -> None:
    program = f"""
import sys
sys.modules["prometheus_client"] = None
from server.cli import main
sys.argv = ["batcher-server", *{words}]
main()
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    words_of_it = "prometheus_client is not installed: pip install 'batcher[server]'"
    assert ran.stderr == f"batcher-server: {words_of_it}\n"


def test_an_interrupt_ends_it_with_130() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        command = [sys.executable, "-m", "server", "client", f"127.0.0.1:{port}"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
            # It has asked by then, and waits.
            connection, _ = silent.accept()
            with connection:
                assert connection.recv(1)
                running.send_signal(signal.SIGINT)
                assert running.wait() == 130
                assert running.stderr is not None
                assert "Traceback" not in running.stderr.read()


# ------------------------------------------------------------------------------------ in parts


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("1.5", Value(1.5)),
        ("-1e3", Value(-1000.0)),
        ("true", Value(value=True)),
        ("[1, [2]]", Value([1, [2]])),
        ('"a"', Value("a")),
        ('{"a": 1}', Named({"a": Value(1)})),
        ('{"inputs": [1]}', Body(b'{"inputs": [1]}', oip=False, signature="")),
        (
            '{"signature_name": "s", "instances": [1]}',
            Body(b'{"signature_name": "s", "instances": [1]}', oip=False, signature="s"),
        ),
    ],
)
def test_a_word_is_a_value_if_it_looks_like_one(word: str, expected: Typed) -> None:
    assert read(word) == expected


def test_a_broken_file_of_arrays_is_told(tmp_path: Path) -> None:
    for content in (b"\x93NUMPY", b"PK\x03\x04", b"\x93NUMPY\x01\x00\x10\x00{'descr': '|O'}"):
        (tmp_path / "broken").write_bytes(content)
        with pytest.raises(ConfigError, match="is no file of arrays"):
            read(str(tmp_path / "broken"))


def spec(shape: tuple[int | None, ...] | None, dtype: str = "float32") -> TensorSpec:
    return TensorSpec("x", dtype, shape)


@pytest.mark.parametrize(
    ("value", "shape", "expected"),
    [
        (1, (None, 1), (1, 1)),
        (1, (None,), (1,)),
        ([1], (None, 1), (1, 1)),
        ([1, 2], (None, 1), (2,)),
        ([1, 2], (None, 2), (1, 2)),
        ([1, 2], (None, None), (1, 2)),
        ([[1, 2]], (None, 2), (1, 2)),
        ([[1, 2], [3, 4]], (None, 2, 2), (1, 2, 2)),
        (1, (), ()),
        ([1, 2], (2,), (2,)),
        ([1, 2], None, (2,)),
        ([1, 2, 3], (None, 2), (3,)),
    ],
)
def test_a_row_gets_the_dimension_of_rows(
    value: Any, shape: tuple[int | None, ...] | None, expected: tuple[int, ...]
) -> None:
    signature = Signature("s", {"x": spec(shape)}, {})
    assert tensors(Value(value), signature, Levels())["x"].shape == expected


def picture(mode: str, size: tuple[int, int], colour: Any, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, form)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "shape", "dtype", "levels", "expected"),
    [
        (picture("L", (4, 2), 255), (None, 3, 5), "float32", (0, 1), np.ones((1, 3, 5))),
        (picture("L", (4, 2), 0), (None, 3, 5), "float32", (16, 0), np.full((1, 3, 5), 16)),
        (picture("L", (4, 2), 100), (None, None, None), "uint8", (0, 255), np.full((1, 2, 4), 100)),
        (
            picture("RGB", (2, 2), "red", "JPEG"),
            (None, 1, 1, 3),
            "uint8",
            (0, 255),
            [[[[254, 0, 0]]]],
        ),
        (
            picture("RGB", (2, 2), "red"),
            (None, 1, 1, None),
            "int8",
            (-128, 127),
            [[[[127, -128, -128]]]],
        ),
        (picture("RGB", (1, 1), "white"), (None, 1, 1, 1), "float64", (0, 1), [[[[1]]]]),
        (picture("RGBA", (1, 1), (0, 0, 0, 0)), (None, 1, 1), "uint8", (0, 255), [[[255]]]),
        (
            picture("RGBA", (1, 1), (9, 8, 7, 0)),
            (None, 1, 1, 4),
            "uint8",
            (0, 255),
            [[[[9, 8, 7, 0]]]],
        ),
        (picture("1", (1, 1), 1), (None, 1, 1), "bfloat16", (0, 2), [[[2]]]),
    ],
)
def test_pictures_are_made_to_measure(
    content: bytes, shape: tuple[int | None, ...], dtype: str, levels: Any, expected: Any
) -> None:
    array = pixels(content, "p", spec(shape, dtype), Levels(*levels))
    assert array.dtype == spec(shape, dtype).numpy_dtype
    np.testing.assert_allclose(array.astype("float64"), expected, atol=1e-6)


def test_a_picture_that_was_taken_sideways_is_turned() -> None:
    lying = Image.fromarray(np.array([[0, 255]], "uint8"))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    buffer = io.BytesIO()
    lying.save(buffer, "PNG", exif=exif)
    array = pixels(buffer.getvalue(), "p", spec((None, None, None)), Levels())
    assert array.tolist() == [[[0.0], [255.0]]]


def test_a_model_that_decodes_pictures_gets_their_bytes() -> None:
    signature = Signature("s", {"x": spec((None,), "string")}, {})
    content = picture("L", (1, 1), 0)
    assert tensors(Picture(content, "p"), signature, Levels())["x"].tolist() == [content]


@pytest.mark.parametrize(
    ("content", "shape", "words"),
    [
        (b"\x00\x01", (None, 8, 8), "nor a picture that can be read"),
        (picture("L", (1, 1), 0)[:40], (None, 8, 8), "nor a picture that can be read"),
        (picture("L", (1, 1), 0), (None, 8), "takes no pictures"),
        (picture("L", (1, 1), 0), None, "takes no pictures"),
        (picture("L", (1, 1), 0), (None, 8, 8, 2), "1, 3 or 4 channels"),
    ],
)
def test_what_is_no_picture_for_the_model_is_told(
    content: bytes, shape: tuple[int | None, ...] | None, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        pixels(content, "p", spec(shape), Levels())


def test_without_pillow_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ConfigError, match=r"pip install 'batcher\[client\]'"):
        pixels(b"", "p", spec((None, 8, 8)), Levels())


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([0.1], "float16"), [0.1]),
        (np.array([[0.1]], "float32"), [[0.1]]),
        (np.array([1 + 2j], "complex64"), [[1.0, 2.0]]),
        (np.array([b"a", b"\xff"], object), ["a", {"b64": "/w=="}]),
        (np.array(7, "int64"), 7),
    ],
)
def test_arrays_become_lists(array: Array, expected: Any) -> None:
    assert listed(array) == expected


def test_answers_that_no_file_can_hold_are_told() -> None:
    def answer(**outputs: Array) -> Answer:
        return Answer("x", outputs, [Receipt(1.0, 1)])

    one, other = np.ones((1, 2)), np.ones((1, 3))
    with pytest.raises(ConfigError, match=r"use \.npz"):
        written([answer(a=one, b=one)], Path("out.npy"))
    with pytest.raises(ConfigError, match=r"use \.json"):
        written([answer(a=np.array([b"t"], object))], Path("out.npz"))
    with pytest.raises(ConfigError, match="do not fit into one file"):
        written([answer(a=one), answer(a=other)], Path("out.npz"))


def test_values_that_do_not_fit_are_refused_before_they_are_sent() -> None:
    signature = Signature("s", {"x": spec((None,), "uint8")}, {})
    with pytest.raises(InvalidRequest, match="outside of uint8"):
        tensors(Value([256]), signature, Levels())
