"""What `client` shows a reader: models, signatures, answers and their times. Main thread.

In a terminal tables in colours; for a file or a pipe a line for each row of each output, parted by
tabs, numbers in full.
"""

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import click
import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from server.cli.client_json import Answer, dtype, text
from server.cli.console import plain_console
from server.client import ModelMetadata, ModelState, Receipt
from server.signature import Array, shape_text

_FEW_ROWS: Final = 8
_FEW_VALUES: Final = 12
"""What of an array is shown in a terminal."""

_LEAST_CLASSES: Final = 3
"""Numbers from which on a row that adds up to 1 is taken for probabilities."""

_NAME: Final = 36
"""Columns that the name of an input may take."""

_SPREAD: Final = "least / median / most"

_LIKELY: Final = 0.0005
"""Probabilities that are shown as more than nothing."""


def show_models(states: Sequence[ModelState]) -> None:
    """The versions of models."""
    rows = [(s.name, s.version, s.state, s.reason) for s in states]
    if not _terminal():
        _tabs(("model", "version", "state", "reason"), *rows)
        return
    table = _table("model", "version", "state", "")
    for state, row in zip(states, rows, strict=True):
        colour = "green" if state.ready else "yellow"
        table.add_row(Text(row[0], "cyan"), row[1], Text(row[2], colour), row[3])
    _print(table)


def show_metadata(about: ModelMetadata, states: Sequence[ModelState]) -> None:
    """The signatures of a model, and which of its versions answer."""
    rows = [
        (signature.name, kind, name, spec.dtype, shape_text(spec.shape).strip())
        for signature in about.signatures.values()
        for kind, specs in (("in", signature.inputs), ("out", signature.outputs))
        for name, spec in specs.items()
    ]
    titles = ("signature", "", "name", "dtype", "shape")
    if not _terminal():
        _tabs(("signature", "kind", *titles[2:]), *rows)
        return
    versions = ", ".join(f"{state.version} {state.state}" for state in states)
    told = Text(about.name, "bold").append(f"  {versions}", "green")
    _print(told.append(f"  {about.platform}", "dim") if about.platform else told)
    table = _table(*titles)
    last = ""
    for signature, kind, name, of, shape in rows:
        table.add_row("" if signature == last else signature, kind, Text(name, "cyan"), of, shape)
        last = signature
    _print(table)


def show_answers(answers: Sequence[Answer], top: int) -> None:
    """Outputs; in a terminal the `top` most likely classes of probabilities, and the times."""
    if not _terminal():
        _tabs(("input", "output", "row", "values"), *_lines(answers))
        return
    table = _table("input", "output", "dtype", "shape", "values")
    for answer in answers:
        first = _named(answer.sent)
        for name, array in answer.outputs.items():
            shape = shape_text(array.shape)
            table.add_row(first, Text(name, "cyan"), dtype(array), shape, _shown(array, top))
            first = ""
    _print(table)
    receipts = [receipt for answer in answers for receipt in answer.receipts]
    _print(Text(_went_through(receipts), "dim"))


def _lines(answers: Iterable[Answer]) -> Iterable[Sequence[str]]:
    for answer in answers:
        for name, array in answer.outputs.items():
            for row, values in enumerate(array if array.ndim else array[np.newaxis]):
                yield answer.sent, name, str(row), *map(_value, np.asarray(values).ravel())


def _value(value: object) -> str:
    if not isinstance(value, bytes):
        return str(value)
    told = text(value)
    plain = isinstance(told, str) and told.isprintable()
    return told if plain else json.dumps(told, ensure_ascii=False)


# ------------------------------------------------------------------------------ in a terminal


def _named(sent: str) -> str:
    """What was sent, by its ends."""
    return sent if len(sent) <= _NAME else f"{sent[: _NAME // 2]}...{sent[-_NAME // 2 + 3 :]}"


def _shown(array: Array, top: int) -> str:
    """The values of an array, as far as a reader wants to see them."""
    if array.ndim == 0:
        return _value(array[()])
    rows = [_row(row, top) for row in array[:_FEW_ROWS]]
    if len(array) > _FEW_ROWS:
        rows.append(f"... {len(array):,} rows")
    return "\n".join(rows)


def _row(row: Array, top: int) -> str:
    row = np.asarray(row)
    if top and _is_likelihood(row):
        best = np.argsort(-row, kind="stable")[:top]
        likely = [f"{place} {row[place]:.2%}" for place in best if row[place] >= _LIKELY]
        return "  ".join(likely)
    values = [_short(value) for value in row.ravel()[:_FEW_VALUES]]
    more = f" ... {row.size:,} values" if row.size > _FEW_VALUES else ""
    return "  ".join(values) + more


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, (float, np.floating)) else _value(value)


def _is_likelihood(row: Array) -> bool:
    if row.dtype.kind not in "fV" or row.ndim != 1 or len(row) < _LEAST_CLASSES:
        return False
    wide = row.astype(np.float64)
    return bool((wide >= 0).all() and abs(wide.sum() - 1) < 0.01)  # noqa: PLR2004 - of halves, too


def _went_through(receipts: Sequence[Receipt]) -> str:
    several = len(receipts) > 1
    parts = [f"{len(receipts)} requests" if several else ""]
    parts += [
        _spread("queued ", [r.queued for r in receipts], _time),
        _spread("ran ", [r.run for r in receipts], _time),
        _spread("in a batch of ", [r.batch for r in receipts], str),
        _spread("answered after ", [r.total for r in receipts], _time),
    ]
    attempts = sum(receipt.attempts for receipt in receipts)
    parts.append(f"{attempts} attempts" if attempts > len(receipts) else "")
    told = ", ".join(part for part in parts if part)
    return f"{told} ({_SPREAD})" if " / " in told else told


def _spread(title: str, values: Sequence[float | None], told: Callable[[float], str]) -> str:
    """The least, median and most of what is known; "" if nothing is."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return ""
    middle = statistics.median_low(known)
    few = dict.fromkeys(map(told, (known[0], middle, known[-1])))
    return title + (" / ".join(few) if len(few) > 1 else next(iter(few)))


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


# ----------------------------------------------------------------------------------- both ways


def _terminal() -> bool:
    return plain_console().is_terminal


def _print(what: Text | Table) -> None:
    plain_console().print(what)


def _tabs(*lines: Sequence[str]) -> None:
    click.echo("\n".join("\t".join(line) for line in lines))


def _table(*titles: str) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 2, 0, 0))
    for title in titles:
        table.add_column(title, overflow="fold")
    return table
