"""What there is to tell of a model before it is served: loads, runs, measures it. Main thread.

Nothing is guessed that can be tried: whether rows may share a batch is what the warm-up finds, and
a sample request is one that the model has answered.
"""

import importlib
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from server.errors import StartupError
from server.folders import Seen, is_version, look
from server.model import Model
from server.models import detect, load
from server.runtime import Runtime
from server.samples.tried import feature_values, tried
from server.samples.values import NoForm, SampleRequest
from server.signature import Signature, names_text
from server.warmup import warm_up
from server.warmup.examples import example_pairs
from server.warmup.records import read_records

_MOST_RUNS: Final = 20
_LONGEST: Final = 0.2
"""Seconds after which no further run is measured."""


@dataclass(frozen=True, slots=True)
class Version:
    """A folder named by a version number, or the only model; `format` is "" if it holds none."""

    version: int
    format: str
    error: str


@dataclass(frozen=True, slots=True)
class Measured:
    """How long a batch of so many rows takes: the median of `runs`, in seconds."""

    rows: int
    seconds: float
    runs: int


@dataclass(frozen=True, slots=True)
class InspectedSignature:
    """A signature as the warm-up left it.

    `request` is one that it takes, None where there are no values to send. `refused` says why the
    model did not answer it, "" if it did. `measured` has a batch of one row and the largest, unless
    it failed.
    `quantized` tells of tensors by name how the model holds them, where its format says so.
    """

    signature: Signature
    request: SampleRequest | None
    refused: str
    measured: tuple[Measured, ...] = ()
    quantized: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What there is to tell.

    `file_bytes` is the size of its `files`. `memory_bytes` is by how much the resident set grew
    while it was loaded, None where the system does not tell.
    """

    path: Path
    version: int
    versions: tuple[Version, ...]
    format: str
    platform: str
    files: int
    file_bytes: int
    memory_bytes: int | None
    load_seconds: float
    signatures: tuple[InspectedSignature, ...]


def inspect(
    path: Path, max_batch_size: int, only: str = "", tell: Callable[[str], object] = lambda _: None
) -> Inspection:
    """Load the model that would be served from a path, and try its signatures, or `only` one.

    While it takes long to warm up, `tell` gets a line now and then. StartupError when there is no
    model, it does not load, or it has no such signature.
    """
    found = look(path)
    version = max(found)
    seen = found[version]
    versions = _versions(path, found)
    _start_framework(seen.path)
    before, began = _resident(), time.perf_counter()
    model = load(seen.path)
    seconds, after = time.perf_counter() - began, _resident()
    if only and only not in model.signatures:
        known = names_text(model.signatures)
        msg = f"the model in {seen.path} has no signature {only!r}; it has {known}"
        raise StartupError(msg)
    files = seen.mark or ()
    return Inspection(
        seen.path,
        version,
        versions,
        next(each.format for each in versions if each.version == version),
        model.platform,
        len(files),
        sum(size for _, size, _ in files),
        None if before is None or after is None else max(0, after - before),
        seconds,
        tuple(_inspected(model, seen.path, max_batch_size, only, tell)),
    )


# ---------------------------------------------------------------------------------------- the files


def _versions(path: Path, found: Mapping[int, Seen]) -> tuple[Version, ...]:
    """All that may be meant to be versions, newest first."""
    folders = {version: seen.path for version, seen in found.items()}
    if path.is_dir() and path.resolve() not in folders.values():
        named = [each for each in path.iterdir() if is_version(each.name)]
        folders = {int(each.name): each for each in named} | folders
    return tuple(_version(number, folders[number]) for number in sorted(folders, reverse=True))


def _version(number: int, path: Path) -> Version:
    try:
        found = detect(path)
    except (OSError, ValueError) as error:
        return Version(number, "", str(error))
    return Version(number, found.format.name, "") if found else Version(number, "", "no model")


def _start_framework(path: Path) -> None:
    """Start what loads the model, so that its time and memory are not taken for the model's.

    What is wrong with the model is for its load to tell.
    """
    with suppress(OSError, ValueError, ImportError):
        found = detect(path)
        if found is not None:
            importlib.import_module(found.format.module)
    tensorflow: Any = sys.modules.get("server.models.tensorflow_runtime")
    if tensorflow is not None:
        # Its import does not start it.
        with tensorflow.on(Runtime()):
            pass


def _resident() -> int | None:
    """Bytes of memory that this process has, None where there is no /proc to tell."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


# ----------------------------------------------------------------------------------- the signatures


def _inspected(
    model: Model, path: Path, max_batch_size: int, only: str, tell: Callable[[str], object]
) -> Iterator[InspectedSignature]:
    sizes = (1, max_batch_size) if max_batch_size > 1 else (1,)
    warm = warm_up(
        model,
        sizes,
        records=tuple(read_records(path, model)),
        examples=example_pairs(path, model),
        tell=tell,
    )
    signatures = warm.signatures
    features = feature_values(path)
    quantized: Mapping[str, Mapping[str, str]] = getattr(model, "quantized", {})
    for name in [only] if only else signatures:
        signature = signatures[name]
        try:
            request, refused = tried(model, signature, features)
        except NoForm as error:
            yield InspectedSignature(signature, None, str(error))
            continue
        measured: tuple[Measured, ...] = ()
        if not refused:
            rows = sizes if signature.batchable else (1,)
            measured = tuple(_measured(model, request, rows))
        held = quantized.get(name, {})
        yield InspectedSignature(signature, request, refused, measured, held)


def _measured(model: Model, request: SampleRequest, sizes: Iterable[int]) -> Iterator[Measured]:
    for rows in sizes:
        # What the warm-up ran may have had other shapes, of which fewer bytes were needed.
        with suppress(Exception):
            yield _timed(model, request, rows)


def _timed(model: Model, request: SampleRequest, rows: int) -> Measured:
    tensors = request.tensors(rows)
    name = request.signature.name
    # Other shapes than those of the warm-up may have to be compiled first.
    model.run(name, tensors)
    seconds: list[float] = []
    while len(seconds) < _MOST_RUNS and sum(seconds) < _LONGEST:
        began = time.perf_counter()
        model.run(name, tensors)
        seconds.append(time.perf_counter() - began)
    return Measured(rows, statistics.median(seconds), len(seconds))
