"""The signature of a model, as its server's metadata tells it. Pure."""

import orjson

from server.protocols import told_signatures
from server.protocols.told_signatures import UNREADABLE
from server.signature import DEFAULT_SIGNATURE, Signature


class NotTold(Exception):
    """The metadata does not tell it; the message says what is missing."""


def read_tfserving(body: bytes, name: str) -> Signature:
    """One of TensorFlow Serving's SignatureDefs; without a name the default one. NotTold."""
    try:
        signatures = told_signatures.from_tfserving(orjson.loads(body))
        chosen = name or (DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in signatures else min(signatures))
    except UNREADABLE:
        raise NotTold(_no_metadata("TensorFlow Serving", body)) from None
    if chosen not in signatures:
        msg = f"the model has no signature {chosen!r}, only {', '.join(sorted(signatures))}"
        raise NotTold(msg)
    return signatures[chosen]


def read_oip(body: bytes, name: str) -> Signature:
    """The one signature that the Open Inference Protocol tells of. NotTold."""
    if name:
        msg = "the Open Inference Protocol tells no signatures: give --body for another one"
        raise NotTold(msg)
    try:
        return told_signatures.from_oip(orjson.loads(body))
    except UNREADABLE:
        raise NotTold(_no_metadata("the Open Inference Protocol", body)) from None


def _no_metadata(whose: str, body: bytes) -> str:
    return f"no metadata as {whose} has it: {body[:60]!r}"
