"""The forms in which one row goes to a server and its outputs come back. Pure."""

import array
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from bench.compare.rows import Row

JSON_TYPE: Final = {"Content-Type": "application/json"}
RAW_TYPE: Final = {"Content-Type": "application/octet-stream"}

JSON_LENGTH: Final = "Inference-Header-Content-Length"


class Sent(NamedTuple):
    """What a request consists of, beside its URL."""

    headers: Mapping[str, str]
    body: bytes


class Form(NamedTuple):
    """Where to post, how to write a row, and how to read the numbers of its answer."""

    path: str
    write: Callable[[Row], Sent]
    read: Callable[[bytes], list[float]]


def plain_json(path: str) -> Form:
    """`{"x": [...]}` and `{"y": [...]}`: what one writes who is free to choose."""
    return Form(path, lambda row: _json({"x": row.nested()}), lambda body: json.loads(body)["y"])


def rows_json(path: str) -> Form:
    """`{"x": [[...]]}` and `[[...]]`: rows in both directions."""
    return Form(path, lambda row: _json({"x": [row.nested()]}), lambda body: json.loads(body)[0])


def tensorflow_serving(path: str) -> Form:
    """TensorFlow Serving's `instances` and `predictions`."""

    def read(body: bytes) -> list[float]:
        numbers: list[float] = json.loads(body)["predictions"][0]
        return numbers

    return Form(path, lambda row: _json({"instances": [row.nested()]}), read)


def inference_json(path: str) -> Form:
    """The Open Inference Protocol, numbers as JSON."""

    def write(row: Row) -> Sent:
        return _json({"inputs": [{**_tensor(row), "data": row.numbers}]})

    def read(body: bytes) -> list[float]:
        numbers: list[float] = json.loads(body)["outputs"][0]["data"]
        return numbers

    return Form(path, write, read)


def inference_binary(path: str) -> Form:
    """The Open Inference Protocol, numbers as bytes after the JSON, in both directions."""

    def write(row: Row) -> Sent:
        numbers = _raw(row)
        told = {
            "inputs": [{**_tensor(row), "parameters": {"binary_data_size": len(numbers)}}],
            "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
        }
        head = _json(told).body
        return Sent({**RAW_TYPE, JSON_LENGTH: str(len(head))}, head + numbers)

    def read(body: bytes) -> list[float]:
        # One byte is one character of Latin-1, so the end of the JSON is where the numbers begin.
        _, end = json.JSONDecoder().raw_decode(body.decode("latin-1"))
        return _numbers(body[end:])

    return Form(path, write, read)


def raw(path: str) -> Form:
    """The numbers one after the other, float32 in little endian, and nothing else."""
    return Form(path, lambda row: Sent(RAW_TYPE, _raw(row)), _numbers)


PLAIN: Final[Mapping[str, Callable[[str], Form]]] = {"json": tensorflow_serving, "raw": raw}
"""The two that this server is measured in by itself, as `--form` names them."""


def _json(value: Any) -> Sent:
    return Sent(JSON_TYPE, json.dumps(value, separators=(",", ":")).encode())


def _tensor(row: Row) -> dict[str, Any]:
    return {"name": "x", "shape": [1, *row.shape], "datatype": "FP32"}


def _raw(row: Row) -> bytes:
    numbers = array.array("f", row.numbers)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _numbers(body: bytes) -> list[float]:
    numbers = array.array("f", body)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()
