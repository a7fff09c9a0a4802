"""What a call went through, as the server and the client tell it. Pure."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_METRIC: Final = re.compile(
    r"\s*([^\s;,]+)((?:\s*;\s*[a-z]+\s*=\s*(?:\"[^\"]*\"|[^\s;,\"]*))*)\s*(?:,|$)"
)
_PARAMETER: Final = re.compile(r";\s*([a-z]+)\s*=\s*(?:\"([^\"]*)\"|([^\s;,\"]*))")


@dataclass(frozen=True, slots=True)
class Receipt:
    """Seconds; None for what the server does not tell.

    `queued` is how long the request waited for its batch, `run` how long that ran, `batch` how many
    rows it had, those of others included. `attempts` is how often the request was sent, `total` is
    from the call to its answer, all attempts and waits between them included.
    """

    total: float
    attempts: int
    queued: float | None = None
    run: float | None = None
    batch: int | None = None


def receipt(headers: Mapping[str, str], total: float, attempts: int) -> Receipt:
    """What the `Server-Timing` of an answer says; what cannot be read says nothing."""
    told: dict[str, dict[str, str]] = {}
    for metric in _METRIC.finditer(headers.get("Server-Timing", "")):
        parameters = _PARAMETER.finditer(metric[2])
        told[metric[1]] = {found[1]: found[2] or found[3] or "" for found in parameters}
    batch = told.get("batch", {}).get("desc", "")
    return Receipt(
        total,
        attempts,
        _seconds(told.get("queue", {}).get("dur", "")),
        _seconds(told.get("run", {}).get("dur", "")),
        int(batch) if batch.isascii() and batch.isdigit() and len(batch) < 10 else None,  # noqa: PLR2004 - far more than a batch has
    )


def _seconds(milliseconds: str) -> float | None:
    try:
        number = float(milliseconds)
    except ValueError:
        return None
    return number / 1000 if 0 <= number < math.inf else None
