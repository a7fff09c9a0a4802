"""Serialized Examples made up for a model, with the features that it asks for. Any thread.

Most models that classify or regress refuse an Example without their features.
"""

import importlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from server.model import Model
from server.protocols.wire import message
from server.signature import TensorSpec
from server.warmup.inputs import WORDS, Pair
from server.warmup.pictures import png

_TEXTS: Final[tuple[Pair, ...]] = (WORDS, (b"0", b"1"), (png(32, 72), png(32, 184)))
"""What features of strings may be."""

_Example: Final = message("tensorflow.Example")


def example_pairs(folder: Path, model: Model) -> tuple[Pair, ...]:
    """Pairs of Examples for a SavedModel in this folder; none if it parses none."""
    strings = [
        spec.dtype == "string" for s in model.signatures.values() for spec in s.inputs.values()
    ]
    if not any(strings) or not (folder / "saved_model.pb").is_file():
        return ()
    # Brings TensorFlow, which a SavedModel that is loaded has brought already.
    read = importlib.import_module("server.models.example_features").example_features
    try:
        return tuple(pairs(read(folder)))
    except ValueError:
        # What is parsed is not written in the graph.
        return ()


def pairs(features: Mapping[str, TensorSpec]) -> Iterator[Pair]:
    """Pairs of Examples with values for all of these features; none if there are none."""
    if not features:
        return
    has_text = any(spec.dtype == "string" for spec in features.values())
    for texts in _TEXTS if has_text else _TEXTS[:1]:
        yield _example(features, 0, texts), _example(features, 1, texts)


def _example(features: Mapping[str, TensorSpec], row: int, texts: Pair) -> bytes:
    example = _Example()
    for place, (name, spec) in enumerate(features.items()):
        count = math.prod(size or 1 for size in spec.shape or ())
        feature = example.features.feature[name]
        if spec.dtype == "string":
            feature.bytes_list.value.extend([texts[row]] * count)
        elif spec.dtype == "int64":
            feature.int64_list.value.extend([row] * count)
        else:
            numbers: Any = np.random.default_rng([place, row]).random(count)
            feature.float_list.value.extend(numbers.tolist())
    # Sorted: the same Example every time.
    serialized: bytes = example.SerializeToString(deterministic=True)
    return serialized
