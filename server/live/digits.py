"""Scans of digits for models that read them, as the bundled one does: many at once. Event loop.

A burst is what clients do who ask in the same moment, each for one row. Its requests go the way of
all others, from the endpoint through the queue into batches; only the sockets are left out. A
browser opens six connections to a server: its page cannot do by itself what it shows.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
import orjson

from batcher import Receipt
from server.errors import NotFound, ServingError, Unavailable
from server.inference import InferenceRequest, InferenceResponse, ModelAddress, ServedModel
from server.live.snapshot import bar
from server.signature import Array, Signature

REQUESTS: Final = 500
"""Requests in a burst."""

BRIGHTEST: Final = 16
"""Grey values of scans go from 0 to this."""

_DRAWING: Final = (8, 8)
_DIGITS: Final = 10


class Inference(Protocol):
    """What a burst needs of the server."""

    def find(self, address: ModelAddress) -> ServedModel:
        """Who serves an address. ServingError."""

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Run one request. ServingError."""


def reads_digits(served: ServedModel) -> Signature | None:
    """The signature that takes drawings [n, 8, 8] and gives ten numbers for each, if there is one.

    A model is known by what it takes, not by its name: whoever serves one of the kind may draw.
    """
    signature = served.signatures.get("serving_default")
    if signature is None or not signature.batchable:
        return None
    if len(signature.inputs) != 1 or len(signature.outputs) != 1:
        return None
    (taken,), (given,) = signature.inputs.values(), signature.outputs.values()
    fits = taken.shape == (None, *_DRAWING) and given.shape == (None, _DIGITS)
    return signature if fits and taken.dtype.startswith("float") else None


class Bursts:
    """Lets many requests come at once, of scans that `file` holds; one burst at a time."""

    def __init__(self, inference: Inference, file: bytes) -> None:
        self._inference = inference
        self._scans, self._labels = read_scans(file)
        self._busy = False

    async def burst(self, name: str, version: int) -> dict[str, Any]:
        """Run a burst on a model: what came of it. NotFound, Unavailable."""
        served = self._inference.find(ModelAddress(name, version))
        signature = reads_digits(served)
        if signature is None:
            msg = f"model {name!r} version {version} does not read digits of 8x8 grey values"
            raise NotFound(msg)
        if self._busy:
            msg = "another burst is on its way"
            raise Unavailable(msg)
        self._busy = True
        try:
            return await self._run(served, signature)
        finally:
            self._busy = False

    async def _run(self, served: ServedModel, signature: Signature) -> dict[str, Any]:
        (spec,) = signature.inputs.values()
        scans = self._scans.astype(spec.numpy_dtype)
        chosen = [i % len(scans) for i in range(REQUESTS)]
        began = time.monotonic()
        requests = [
            InferenceRequest(served, signature, {spec.name: scans[i : i + 1]}) for i in chosen
        ]
        ended = await asyncio.gather(*map(self._inference.infer, requests), return_exceptions=True)
        seconds = time.monotonic() - began
        answers = {k: end for k, end in enumerate(ended) if isinstance(end, InferenceResponse)}
        right = sum(_digit(told) == self._labels[chosen[k]] for k, told in answers.items())
        return {
            "requests": REQUESTS,
            "answered": len(answers),
            "right": right,
            "errors": _errors(ended),
            "began": began,
            "seconds": seconds,
            "batches": bars([receipt for told in answers.values() for receipt in told.receipts]),
        }


def read_scans(file: bytes) -> tuple[Array, Sequence[int]]:
    """Scans [n, 8, 8] and the digits they show, of JSON: each value is a digit to the base 17."""
    told: Mapping[str, Any] = orjson.loads(file)
    values = [[int(value, BRIGHTEST + 1) for value in scan] for scan in told["scans"]]
    return np.array(values).reshape(-1, *_DRAWING), told["labels"]


def bars(receipts: Sequence[Receipt]) -> list[list[Any]]:
    """The batches that receipts are of, as they ran."""
    batches = {receipt.taken: receipt for receipt in receipts}
    return [bar(batches[taken]) for taken in sorted(batches)]


def _digit(response: InferenceResponse) -> int:
    (output,) = response.outputs.values()
    return int(output.argmax())


def _errors(ended: Sequence[InferenceResponse | BaseException]) -> dict[str, int]:
    """How many requests ended in an error, by its code. Raises what no client may cause."""
    errors: Counter[str] = Counter()
    for end in ended:
        if isinstance(end, ServingError):
            errors[end.code.name] += 1
        elif isinstance(end, BaseException):
            raise end
    return dict(errors)
