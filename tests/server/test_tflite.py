"""Files of TensorFlow Lite: served like other models, whatever they hold; errors are a line."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.config import Config, ModelConfig
from server.conversion.quantizations import QUANTIZATIONS
from server.demo import DIGITS
from server.demo.scans import held_out, training
from server.errors import StartupError
from server.model import InputRejected
from server.models import load, tflite_interpreters
from server.models.notes import notes_held_back
from server.models.tensorflow_runtime import tf
from server.models.tflite import TFLite
from server.models.tflite_tensors import Quantization, names_of
from server.models.tflite_trial import try_in_a_child
from server.models.to_tflite import convert
from server.runtime import Runtime
from server.signature import NUMPY_DTYPES, Array, Tensors
from tests.server import tflite_files
from tests.server.conftest import Served

SCANS, LABELS = held_out()
KINDS = sorted(QUANTIZATIONS)

VALUES: Tensors = {
    "bool": np.array([[True, False]]),
    "complex64": np.array([[1 + 2j, -3j]], "complex64"),
    "string": np.array([[b"a\0", b"\xff"], [b"", b"abc"]], object),
} | {
    dtype: np.array([[0, 1], [2, 3], [4, 100]], dtype)
    for dtype in sorted(NUMPY_DTYPES - {"bool", "complex64", "complex128"})
}
"""An array for each dtype that files can have."""


def calibration() -> Iterator[tuple[str, Tensors]]:
    for scan in training()[0][:200]:
        yield "serving_default", {"images": scan[None]}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The bundled model, converted in each way."""
    folder = tmp_path_factory.mktemp("digits")
    for how in KINDS:
        (folder / f"{how}.tflite").write_bytes(convert(DIGITS / "1", how, calibration))
    return {how: folder / f"{how}.tflite" for how in KINDS}


@pytest.fixture(scope="module")
def original() -> Array:
    """What the bundled model answers to the held-out scans."""
    return load(DIGITS / "1").run("serving_default", {"images": SCANS})["probabilities"]


@pytest.fixture(scope="module")
def front(digits: dict[str, Path]) -> Iterator[Served]:
    """All of them in one server."""
    served = Served(Config(tuple(ModelConfig(how, path) for how, path in digits.items())))
    yield served
    served.close()


def model_of(content: bytes) -> TFLite:
    return TFLite(content, 1)


def line_of(path: Path) -> str:
    """What an operator is told of this file."""
    with pytest.raises(StartupError) as told:
        load(path)
    message = str(told.value)
    assert message.startswith(f"cannot load the TensorFlow Lite model in {path}: ")
    assert "\n" not in message
    return message


# --------------------------------------------------------------------------------------- served


@pytest.mark.parametrize(
    ("how", "tolerance"), [("none", 1e-5), ("float16", 2e-3), ("dynamic", 0.05), ("int8", 0.05)]
)
def test_a_converted_model_reads_as_many_digits_as_the_original(
    front: Served, original: Array, how: str, tolerance: float
) -> None:
    body = json.dumps({"instances": SCANS.tolist()}).encode()
    answer = front.ask("POST", f"/v1/models/{how}:predict", body)
    assert answer.status == 200
    scores = np.array(json.loads(answer.body)["predictions"], np.float32)
    np.testing.assert_allclose(scores, original, rtol=tolerance, atol=tolerance)
    right = (original.argmax(axis=1) == LABELS).mean()
    assert (scores.argmax(axis=1) == LABELS).mean() >= right - 0.01


