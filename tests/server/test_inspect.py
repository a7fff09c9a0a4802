"""What `inspect` shows is so: every sample that it prints is answered by the server."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.cli import inspect_json
from server.demo import DIGITS
from server.inspection import InspectedSignature, Inspection, inspect
from server.models.example_features import example_features
from server.models.tensorflow_runtime import saved_model_pb2, tf
from server.samples import Sample, SampleRequest, Target, samples
from server.samples.values import NoForm, filled, written
from server.signature import Signature, TensorSpec
from tests.server import saved_models
from tests.server.conftest import Served
from tests.server.pasted import commands, paste, run_python
from tests.server.process import ServerProcess, run_to_end
from tests.server.user_modules import UserModules

Run = Callable[..., tuple[int, str, str]]

MODELS = [
    *("half_plus_two", "two_by_two", "every_dtype", "odd_ones", "words"),
    *("any_shape", "of_examples", "examples", "left_out"),
]


@pytest.fixture(scope="module")
def inspections(models: dict[str, Path]) -> dict[str, Inspection]:
    """Of every model that there is for tests."""
    return {name: inspect(path, 8) for name, path in models.items()}


def samples_of(inspection: Inspection, target: Target) -> Iterator[tuple[str, Sample]]:
    for each in inspection.signatures:
        assert each.request is not None, each.refused
        yield from ((each.signature.name, sample) for sample in samples(target, each.request))


def sample(target: Target, each: InspectedSignature, protocol: str) -> str:
    assert each.request is not None
    (text,) = [s.text for s in samples(target, each.request) if s.protocol == protocol]
    return text


def inspected(
    folder: Path, function: Callable[..., Any], inputs: saved_models.Inputs
) -> Inspection:
    """Of a model with one signature."""
    return inspect(saved_models.save(folder, 1, {"serving_default": (function, inputs)}), 2)


# -------------------------------------------------------------------------------------- the samples


@pytest.mark.parametrize("model", MODELS)
def test_every_sample_for_a_shell_is_answered(
    inspections: dict[str, Inspection],
    served: Served,
    model: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for signature, shown in samples_of(inspections[model], Target(model)):
        if shown.language == "sh" and shown.text:
            answer = paste(shown.text, served)
            assert answer.status == 200, (signature, shown.protocol, shown.text, answer.body)


@pytest.mark.parametrize("model", MODELS)
def test_every_sample_in_python_is_answered(
    inspections: dict[str, Inspection], served: Served, grpc_address: str, model: str
) -> None:
    host, _, port = grpc_address.rpartition(":")
    for _, shown in samples_of(inspections[model], Target(model, host, grpc_port=int(port))):
        if shown.language == "python" and shown.text:
            # The loop of the server moves only while somebody waits on it.
            assert served.run(asyncio.to_thread(run_python, shown.text))


def test_only_what_has_no_form_has_no_sample(inspections: dict[str, Inspection]) -> None:
    none: dict[str, set[str]] = {}
    for model in MODELS:
        for signature, shown in samples_of(inspections[model], Target(model)):
            assert bool(shown.text) != bool(shown.why_not)
            if shown.why_not:
                none.setdefault(shown.protocol, set()).add(f"{model}.{signature}")
    texts = [f"any_shape.{name}" for name in ("string", "bytes", "mixed", "four")]
    texts += [f"of_examples.{name}" for name in ("regress_x_to_y", "classify_x_to_y", "lonely")]
    texts += [f"examples.{each.signature.name}" for each in inspections["examples"].signatures]
    assert none == {
        "tfserving_rest": {
            "every_dtype.float16",
            "words.bfloat16",
            "words.imaginary",
            "examples.no_text",
        },
        "oip_http": {"words.imaginary", "any_shape.complex64"},
        "oip_grpc": {"words.imaginary", "any_shape.complex64"},
        "plain_binary": {"words.serving_default", "of_examples.classify", *texts},
    }


def test_the_samples_answer_what_the_model_does(
    inspections: dict[str, Inspection], served: Served
) -> None:
    (each,) = inspections["two_by_two"].signatures
    answer = paste(sample(Target("two_by_two"), each, "tfserving_rest"), served)
    assert json.loads(answer.body) == {"predictions": [{"sum": [1.0, 1.0], "difference": [0, 0]}]}


def test_pasted_into_a_shell_the_samples_are_answered(
    tmp_path: Path, digits_server: ServerProcess
) -> None:
    inspection = inspect(DIGITS, 2)
    target = Target("digits", port=int(digits_server.url.rpartition(":")[2]))
    for _, shown in samples_of(inspection, target):
        if shown.language == "sh":
            done = subprocess.run(
                ["bash", "-c", shown.text],
                cwd=tmp_path,
                env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
                capture_output=True,
                check=True,
            )
            assert b"0.12409" in done.stdout, (shown.text, done)


def test_large_rows_are_made_where_they_are_pasted(tmp_path: Path) -> None:
    pixels: saved_models.Inputs = {"x": ("float32", [None, 96, 96, 3])}
    inspection = inspected(tmp_path, lambda x: {"y": tf.reduce_mean(x, axis=[1, 2])}, pixels)
    for _, shown in samples_of(inspection, Target("pictures")):
        assert len(shown.text) < 600
    text = sample(Target("pictures"), inspection.signatures[0], "tfserving_rest")
    program = text.split("'")[1]
    (row,) = json.loads(run_python(program))["instances"]
    assert np.shape(row) == (96, 96, 3)


def test_a_model_of_encoded_pictures_gets_one(tmp_path: Path) -> None:
    def red(image: Any) -> dict[str, Any]:
        def first(encoded: Any) -> Any:
            pixels = tf.io.decode_image(encoded, channels=3, expand_animations=False)
            return tf.cast(pixels[0, 0, 0], tf.float32)

        return {"red": tf.map_fn(first, image, fn_output_signature=tf.float32)}

    (each,) = inspected(tmp_path, red, {"image": ("string", [None])}).signatures
    assert (each.refused, each.signature.batchable) == ("", True)
    assert '{"b64": "iVBOR' in sample(Target("red"), each, "tfserving_rest")


def test_a_model_that_refuses_every_try_has_samples_of_the_right_form(tmp_path: Path) -> None:
    def large(x: Any) -> dict[str, Any]:
        with tf.control_dependencies([tf.debugging.assert_greater(x, 1000.0)]):
            return {"y": tf.identity(x)}

    (each,) = inspected(tmp_path, large, {"x": ("float32", [None])}).signatures
    assert "InvalidArgumentError" in each.refused
    assert not each.measured
    assert '{"inputs": [0.5]}' in sample(Target("large"), each, "tfserving_rest")


@pytest.mark.parametrize(
    ("value", "python", "text"),
    [
        ({"a": [True, None, 1.5]}, False, '{"a": [true, null, 1.5]}'),
        ({'"\\': "\u00e9\U0001f600"}, True, '{"\\"\\\\": "\u00e9\U0001f600"}'),
        ({'"\\': "\u00e9"}, False, '{"\\"\\\\": "\\u00e9"}'),
    ],
)
def test_names_and_values_are_quoted(value: Any, python: bool, text: str) -> None:  # noqa: FBT001
    assert written(value, python=python) == text


def test_odd_names_do_not_break_out_of_the_shell() -> None:
    name = 'it\'s "$(x)" \\ \u00e9\U0001f600'
    spec = TensorSpec(name, "float32", (None, 96))
    signature = Signature("serving_default", {name: spec}, {})
    request = SampleRequest(signature, {name: filled(spec, 1, b"")})
    python, curl = commands(samples(Target("a b/c"), request)[1].text)
    assert json.loads(run_python(python[-1]))["inputs"][0]["name"] == name
    assert curl[2] == "http://127.0.0.1:8501/v2/models/a%20b%2Fc/infer"


def test_a_dtype_without_values_has_no_request() -> None:
    with pytest.raises(NoForm, match="input 'x' is variant"):
        filled(TensorSpec("x", "variant", (None,)), 1, b"")


# ---------------------------------------------------------------------------------- what it tells


def test_it_tells_what_signatures_take_and_why_some_run_alone(
    inspections: dict[str, Inspection],
) -> None:
    told = {each.signature.name: each for each in inspections["odd_ones"].signatures}
    alone = {name: each.signature.alone for name, each in told.items() if each.signature.alone}
    assert alone.keys() == {"scalar", "static", "total", "mean"}
    assert "a row alone differs" in alone["mean"]
    assert [m.rows for m in told["no_negatives"].measured] == [1, 8]
    assert [m.rows for m in told["scalar"].measured] == [1]


def test_examples_are_told_by_their_features(models: dict[str, Path]) -> None:
    features = example_features(models["of_examples"] / "1")
    assert {name: str(spec) for name, spec in features.items()} == {
        "n": "int64[1]",
        "word": "string[1]",
        "x": "float32[1]",
        "x2": "float32[1]",
    }
    assert example_features(DIGITS / "1") == {}


def saved_graph(folder: Path, graph: Any) -> Path:
    saved = saved_model_pb2.SavedModel()
    saved.meta_graphs.add().graph_def.CopyFrom(graph.as_graph_def())
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString())
    return folder


def test_features_of_the_first_tensorflow_are_found_as_well(tmp_path: Path) -> None:
    with tf.Graph().as_default() as graph:
        tf.raw_ops.ParseExample(
            serialized=tf.compat.v1.placeholder(tf.string, [None]),
            names=tf.constant([], tf.string),
            sparse_keys=[tf.constant("ids")],
            dense_keys=[tf.constant("x"), tf.constant("word")],
            dense_defaults=[tf.constant([], tf.float32), tf.constant([""])],
            sparse_types=[tf.int64],
            dense_shapes=[[2, 3], [1]],
        )
    features = example_features(saved_graph(tmp_path, graph))
    assert {name: str(spec) for name, spec in features.items()} == {
        "ids": "int64[1]",
        "x": "float32[2,3]",
        "word": "string[1]",
    }


def test_names_of_features_that_are_computed_are_not_guessed(tmp_path: Path) -> None:
    with tf.Graph().as_default() as graph:
        tf.raw_ops.ParseExampleV2(
            serialized=tf.compat.v1.placeholder(tf.string, [None]),
            names=tf.constant([], tf.string),
            sparse_keys=tf.constant([], tf.string),
            dense_keys=tf.compat.v1.placeholder(tf.string, [1]),
            ragged_keys=tf.constant([], tf.string),
            dense_defaults=[tf.constant([], tf.float32)],
            num_sparse=0,
            sparse_types=[],
            ragged_value_types=[],
            ragged_split_types=[],
            dense_shapes=[[1]],
        )
    with pytest.raises(ValueError, match="longer"):
        example_features(saved_graph(tmp_path, graph))


def test_it_tells_which_versions_there_are_and_which_is_served(tmp_path: Path) -> None:
    for version in ("1", "3"):
        shutil.copytree(DIGITS / "1", tmp_path / version)
    # The last is a number, but of no version that a protocol could ask for.
    for folder in ("7", "notes", "9" * 200):
        (tmp_path / folder).mkdir()
    inspection = inspect(tmp_path, 1)
    assert (inspection.version, inspection.path.name) == (3, "3")
    assert [(each.version, each.format, each.error) for each in inspection.versions] == [
        (7, "", "no model"),
        (3, "SavedModel", ""),
        (1, "SavedModel", ""),
    ]
    assert inspection.files == 4
    assert inspection.file_bytes == sum(
        file.stat().st_size for file in (DIGITS / "1").rglob("*") if file.is_file()
    )


# ------------------------------------------------------------------------------------- how it shows


def keys_of(value: Any) -> set[str]:
    """All keys of objects in it."""
    if isinstance(value, list):
        return set().union(*map(keys_of, value))
    if isinstance(value, dict):
        return set(value).union(*map(keys_of, value.values()))
    return set()


def test_json_has_the_documented_keys(run: Run, models: dict[str, Path]) -> None:
    path = str(models["left_out"])
    code, output, noise = run("inspect", path, "--json", "--max-batch-size", "2", "--name", "m")
    assert (code, noise) == (0, "")
    told = json.loads(output)
    assert (told["name"], told["version"], told["format"]) == ("m", 1, "SavedModel")
    (signature,) = told["signatures"]
    assert signature["batchable"]
    assert [each["default"] for each in signature["inputs"]] == [None, [[10.0]]]
    documented = set(re.findall(r"\b[a-z_]+\b", inspect_json.__doc__ or ""))
    assert keys_of(told) <= documented


def test_what_a_function_prints_is_not_in_the_json(run: Run, user_modules: UserModules) -> None:
    user_modules.write(
        "talks",
        """
        print("imported")

        @signature({"x": "float32[-1]"}, {"y": "float32[-1]"})
        def double(x):
            print("called")
            return x * 2
        """,
    )
    code, output, printed = run("inspect", "talks:double", "--json", "--max-batch-size", "2")
    assert code == 0
    assert "imported\n" in printed
    told = json.loads(output)
    assert (told["name"], told["files"]) == ("talks", 0)
    assert [each["batchable"] for each in told["signatures"]] == [True]


def test_quantized_tensors_are_told(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    module = tf.Module()
    module.sum = tf.function(lambda x: {"y": x @ tf.ones([2, 1])})
    function = module.sum.get_concrete_function(tf.TensorSpec([None, 2], name="x"))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: iter([[np.array([[-1, 3]], "float32")]])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    (tmp_path / "small.tflite").write_bytes(converter.convert())
    inspection = inspect(tmp_path / "small.tflite", 2)
    assert (inspection.platform, inspection.signatures[0].refused) == ("tensorflow_lite", "")
    (each,) = inspect_json.told(inspection, Target("small"))["signatures"][0]["inputs"]
    assert each["dtype"] == "float32"
    assert each["quantized"].startswith("int8")
    assert each["quantized"] in run("inspect", str(tmp_path), "--max-batch-size", "2")[1]


def test_defaults_have_a_form_in_json() -> None:
    for array, form in (
        (np.zeros(17), "..."),
        (np.array([b"a", b"\xff"], object), ["a", {"b64": "/w=="}]),
        (np.array(1j), "1j"),
        (np.array([True]), [True]),
    ):
        assert inspect_json.default_value(array) == form


def test_it_shows_the_model_in_the_width_of_a_terminal(
    run: Run, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(models["odd_ones"].parent)
    code, output, noise = run("inspect", "odd_ones", "--max-batch-size", "2")
    assert (code, noise) == (0, "")
    assert "\x1b[" in output
    lines = re.sub(r"\x1b\[[0-9;]*m", "", output).splitlines()
    assert lines[0] == "odd_ones, version 1"
    about = lines[: next(at for at, line in enumerate(lines) if line.startswith("Samples ask"))]
    assert max(map(len, about)) <= 80
    assert any(line.startswith("  Runs alone: input 'x' has no batch dimension") for line in about)


def test_it_is_plain_where_nobody_watches(run: Run, tmp_path: Path) -> None:
    shutil.copytree(DIGITS / "1", tmp_path / "a" / "1")
    (tmp_path / "a" / "2").mkdir()
    path = str(tmp_path / "a")
    options = ["--max-batch-size", "2", "--port", "1", "--grpc-port", "2", "--signature"]
    code, output, noise = run("inspect", path, *options, "serving_default")
    assert (code, noise) == (0, "")
    assert "\x1b" not in output
    assert "versions  2 (no model), 1 (served)\n" in re.sub(" +\n", "\n", output)
    assert f"serve     batcher-server {path} --port 1 --grpc-port 2\n" in output
    assert "http://127.0.0.1:1/v1/models/a:predict" in output
    assert 'grpc.insecure_channel("127.0.0.1:2")' in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["PATH"]),
        (["/no/such/model"], ["/no/such/model", "does not exist"]),
        ([str(Path(__file__).parent)], ["holds no model", "saved_model.pb"]),
        ([__file__], [__file__, "not a model"]),
        ([str(DIGITS), "--max-batch-size", "0"], ["--max-batch-size"]),
        ([str(DIGITS), "--signature", "other"], ["no signature 'other'", "'serving_default'"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_what_is_told_wrong_is_one_line(run: Run, arguments: list[str], words: list[str]) -> None:
    code, output, errors = run("inspect", *arguments)
    assert (code, output) == (2, "")
    assert errors.count("\n") == 1, errors
    for word in words:
        assert word in errors


def test_tensorflow_makes_no_noise(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    path = str(models["every_dtype"])
    code, output, noise = run_to_end("inspect", path, "--max-batch-size", "2", "--json")
    assert (code, noise) == (0, "")
    assert len(json.loads(output)["signatures"]) == 12
