"""Files of requests beside a model, written as TensorFlow Serving's guide writes them."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    input_pb2,
    predict_pb2,
    prediction_log_pb2,
    regression_pb2,
    session_service_pb2,
)

from batcher import ThreadExecutor
from batcher.lengths import VariableLength
from server.errors import ServingError, StartupError
from server.inference import ServedModel
from server.loading import Loaded, Loader, Order
from server.model import Model
from server.models import load
from server.models.tensorflow_runtime import tf
from server.warmup import Record
from server.warmup.records import MOST_RECORDS, PLACE, _requests, read_records
from tests.server import saved_models

PredictionLog = prediction_log_pb2.PredictionLog


def predict(signature: str = "", **inputs: Any) -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "any"
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))


def examples(*values: float) -> input_pb2.Input:
    told = input_pb2.Input()
    for value in values:
        feature = told.example_list.examples.add().features.feature["x"]
        feature.float_list.value.append(value)
    return told


def serialized(*values: float) -> list[bytes]:
    return [
        example.SerializeToString(deterministic=True)
        for example in examples(*values).example_list.examples
    ]


def classify(signature: str, told: input_pb2.Input) -> Any:
    request = classification_pb2.ClassificationRequest(input=told)
    request.model_spec.signature_name = signature
    return PredictionLog(classify_log=prediction_log_pb2.ClassifyLog(request=request))


def regress(signature: str, told: input_pb2.Input) -> Any:
    request = regression_pb2.RegressionRequest(input=told)
    request.model_spec.signature_name = signature
    return PredictionLog(regress_log=prediction_log_pb2.RegressLog(request=request))


def several(told: input_pb2.Input, **methods: str) -> Any:
    request = inference_pb2.MultiInferenceRequest(input=told)
    for signature, method in methods.items():
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.signature_name = signature
    return PredictionLog(multi_inference_log=prediction_log_pb2.MultiInferenceLog(request=request))


def session_run() -> Any:
    request = session_service_pb2.SessionRunRequest(fetch=["y:0"])
    return PredictionLog(session_run_log=prediction_log_pb2.SessionRunLog(request=request))


def write(folder: Path, logs: Sequence[Any]) -> Path:
    """A file of records where a model's are; returns its path."""
    path = folder / PLACE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log if isinstance(log, bytes) else log.SerializeToString())
    return path


@pytest.fixture(scope="module")
def halves(models: dict[str, Path]) -> Model:
    return load(models["half_plus_two"] / "123")


@pytest.fixture(scope="module")
def of_examples(models: dict[str, Path]) -> Model:
    return load(models["examples"] / "1")


def told(records: Sequence[Record]) -> list[tuple[str, dict[str, Any]]]:
    return [(name, {k: v.tolist() for k, v in inputs.items()}) for name, inputs, _ in records]


# ------------------------------------------------------------------------------------- reading


def test_a_model_without_a_file_has_no_records(tmp_path: Path, halves: Model) -> None:
    assert list(read_records(tmp_path, halves)) == []
    assert list(read_records(tmp_path / "none", halves)) == []


def test_an_empty_file_has_no_records(tmp_path: Path, halves: Model) -> None:
    write(tmp_path, [])
    assert list(read_records(tmp_path, halves)) == []


def test_requests_to_predict_are_read_for_their_signatures(tmp_path: Path, halves: Model) -> None:
    path = write(tmp_path, [predict(x=[[1.0], [2.0]]), predict("serving_default", x=[[3.0]])])
    records = list(read_records(tmp_path, halves))
    assert told(records) == [
        ("serving_default", {"x": [[1.0], [2.0]]}),
        ("serving_default", {"x": [[3.0]]}),
    ]
    assert [record.place for record in records] == [
        f"warm-up record 1 of {path}",
        f"warm-up record 2 of {path}",
    ]


