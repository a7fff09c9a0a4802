"""Finds a sample request that a model answers: nobody knows what it takes but itself. Model thread.

Shapes and dtypes leave open what strings are, and how large a dimension of any size should be.
"""

import base64
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import MappingProxyType

import numpy as np

from server.errors import InvalidArgument
from server.model import Model
from server.protocols.tfserving_examples import CLASSES, classifications, regressions
from server.protocols.tfserving_features import read_examples
from server.samples.values import (
    CLASSIFY,
    PREDICT,
    REGRESS,
    Filled,
    SampleRequest,
    filled,
    is_text,
    text_or_base64,
)
from server.signature import Signature, Tensors
from server.warmup.inputs import SIZES_FOR_UNKNOWN
from server.warmup.pictures import png


def feature_values(path: Path) -> Mapping[str, Filled]:
    """Values for the features that a SavedModel parses from Examples."""
    if not (path / "saved_model.pb").is_file():
        return {}
    from server.models.example_features import example_features  # noqa: PLC0415 - with TensorFlow

    try:
        features = example_features(path)
    except ValueError:
        # What is parsed is not written in the graph.
        return {}
    told: dict[str, Filled] = {}
    for name, spec in features.items():
        count = math.prod(size or 1 for size in spec.shape or ())
        tensor = filled(spec, 1, b"text")
        told[name] = replace(tensor, shape=() if count == 1 else (count,))
    return told


def tried(
    model: Model, signature: Signature, features: Mapping[str, Filled]
) -> tuple[SampleRequest, str]:
    """The first request that the model answers; else the first of all, and why it did not.

    NoForm if there are no values for an input.
    """
    first: tuple[SampleRequest, str] | None = None
    for request in candidates(signature, features):
        try:
            outputs = model.run(signature.name, request.tensors(1))
        except Exception as error:  # noqa: BLE001 - made-up input may be refused in any way
            first = first or (request, str(error).partition("\n")[0] or type(error).__name__)
            continue
        verb = _verb(signature, outputs) if request.features else PREDICT
        return replace(request, outputs=outputs, verb=verb), ""
    assert first is not None
    return first


def candidates(
    signature: Signature, features: Mapping[str, Filled] = MappingProxyType({})
) -> Iterator[SampleRequest]:
    """What the model may take, the most usual first. NoForm."""
    strings: list[tuple[bytes, Mapping[str, Filled]]] = [(b"text", {})]
    if any(spec.dtype == "string" for spec in signature.inputs.values()):
        if features and len(signature.inputs) == 1:
            strings.append((_serialized(features), features))
        picture = png(1, 128)
        strings += [(s, {}) for s in (b"1", b"", picture, base64.urlsafe_b64encode(picture))]
    is_free = any(None in (spec.shape or ())[1:] for spec in signature.inputs.values())
    sizes = SIZES_FOR_UNKNOWN if is_free else SIZES_FOR_UNKNOWN[:1]
    for (string, parsed), unknown in product(strings, sizes):
        inputs = {name: filled(spec, unknown, string) for name, spec in signature.inputs.items()}
        yield SampleRequest(signature, inputs, parsed)


def _serialized(features: Mapping[str, Filled]) -> bytes:
    """An Example of these features."""
    values = {
        name: [text_or_base64(tensor.value)] * math.prod(tensor.shape)
        for name, tensor in features.items()
    }
    (example,) = read_examples({"examples": [values]}).tolist()
    return bytes(example)


def _verb(signature: Signature, outputs: Tensors) -> str:
    """How to ask a signature that takes Examples, by what it has answered to one."""
    if not is_text(outputs.get(CLASSES, np.empty(0, object)).flat):
        return PREDICT
    for verb, tells in ((CLASSIFY, classifications), (REGRESS, regressions)):
        with suppress(InvalidArgument):
            tells(signature, outputs, 1)
            return verb
    return PREDICT
