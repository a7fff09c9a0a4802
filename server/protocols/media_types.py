"""Media types of tensors without JSON, and which of them a client sends and accepts. Pure."""

import functools
import re
from typing import Final

from server.exchange import JSON

RAW: Final = "application/octet-stream"
NPY: Final = "application/x-npy"
NPZ: Final = "application/x-npz"
ZIP: Final = "application/zip"
BINARY: Final = (RAW, NPY, NPZ, ZIP)

_WEIGHT: Final = re.compile(r";\s*q=([01](?:\.[0-9]{0,3})?)\s*(?:;|$)", re.IGNORECASE)


# Clients send the same few values for ever.
@functools.lru_cache(maxsize=256)
def negotiate(content_type: str, accept: str) -> tuple[str, str]:
    """What a body is, and what its answer is wanted in: media types of ours; "" if any will do.

    A higher q goes before a lower one, and what is named first before what comes later.
    """
    sent = _essence(content_type)
    ranked = sorted(accept.split(","), key=_quality, reverse=True)
    wanted = next((media for text in ranked if (media := _known(text)) is not None), "")
    return (sent if sent in BINARY else JSON), wanted


def _essence(text: str) -> str:
    """A media type without its parameters."""
    return text.partition(";")[0].strip().lower()


def _known(text: str) -> str | None:
    """A media range of `Accept`: one of ours, "" if any will do, None if it names no form here."""
    media = _essence(text)
    if media in ("*/*", "application/*") and _quality(text) > 0:
        return ""
    return media if media in (*BINARY, JSON) and _quality(text) > 0 else None


def _quality(text: str) -> float:
    """The weight of a media range (RFC 9110, 12.4.2); 1 if it has none that can be read."""
    match = _WEIGHT.search(text)
    return float(match[1]) if match else 1.0