@pytest.mark.parametrize("how", KINDS)
def test_clients_see_the_same_signature_however_a_model_is_quantized(
    front: Served, how: str
) -> None:
    told = json.loads(front.ask("GET", f"/v2/models/{how}").body)
    assert told["platform"] == "tensorflow_lite"
    assert told["inputs"] == [{"name": "images", "datatype": "FP32", "shape": [-1, 8, 8]}]
    assert told["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}]


def test_converted_models_run_in_batches(front: Served) -> None:
    for endpoint in front.application.front._repository.endpoints():
        assert all(signature.batchable for signature in endpoint.served.signatures.values())


# -------------------------------------------------------------------------- signatures and dtypes


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A signature for each question; see the tests."""
    row = {"x": ("float32", [None, 2])}
    same = {name: (name, [None, 2]) for name in VALUES}
    two = {"b": ("float32", [None, 2]), "a": ("float32", [None, 2])}
    return tflite_files.converted(
        tmp_path_factory.mktemp("several"),
        {
            "same": (lambda **tensors: {n: tf.identity(t) for n, t in tensors.items()}, same),
            "minus": (lambda a, b: {"difference": a - b, "as_it_was": b}, two),
            "mean": (lambda x: {"y": x - tf.reduce_mean(x, axis=0)}, row),
            "total": (lambda x: {"y": tf.reduce_sum(x)}, row),
            "fixed": (lambda x: {"y": x * 2.0}, {"x": ("float32", [1, 2])}),
            "scalar": (lambda x: {"y": x * 2.0}, {"x": ("float32", [])}),
            "pick": (
                lambda x: {"y": tf.gather(tf.constant([[1.0], [2.0]]), x)},
                {"x": ("int32", [None])},
            ),
        },
    )


@pytest.fixture(scope="module")
def many(several: bytes) -> TFLite:
    return model_of(several)


def test_every_signature_has_its_names_shapes_and_dtypes(many: TFLite) -> None:
    signature = many.signatures["minus"]
    assert {name: str(spec) for name, spec in signature.inputs.items()} == {
        "a": "float32[-1,2]",
        "b": "float32[-1,2]",
    }
    assert sorted(signature.outputs) == ["as_it_was", "difference"]
    assert signature.inputs["a"].tensor_name
    outputs = many.run("minus", {"b": np.ones((3, 2), "f4"), "a": np.full((3, 2), 5, "f4")})
    assert outputs["difference"].tolist() == [[4, 4]] * 3
    assert outputs["as_it_was"].tolist() == [[1, 1]] * 3


def test_shapes_tell_which_signatures_run_alone(many: TFLite) -> None:
    alone = {name for name, signature in many.signatures.items() if signature.alone}
    assert alone == {"total", "fixed", "scalar"}
    assert many.run("total", {"x": np.ones((4, 2), "f4")})["y"] == 8
    assert many.run("scalar", {"x": np.array(3, "f4")})["y"] == 6
    assert many.run("fixed", {"x": np.array([[1, 2]], "f4")})["y"].tolist() == [[2, 4]]


def test_tensors_of_every_dtype_come_back_as_they_went_in(many: TFLite) -> None:
    back = many.run("same", VALUES)
    for name, values in VALUES.items():
        spec = many.signatures["same"].inputs[name]
        assert (spec.dtype, spec.numpy_dtype) == (name, values.dtype)
        assert back[name].dtype == values.dtype
        np.testing.assert_array_equal(back[name], values)


def test_a_file_without_signatures_has_one() -> None:
    content = tflite_files.without_signatures(
        lambda a, b: a * b, ("a", [None, 2]), ("b", [None, 2])
    )
    model = model_of(content)
    assert list(model.signatures) == ["serving_default"]
    signature = model.signatures["serving_default"]
    assert sorted(signature.inputs) == ["a", "b"]
    (output,) = signature.outputs
    for rows in (1, 3, 2, 3):
        inputs = {"b": np.full((rows, 2), 3, "f4"), "a": np.full((rows, 2), rows, "f4")}
        assert model.run("serving_default", inputs)[output].tolist() == [[3 * rows] * 2] * rows


def test_names_of_tensors_become_valid_and_unique() -> None:
    graph = ["serving_default_x:0", "detection:1", "a b", "a\tb", "", "", "detection_1"]
    assert names_of([{"name": name} for name in graph], "input") == [
        "serving_default_x",
        "detection_1",
        "a_b",
        "a_b_2",
        "input",
        "input_2",
        "detection_1_2",
    ]


# ---------------------------------------------------------------------------------- interpreters


def test_interpreters_are_kept_for_sizes_and_bounded(several: bytes) -> None:
    interpreters = tflite_interpreters.Interpreters(several, 1)
    rows = np.arange(40, dtype="f4").reshape(20, 2)
    for size in [*range(1, 21), *range(20, 0, -1)]:
        (mean,) = interpreters.run("mean", {"x": rows[:size]}).values()
        np.testing.assert_allclose(mean, rows[:size] - rows[:size].mean(axis=0), atol=1e-5)
        assert len(interpreters) <= tflite_interpreters.MOST
    assert len(interpreters) == tflite_interpreters.MOST


def test_a_large_file_has_one_interpreter(several: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tflite_interpreters, "MOST_BYTES", len(several))
    interpreters = tflite_interpreters.Interpreters(several, 1)
    for size in (1, 2, 1):
        (same,) = interpreters.run("pick", {"x": np.ones(size, "i4")}).values()
        assert same.tolist() == [[2]] * size
        assert len(interpreters) == 1


def test_an_answer_is_nobody_elses_memory(many: TFLite) -> None:
    first = many.run("minus", {"a": np.ones((1, 2), "f4"), "b": np.zeros((1, 2), "f4")})
    many.run("minus", {"a": np.full((1, 2), 9, "f4"), "b": np.zeros((1, 2), "f4")})
    assert first["difference"].tolist() == [[1, 1]]


def test_nothing_is_kept_from_one_request_to_the_next() -> None:
    model = model_of(tflite_files.running_total())
    answers = [model.run("serving_default", {"x": np.ones((1, 1), "f4")}) for _ in range(3)]
    assert [answer["y"].item() for answer in answers] == [1, 1, 1]


def test_a_model_runs_again_after_it_has_refused(many: TFLite) -> None:
    with pytest.raises(InputRejected, match=r"^LiteRT failed in node \d+ \(GATHER\)$"):
        many.run("pick", {"x": np.array([31337], "i4")})
    assert many.run("pick", {"x": np.array([1, 0], "i4")})["y"].tolist() == [[2], [1]]


# ---------------------------------------------------------------------------------- quantization


@given(
    st.floats(1e-4, 10),
    st.integers(-128, 127),
    st.lists(st.floats(width=32, allow_nan=False), max_size=8),
)
def test_numbers_become_the_nearest_integers_and_come_back(
    scale: float, zero_point: int, numbers: list[float]
) -> None:
    quantization = Quantization(scale, zero_point, np.dtype("int8"))
    array = np.array(numbers, "f4")
    back = quantization.dequantize(quantization.quantize("x", array))
    least, most = ((limit - zero_point) * scale for limit in (-128, 127))
    np.testing.assert_allclose(back, np.clip(array, least, most), rtol=1e-3, atol=scale * 0.501)


@pytest.mark.parametrize(
    ("dtype", "zero_point", "integers"),
    [
        ("int8", -1, [-128, 127, -1, -1, 1]),
        ("uint8", 128, [0, 255, 128, 128, 130]),
        ("int16", 0, [-32768, 32767, 0, 0, 2]),
    ],
)
def test_numbers_beyond_the_range_become_its_ends(
    dtype: str, zero_point: int, integers: list[int]
) -> None:
    quantization = Quantization(0.5, zero_point, np.dtype(dtype))
    numbers = np.array([-np.inf, 3e38, 0, 0.2, 0.9], "f4")
    assert quantization.quantize("x", numbers).tolist() == integers


def test_what_is_no_number_cannot_be_quantized(digits: dict[str, Path]) -> None:
    model = model_of(digits["int8"].read_bytes())
    scans = SCANS[:2].copy()
    scans[1, 3, 4] = np.nan
    with pytest.raises(InputRejected, match="input 'images' is quantized to int8"):
        model.run("serving_default", {"images": scans})
    assert set(model.quantized["serving_default"]) == {"images", "probabilities"}
    assert model.quantized["serving_default"]["images"].startswith("int8, scale 0.06")


def test_integers_that_are_no_numbers_in_disguise_stay(many: TFLite) -> None:
    assert many.signatures["same"].inputs["int8"].dtype == "int8"
    assert not many.quantized["same"]


# --------------------------------------------------------------------------------------- failures


def test_files_cut_short_are_told_and_nothing_dies(digits: dict[str, Path]) -> None:
    program = """if True:
        import sys
        from pathlib import Path
        from server.models.tflite import TFLite
        content = Path(sys.argv[1]).read_bytes()
        refused = 0
        for end in range(8, len(content), 97):
            try:
                TFLite(content[:end], 1)
            except ValueError as error:
                refused += 1
        print(refused == len(range(8, len(content), 97)), "tensorflow" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", program, digits["int8"]], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["True", "False"]


def test_a_file_cut_short_is_told_by_a_line(digits: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "half.tflite").write_bytes(digits["none"].read_bytes()[:40_000])
    assert "not a valid Flatbuffer" in line_of(tmp_path / "half.tflite")


def test_a_file_that_litert_dies_of_is_told(tmp_path: Path) -> None:
    (tmp_path / "endless.tflite").write_bytes(tflite_files.calling_itself())
    assert "corrupt: LiteRT dies of it (SIGSEGV)" in line_of(tmp_path / "endless.tflite")


def test_a_file_that_takes_for_ever_is_told(digits: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match=r"more than 0\.01 seconds"):
        try_in_a_child(digits["none"], 0.01)


@pytest.mark.parametrize(
    ("of_tensorflow", "op"), [(True, "FlexStringLower"), (False, "Erfinv")], ids=["flex", "custom"]
)
def test_an_op_that_is_not_there_is_named(tmp_path: Path, op: str, *, of_tensorflow: bool) -> None:
    content = tflite_files.with_missing_op(tmp_path, of_tensorflow=of_tensorflow)
    with pytest.raises(ValueError, match=f"an op that LiteRT does not have: {op}$"):
        model_of(content)


def test_a_graph_that_does_not_fit_together_is_told() -> None:
    with pytest.raises(ValueError, match=r"'serving_default' does not run: .* \(SVDF\) failed to"):
        model_of(tflite_files.running_total(fits=False))


def test_an_input_with_several_scales_is_told() -> None:
    with pytest.raises(ValueError, match="'x' is quantized with a scale for each channel"):
        model_of(tflite_files.quantized_by_channel())


def test_a_device_other_than_the_cpu_is_told(digits: dict[str, Path]) -> None:
    with pytest.raises(StartupError, match="there is no device 'gpu' here; there are CPU:0"):
        load(digits["none"], Runtime(device="gpu"))


def test_what_to_install_is_told(digits: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.delitem(sys.modules, "ai_edge_litert.interpreter")
    assert "pip install 'batcher[tflite]'" in line_of(digits["none"])


def test_notes_of_native_code_are_dropped_and_other_lines_are_not(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with notes_held_back(b"INFO: "):
        os.write(2, b"INFO: all is well\nERROR: not so well\n")
    os.write(2, b"INFO: later\n")
    assert capfd.readouterr().err == "ERROR: not so well\nINFO: later\n"


def test_notes_are_written_after_all_if_it_fails(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with notes_held_back(b"INFO: "):
            os.write(2, b"INFO: divides by zero\n")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert capfd.readouterr().err == "INFO: divides by zero\n"
