"""What is typed after `batcher-server client URL MODEL`: files and values to tensors. Main thread.

    -                    standard input, as a file
    '[[1, 2.5]]'         JSON: whatever begins like it, and numbers
    rows.npy, rows.npz   arrays; the members of an .npz are inputs by name
    rows.json            an array; an object of arrays by name; or a whole body, sent as it is
    seven.png            a picture: every other file, if Pillow can read it

What a file is shows in its content. Values get the dtype of their input, if they fit; a single row
may lack the dimension of rows.
"""

import io
import re
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from server.cli.client_pictures import Levels, pixels
from server.client.tensors import from_file, from_lists
from server.config import ConfigError
from server.errors import DecodeError
from server.protocols import strict_json
from server.signature import Array, Signature, Tensors, TensorSpec, names_text

STDIN: Final = "-"

_VALUE: Final = re.compile(r"\s*(?:[\[{\"]|-?[0-9.]+(?:[eE][-+]?[0-9]+)?\s*\Z|(?:true|false)\s*\Z)")
_JSON: Final = re.compile(rb"\s*(?:[\[{\"0-9-]|true|false|NaN)")
_NPY, _ZIP = b"\x93NUMPY", b"PK"


class Body(NamedTuple):
    """A request as somebody else has written it; `oip` tells the protocol that it is of."""

    content: bytes
    oip: bool
    signature: str


class Value(NamedTuple):
    """An array, or nested lists."""

    value: Any


class Named(NamedTuple):
    """Inputs by name."""

    inputs: "Mapping[str, Typed]"


class Picture(NamedTuple):
    """The content of a file that may be a picture."""

    content: bytes
    path: str


Typed = Body | Value | Named | Picture


def read(word: str) -> Typed:
    """What a word stands for. ConfigError."""
    if word == STDIN:
        return _of_content(sys.stdin.buffer.read(), "standard input")
    if _VALUE.match(word):
        return _of_json(word.encode(errors="surrogateescape"), repr(word))
    try:
        content = Path(word).read_bytes()
    except OSError as error:
        msg = (
            f"cannot read {word}: {error.strerror}; a value is written as JSON, such as '[[1, 2]]'"
        )
        raise ConfigError(msg) from None
    return _of_content(content, word)


def read_named(words: Sequence[str]) -> Named:
    """What `NAME=INPUT` words stand for together. ConfigError."""
    named: dict[str, Typed] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            msg = f"--input takes NAME=FILE or NAME=VALUE, not {word!r}"
            raise ConfigError(msg)
        named[name] = read(value)
    return Named(named)


def tensors(typed: Typed, signature: Signature, levels: Levels) -> Tensors:
    """The inputs that a word stands for. ConfigError, InvalidRequest."""
    if isinstance(typed, Named):
        return _by_name(typed.inputs, signature, levels)
    if len(signature.inputs) != 1:
        msg = (
            f"signature {signature.name!r} takes {names_text(signature.inputs)}:"
            " give each with --input NAME=FILE"
        )
        raise ConfigError(msg)
    return _by_name(dict.fromkeys(signature.inputs, typed), signature, levels)


def _by_name(named: Mapping[str, Typed], signature: Signature, levels: Levels) -> Tensors:
    for name in named:
        if name not in signature.inputs:
            takes = names_text(signature.inputs)
            msg = f"signature {signature.name!r} has no input {name!r}, it takes {takes}"
            raise ConfigError(msg)
    return {name: _tensor(typed, signature.inputs[name], levels) for name, typed in named.items()}


def _tensor(typed: Typed, spec: TensorSpec, levels: Levels) -> Array:
    if isinstance(typed, Picture):
        return pixels(typed.content, typed.path, spec, levels)
    if not isinstance(typed, Value):
        msg = f"input {spec.name!r} takes one array, not a whole request"
        raise ConfigError(msg)
    return _row_or_rows(from_lists(typed.value, spec), spec)


def _row_or_rows(array: Array, spec: TensorSpec) -> Array:
    """The array with the dimension of rows, if it looks like one row without it."""
    shape = spec.shape
    if shape is None or not spec.has_batch_dimension or array.ndim == len(shape):
        return array
    if array.ndim == 0 and all(size in (None, 1) for size in shape):
        return array.reshape([1] * len(shape))
    row = shape[1:]
    fits = len(row) == array.ndim and all(
        size in (None, came) for size, came in zip(row, array.shape, strict=True)
    )
    return array[np.newaxis] if fits else array


# ------------------------------------------------------------------------------------- reading


def _of_content(content: bytes, path: str) -> Typed:
    if content.startswith((_NPY, _ZIP)):
        return _of_numpy(content, path)
    if _JSON.match(content):
        return _of_json(content, path)
    return Picture(content, path)


def _of_numpy(content: bytes, path: str) -> Typed:
    try:
        loaded = np.load(io.BytesIO(content), allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return Value(from_file(loaded))
        with loaded:
            return Named({name: Value(from_file(loaded[name])) for name in loaded.files})
    except (ValueError, EOFError, OSError, AttributeError, zipfile.BadZipFile) as error:
        msg = f"{path} is no file of arrays: {error}"
        raise ConfigError(msg) from None


def _of_json(content: bytes, path: str) -> Typed:
    try:
        told = strict_json.loads(content)
    except DecodeError as error:
        msg = f"{path}: {error}"
        raise ConfigError(msg) from None
    if not isinstance(told, dict):
        return Value(told)
    inputs = told.get("inputs")
    if (
        isinstance(inputs, list)
        and inputs
        and isinstance(inputs[0], dict)
        and "datatype" in inputs[0]
    ):
        parameters = told.get("parameters")
        named = parameters.get("signature_name", "") if isinstance(parameters, dict) else ""
        return Body(content, oip=True, signature=str(named))
    if "instances" in told or "inputs" in told:
        return Body(content, oip=False, signature=str(told.get("signature_name", "")))
    return Named({name: Value(value) for name, value in told.items()})
