"""From a model to TensorFlow Lite, and both on the same rows: what came of it. Main thread."""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from server.config import ConfigError
from server.conversion.comparison import Comparison, Labels, compare
from server.conversion.quantizations import INT8
from server.conversion.rows import Rows, check_names, made_up_rows, read_rows, require_all, rows_of
from server.errors import StartupError
from server.folders import look
from server.model import Model
from server.models import load
from server.models.notes import silence
from server.models.tflite import of_content
from server.models.tflite_interpreters import interpreter_class
from server.runtime import Runtime
from server.signature import Tensors


@dataclass(frozen=True, slots=True)
class Wish:
    """What to convert, how, and what to compare on.

    `representative` and `rows` are files as the command line names them: FILE or INPUT=FILE.
    """

    source: Path
    quantization: str
    representative: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    labels: Path | None = None
    sizes: tuple[int, ...] = (1, 8, 64)


@dataclass(frozen=True, slots=True)
class Converted:
    """A .tflite file and how it compares; `original_bytes` is the size of all files of the source.

    `not_compared` are signatures for which there were no rows and none could be made up.
    """

    source: Path
    quantization: str
    content: bytes
    original_bytes: int
    comparisons: tuple[Comparison, ...]
    not_compared: tuple[str, ...]


def run(wish: Wish) -> Converted:
    """Convert and compare. ConfigError, StartupError."""
    _require_litert()
    representative = read_rows(wish.representative, "--representative")
    given = read_rows(wish.rows, "--rows") or representative
    labels = None if wish.labels is None else _labels(wish.labels)
    versions = look(wish.source)
    seen = versions[max(versions)]
    # What is wrong with all of that is told before TensorFlow is loaded, which takes its time.
    from server.models.to_tflite import convert  # noqa: PLC0415 - see above

    with silence():
        original = load(seen.path)
    check_names("--representative", representative, original.signatures)
    check_names("--rows", given, original.signatures)
    learned = require_all(original.signatures, representative) if wish.quantization == INT8 else {}
    content = convert(seen.path, wish.quantization, functools.partial(_requests, learned))
    with silence():
        converted = of_content(content, Runtime())
        rows = dict(_rows(original, given))
        _check_labels(labels, rows)
        comparisons = [
            compare(original, converted, each, wish.sizes, None if each.made_up else labels)
            for each in rows.values()
        ]
    return Converted(
        seen.path,
        wish.quantization,
        content,
        sum(size for _, size, _ in seen.mark or ()),
        tuple(comparisons),
        tuple(name for name in original.signatures if name not in rows),
    )


def _require_litert() -> None:
    """StartupError, before anything is converted, if nobody could run it."""
    try:
        interpreter_class()
    except ModuleNotFoundError as error:
        raise StartupError(str(error)) from error


def _labels(path: Path) -> Labels:
    (array,) = read_rows((str(path),), "--labels").values()
    if array.ndim != 1 or array.dtype.kind not in "iu":
        msg = f"{path}: expected a whole number for each row, got {array.dtype}{array.shape}"
        raise ConfigError(msg)
    return array


def _check_labels(labels: Labels | None, rows: Mapping[str, Rows]) -> None:
    """ConfigError if labels are there, and not one for each row."""
    if labels is None:
        return
    given = [each for each in rows.values() if not each.made_up]
    if not given:
        msg = "--labels needs the rows that they are for: --rows or --representative"
        raise ConfigError(msg)
    for each in given:
        if len(each) != len(labels):
            msg = f"--labels has {len(labels)} labels for {len(each)} rows"
            raise ConfigError(msg)


def _rows(original: Model, given: Tensors) -> Iterator[tuple[str, Rows]]:
    """What to compare each signature on, by its name. ConfigError."""
    for name, signature in original.signatures.items():
        rows = rows_of(signature, given) or made_up_rows(original, signature)
        if rows is not None:
            yield name, rows


def _requests(learned: Mapping[str, Rows]) -> Iterator[tuple[str, Tensors]]:
    for name, rows in learned.items():
        for place in range(len(rows)):
            yield name, rows.one(place)
