"""What `load` was asked for: plans, and what to send with each request. Main thread."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from server.load import Clients, Offered
from server.load.forms import FORMS, Form
from server.load.target import Target

AUTO: Final = "auto"
"""In place of rates: find the one that is too much."""

FIRST: Final = 100.0
"""Requests a second: the first rate that is tried then."""

_CLIENTS: Final = 64

_TYPES: Final = {".npy": "application/x-npy", ".npz": "application/x-npz"}
"""What a file is, by the end of its name; JSON otherwise."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """All options, checked.

    `clients` is the plan of a closed loop, or None; `rates` are those of an open loop, empty if
    they are to be found; `plan` is the first of those.
    """

    target: Target
    model: str
    form: Form
    signature: str
    rows: int
    body: Path | None
    headers: Mapping[str, str]
    clients: Clients | None
    rates: tuple[float, ...]
    plan: Offered
    timeout: float
    connections: int
    json_file: Path | None

    @property
    def content_type(self) -> str:
        """What the file of --body is."""
        suffix = self.body.suffix if self.body else ""
        return _TYPES.get(suffix, "application/json")


def read(given: Mapping[str, Any]) -> Wishes:
    """Read the options of the command by their names. ValueError."""
    told = [name for name in ("clients", "rate", "rates") if given[name] is not None]
    if len(told) > 1:
        msg = f"--{told[0]} and --{told[1]} exclude each other"
        raise ValueError(msg)
    if given["body"] and (given["rows"] != 1 or given["signature"]):
        option = "--rows" if given["rows"] != 1 else "--signature"
        msg = f"--body and {option} exclude each other: the file is sent as it is"
        raise ValueError(msg)
    if not given["model"].isprintable():
        msg = f"--model {given['model']!r} cannot be sent: it is no text"
        raise ValueError(msg)
    timeout, seconds, warmup = (given[name] for name in ("timeout", "seconds", "warmup"))
    if not (math.isfinite(timeout) and timeout > 0):
        msg = f"timeout is {timeout}: expected a finite number above 0"
        raise ValueError(msg)
    url = given["url"]
    rates = _rates(given)
    closed = not rates and given["rates"] is None
    return Wishes(
        target=Target.of(url if "://" in url else f"http://{url}"),
        model=given["model"],
        form=FORMS[given["protocol"]],
        signature=given["signature"],
        rows=given["rows"],
        body=given["body"],
        headers=_headers(given["header"], given["token"]),
        clients=Clients(given["clients"] or _CLIENTS, seconds, warmup) if closed else None,
        rates=rates,
        plan=_plans(rates or (FIRST,), given),
        timeout=timeout,
        connections=given["connections"],
        json_file=given["json_file"],
    )


def check_folder(json_file: Path | None) -> None:
    """Refuse before the load what could not be written after it. ValueError."""
    if json_file is not None and not json_file.absolute().parent.is_dir():
        msg = f"--json {json_file}: there is no folder {json_file.absolute().parent}"
        raise ValueError(msg)


def _rates(given: Mapping[str, Any]) -> tuple[float, ...]:
    if given["rate"] is not None:
        return (given["rate"],)
    if given["rates"] in (None, AUTO):
        return ()
    try:
        return tuple(float(rate) for rate in given["rates"].split(","))
    except ValueError:
        msg = f"--rates takes numbers with commas between, or {AUTO}, not {given['rates']!r}"
        raise ValueError(msg) from None


def _plans(rates: tuple[float, ...], given: Mapping[str, Any]) -> Offered:
    """The plan of the first rate; all are tried: one that cannot be is told now. ValueError."""
    plans = [
        Offered(rate, given["seconds"], given["warmup"], given["arrivals"], given["seed"])
        for rate in rates
    ]
    return plans[0]


def _headers(told: tuple[str, ...], token: str) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    for header in told:
        name, colon, value = header.partition(":")
        if not (name.strip() and colon):
            msg = f"--header takes NAME:VALUE, not {header!r}"
            raise ValueError(msg)
        headers[name.strip()] = value.strip()
    for text in (*headers, *headers.values()):
        if not (text.isascii() and text.isprintable()):
            msg = f"a header has what cannot be sent: {text!r}"
            raise ValueError(msg)
    return headers