def test_what_a_request_leaves_out_has_its_default(tmp_path: Path, models: dict[str, Path]) -> None:
    write(tmp_path, [predict(x=[[1.0]])])
    records = list(read_records(tmp_path, load(models["left_out"] / "1")))
    assert told(records) == [("serving_default", {"x": [[1.0]], "z": [[10.0]]})]


@pytest.mark.parametrize(
    ("log", "signatures"),
    [
        pytest.param(classify("classify", examples(1, 2)), ["classify"], id="classify"),
        pytest.param(regress("regress", examples(1, 2)), ["regress"], id="regress"),
        pytest.param(
            several(examples(1, 2), classify="classify", regress="regress"),
            ["classify", "regress"],
            id="multi-inference",
        ),
    ],
)
def test_requests_of_examples_are_read(
    tmp_path: Path, of_examples: Model, log: Any, signatures: list[str]
) -> None:
    write(tmp_path, [log])
    records = list(read_records(tmp_path, of_examples))
    assert told(records) == [(name, {"inputs": serialized(1, 2)}) for name in signatures]


def test_as_many_records_as_tensorflow_serving_takes_are_read(
    tmp_path: Path, halves: Model
) -> None:
    write(tmp_path, [predict(x=[[1.0]])] * MOST_RECORDS)
    assert len(list(read_records(tmp_path, halves))) == 1000


# -------------------------------------------------------------------------------- broken files


def error_of(folder: Path, model: Model) -> str:
    with pytest.raises(StartupError) as raised:
        list(read_records(folder, model))
    return str(raised.value)


def test_more_records_are_refused(tmp_path: Path, halves: Model) -> None:
    path = write(tmp_path, [predict(x=[[1.0]])] * (MOST_RECORDS + 1))
    assert (
        error_of(tmp_path, halves) == f"cannot warm up with {path}: it has more than 1000 records"
    )


@pytest.mark.parametrize(
    ("log", "message"),
    [
        pytest.param(
            predict("nothing", x=[[1.0]]),
            "model '{}' has no signature 'nothing'; it has 'serving_default'",
            id="signature",
        ),
        pytest.param(
            predict(z=[[1.0]]),
            "signature 'serving_default' has no input 'z'; it has 'x'",
            id="input",
        ),
        pytest.param(predict(x=[[1]]), "input 'x' is float32[-1,1], got int32", id="dtype"),
        pytest.param(
            classify("serving_default", examples(1)),
            "signature 'serving_default' takes no examples: its only input must be 'inputs',"
            " it has 'x'",
            id="no-examples",
        ),
        pytest.param(
            session_run(),
            "it holds session_run_log, expected predict_log, classify_log, regress_log,"
            " multi_inference_log",
            id="session-run",
        ),
        pytest.param(
            PredictionLog(),
            "it holds no log, expected predict_log, classify_log, regress_log, multi_inference_log",
            id="no-log",
        ),
        pytest.param(
            b"no message",
            "the 10 bytes of the body are not a tensorflow.serving.PredictionLog",
            id="no-message",
        ),
    ],
)
def test_a_record_that_is_no_request_is_named(
    tmp_path: Path, halves: Model, log: Any, message: str
) -> None:
    path = write(tmp_path, [predict(x=[[1.0]]), log])
    expected = message.format(tmp_path)
    assert error_of(tmp_path, halves) == f"warm-up record 2 of {path}: {expected}"


