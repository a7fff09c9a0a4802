"""Requests kept beside a model to warm it up, as TensorFlow Serving takes them. Any thread.

    MODEL/assets.extra/tf_serving_warmup_requests

is a file of records (TFRecord), at most 1000, of which each is a `tensorflow.serving.PredictionLog`
with a request to Predict, Classify, Regress or MultiInference. Written after tensorflow/serving
(servables/tensorflow/saved_model_warmup.cc, g3doc/saved_model_warmup.md): the model that a request
names is not looked at, and neither is an answer that was logged with it. What TensorFlow Serving
skips and this refuses is a record that holds no request.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from server.errors import InvalidArgument, ServingError, StartupError
from server.inference import InferenceRequest, ServedModel
from server.model import Model
from server.protocols.tfserving_grpc import read_prediction
from server.protocols.tfserving_grpc_examples import (
    read_classification,
    read_regression,
    read_tasks,
)
from server.protocols.wire import message, parse
from server.warmup import Record

PLACE: Final = Path("assets.extra", "tf_serving_warmup_requests")
"""Where they are, below the folder of a model."""

MOST_RECORDS: Final = 1000

_PredictionLog: Final = message("tensorflow.serving.PredictionLog")


def read_records(folder: Path, model: Model) -> Iterator[Record]:
    """What a model in this folder is to be warmed up with; nothing if there is no such file.

    StartupError, naming the file and the record, for what is not as it has to be.
    """
    path = folder / PLACE
    if not path.is_file():
        return
    served = ServedModel(str(folder), 1, model.signatures, model.platform, max_batch_size=1)
    for number, serialized in enumerate(_serialized(path), start=1):
        place = f"warm-up record {number} of {path}"
        try:
            requests = _requests(serialized, served)
        except ServingError as error:
            msg = f"{place}: {error}"
            raise StartupError(msg) from error
        for request in requests:
            yield Record(request.signature.name, request.inputs, place)


def _serialized(path: Path) -> Iterator[bytes]:
    # TensorFlow reads them, which takes seconds to import: only if there are any.
    records: Iterator[bytes] = importlib.import_module("server.models.record_file").read(path)
    try:
        for number, record in enumerate(records, start=1):
            if number > MOST_RECORDS:
                msg = f"it has more than {MOST_RECORDS} records"
                raise ValueError(msg)  # noqa: TRY301 - told like what else is wrong with the file
            yield record
    except (OSError, ValueError) as error:
        msg = f"cannot warm up with {path}: {error}"
        raise StartupError(msg) from error


def _requests(serialized: bytes, model: ServedModel) -> list[InferenceRequest]:
    """The requests in a record. DecodeError, InvalidArgument, FailedPrecondition."""
    log = parse(_PredictionLog, serialized)
    kind = log.WhichOneof("log_type") or "no log"
    read = _READ.get(kind)
    if read is None:
        msg = f"it holds {kind}, expected {', '.join(_READ)}"
        raise InvalidArgument(msg)
    return read(getattr(log, kind).request, model)


_Read = Callable[[bytes, ServedModel], list[InferenceRequest]]

_READ: Final[Mapping[str, _Read]] = {
    "predict_log": lambda body, model: [read_prediction(body, model)],
    "classify_log": lambda body, model: [read_classification(body, model)],
    "regress_log": lambda body, model: [read_regression(body, model)],
    "multi_inference_log": read_tasks,
}
"""What reads the requests in a log, by its kind."""
