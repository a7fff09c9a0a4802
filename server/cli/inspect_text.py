"""What `inspect` shows a reader: the model, its signatures, samples to paste. Main thread.

In a terminal with colours; for a file or a pipe without them, and as wide as it needs to be.
"""

import json
from collections.abc import Iterable

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from server.cli.console import plain_console
from server.cli.inspect_json import default_value
from server.inspection import InspectedSignature, Inspection
from server.samples import Target, samples
from server.signature import DEFAULT_SIGNATURE, TensorSpec, shape_text

_LABEL = len("versions")
"""The widest of what stands before facts."""

_WHOLE = 10
"""Milliseconds of which no fractions are shown."""

_KILO, _MEGABYTE = 1000, 10**6


def show(found: Inspection, target: Target, serve: str) -> None:
    """Write all of it to standard output; `serve` is the command that serves the model."""
    console = plain_console()
    console.print(Text(f"{target.name}, version {found.version}", "bold"))
    console.print(_about(found))
    console.print(Text(f"{'serve':{_LABEL}}  {serve}"), soft_wrap=True)
    for each in found.signatures:
        console.print()
        _show_signature(console, each, _widths(found.signatures))
    _show_samples(console, found.signatures, target)


# ---------------------------------------------------------------------------------------- the model


def _about(found: Inspection) -> Table:
    table = _grid()
    table.add_column(min_width=_LABEL)
    table.add_row("format", f"{found.format}, {found.platform}")
    table.add_row("path", str(found.path))
    if found.files:
        files = "1 file" if found.files == 1 else f"{found.files} files"
        table.add_row("size", f"{_size(found.file_bytes)} in {files}{_in_memory(found)}")
    table.add_row("load", f"{_time(found.load_seconds)}, measured here")
    if len(found.versions) > 1:
        table.add_row("versions", _versions(found))
    return table


def _in_memory(found: Inspection) -> str:
    if found.memory_bytes is None:
        return ""
    if found.memory_bytes < _MEGABYTE:
        return ", under 1 MB in memory"
    return f", about {_size(found.memory_bytes, 2)} in memory"


def _versions(found: Inspection) -> str:
    told = []
    for each in found.versions:
        what = each.format or each.error
        # Most folders hold the same format again and again.
        note = "" if each.format == found.format else f" ({what})"
        told.append(f"{each.version}{note}{' (served)' if each.version == found.version else ''}")
    return ", ".join(told)


# ----------------------------------------------------------------------------------- the signatures


def _widths(signatures: Iterable[InspectedSignature]) -> tuple[int, int]:
    """How wide names and dtypes with shapes are, so that all signatures have the same columns."""
    rows = [
        (len(spec.name), len(_taken(spec)))
        for each in signatures
        for spec in [*each.signature.inputs.values(), *each.signature.outputs.values()]
    ]
    names, taken = zip(*rows, strict=True)
    return max(names), max(taken)


def _show_signature(console: Console, each: InspectedSignature, widths: tuple[int, int]) -> None:
    signature = each.signature
    console.print(Text.assemble((signature.name, "bold"), ("  " + signature.method_name, "dim")))
    table = _grid()
    table.add_column()
    for width in widths:
        table.add_column(min_width=width)
    table.add_column(overflow="fold")
    for kind, specs in (("in", signature.inputs), ("out", signature.outputs)):
        for name, spec in specs.items():
            table.add_row(
                f"  {kind}",
                Text(name, "cyan"),
                Text(_taken(spec)),
                Text(_more(each, spec), "dim"),
            )
    console.print(table)
    console.print(Padding(_in_words(each), (0, 0, 0, 2), expand=False))


def _taken(spec: TensorSpec) -> str:
    return f"{spec.dtype} {shape_text(spec.shape).strip()}"


def _more(each: InspectedSignature, spec: TensorSpec) -> str:
    told = [each.quantized[spec.name]] if spec.name in each.quantized else []
    if spec.name in each.signature.defaults and spec.name in each.signature.inputs:
        told.append(f"default {json.dumps(default_value(each.signature.defaults[spec.name]))}")
    return ", ".join([*told, spec.tensor_name] if spec.tensor_name else told)


def _in_words(each: InspectedSignature) -> Text:
    alone = each.signature.alone
    words = Text()
    if alone:
        words.append("Runs alone", "yellow").append(f": {alone}.")
    else:
        words.append("Shares batches", "green").append(".")
    if each.refused:
        words.append(" Refused", "red").append(f" the sample below: {each.refused}")
    if each.request and each.request.features:
        features = each.request.features.values()
        told = ", ".join(f"{feature.spec.name} {_taken(feature.spec)}" for feature in features)
        words.append(f" Takes serialized Examples of {told}.")
    if each.measured:
        words.append(f" Measured: {_measured(each)}.")
    return words


def _measured(each: InspectedSignature) -> str:
    if each.signature.alone:
        return f"1 request {_time(each.measured[0].seconds)}"
    told = []
    for batch in each.measured:
        rows = "1 row" if batch.rows == 1 else f"{batch.rows} rows"
        told.append(f"{rows} {_time(batch.seconds)}")
    largest = each.measured[-1]
    return f"{', '.join(told)} ({_rounded(largest.rows / largest.seconds)} rows/s)"


# -------------------------------------------------------------------------------------- the samples


def _show_samples(
    console: Console, signatures: Iterable[InspectedSignature], target: Target
) -> None:
    """Those of one signature: the others differ from them by a name."""
    shown = {each.signature.name: each for each in signatures}
    each = shown.get(DEFAULT_SIGNATURE) or shown[min(shown)]
    if each.request is None:
        return
    if len(shown) > 1:
        console.print()
        told = Text.assemble("Samples ask ", (each.signature.name, "bold"))
        console.print(told.append("; --signature NAME shows those of another signature."))
    for sample in samples(target, each.request):
        console.print()
        console.print(Text(sample.title, "bold"))
        console.print(Text(sample.text or f"none: {sample.why_not}"), soft_wrap=True)


# ----------------------------------------------------------------------------------------- numbers


def _size(count: int, digits: int = 3) -> str:
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < _KILO:
            break
        size, unit = size / _KILO, larger
    return f"{size:.{digits}g} {unit}"


def _time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.3g} s"
    milliseconds = seconds * 1000
    return f"{milliseconds:.0f} ms" if milliseconds >= _WHOLE else f"{milliseconds:.2g} ms"


def _rounded(rate: float) -> str:
    """To two digits, as no measurement holds more."""
    return f"{float(f'{rate:.2g}'):,.0f}"


def _grid() -> Table:
    return Table.grid(padding=(0, 2, 0, 0))