def whole(tmp_path: Path) -> bytes:
    return write(tmp_path, [predict(x=[[1.0]])] * 2).read_bytes()


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda _: b"not a file of records at all", id="text"),
        pytest.param(lambda whole: whole[:-1], id="without-the-last-byte"),
        pytest.param(lambda whole: whole[:-3], id="without-a-sum"),
        pytest.param(lambda whole: whole[: len(whole) // 2 + 5], id="half-a-length"),
        pytest.param(lambda whole: whole + b"\0", id="one-byte-more"),
        pytest.param(lambda whole: flipped(whole, 0), id="length"),
        pytest.param(lambda whole: flipped(whole, 20), id="content"),
        pytest.param(lambda whole: flipped(whole, len(whole) - 1), id="sum"),
    ],
)
def test_a_file_that_is_broken_is_named(
    tmp_path: Path, halves: Model, spoil: Callable[[bytes], bytes]
) -> None:
    content = whole(tmp_path)
    path = tmp_path / PLACE
    path.write_bytes(spoil(content))
    told = "it is no whole file of records (TFRecord)"
    assert error_of(tmp_path, halves) == f"cannot warm up with {path}: {told}"


@given(content=st.binary(max_size=200))
def test_any_record_is_read_or_refused(content: bytes, of_examples: Model) -> None:
    served = ServedModel("m", 1, of_examples.signatures, of_examples.platform, 1)
    with contextlib.suppress(ServingError):
        for request in _requests(content, served):
            assert request.signature.name in of_examples.signatures


# ------------------------------------------------------------------------------------- loading


def loaded(folder: Path, lengths: VariableLength | None = None) -> Loaded:
    executor = ThreadExecutor(name="model")
    return asyncio.run(Loader().load(Order(folder, (1, 2, 4), lengths=lengths), executor))


def picky(base: Path) -> Path:
    """A signature that takes words of a small vocabulary, and one of numbers that are not small."""

    def known(words: Any) -> dict[str, Any]:
        in_it = tf.reduce_any(words[:, None] == tf.constant([["red", "green", "blue"]]), axis=1)
        with tf.control_dependencies([tf.debugging.assert_equal(in_it, True)]):
            return {"length": tf.strings.length(words)}

    def large(x: Any) -> dict[str, Any]:
        with tf.control_dependencies([tf.debugging.assert_greater(x, 100.0)]):
            return {"y": x * 2.0}

    functions: dict[str, saved_models.Function] = {
        "known": (known, {"words": ("string", [None])}),
        "large": (large, {"x": ("float32", [None, 2])}),
    }
    return saved_models.save(base, 1, functions) / "1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return picky(tmp_path)


def test_without_records_what_refuses_the_made_up_input_runs_alone(folder: Path) -> None:
    warm = loaded(folder).warm
    assert not any(signature.batchable for signature in warm.signatures.values())
    assert any(str(PLACE) in note for note in warm.notes)


def test_with_records_it_shares_batches(folder: Path) -> None:
    write(
        folder,
        [
            predict("known", words=[b"red", b"green"]),
            predict("large", x=[[200.0, 300.0]]),
            predict("large", x=[[400.0, 500.0]]),
        ],
    )
    warm = loaded(folder).warm
    assert warm.notes == ()
    assert all(signature.batchable for signature in warm.signatures.values())


def test_a_record_that_the_model_refuses_fails_the_load(folder: Path) -> None:
    path = write(folder, [predict("large", x=[[200.0, 300.0]]), predict("large", x=[[1.0, 2.0]])])
    with pytest.raises(StartupError) as raised:
        loaded(folder)
    assert str(raised.value).startswith(
        f"warm-up record 2 of {path}: signature 'large' refused it: InvalidArgumentError in node"
    )


def test_lengths_of_the_configuration_are_warmed_up(tmp_path: Path) -> None:
    signature = (lambda x: {"y": tf.identity(x)}, {"x": ("float32", [None, None])})
    folder = saved_models.save(tmp_path, 1, {"serving_default": signature}) / "1"
    write(folder, [predict(x=np.ones((1, 3), np.float32))])
    plain = loaded(folder)
    padded = loaded(folder, VariableLength({"x": (1, 0)}, boundaries=(4, 8, 16)))
    assert plain.warm.notes == padded.warm.notes == ()
    # Three sizes for each of the two other boundaries.
    assert padded.warm.runs - plain.warm.runs == 6
