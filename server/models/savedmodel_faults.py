"""Why a SavedModel cannot be loaded, told better than TensorFlow does. Any thread.

TensorFlow says "Read less bytes than requested" of a file cut short, and not of which. What it said
is kept where there is nothing better to say.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

UNKNOWN_OPERATION: Final = re.compile(r"(?:Op type not registered|No op named) '?([\w>]+)'?")
"""TensorFlow's words for it, from its two importers of graphs."""

DAMAGED: Final = re.compile("sstable|TensorBundle|Read (?:less|fewer) bytes|Checksum|corrupted")
"""Words of errors over the files of variables."""

SHARD: Final = re.compile(r"variables\.data-\d+-of-(\d+)")


def require_assets(path: Path, names: Iterable[str]) -> None:
    """FileNotFoundError for an asset that is not in its folder."""
    for name in names:
        file = path / "assets" / name
        if not file.is_file():
            raise FileNotFoundError(_missing(file))


def better(path: Path, error: Exception) -> Exception:
    """What to raise in place of an error from the loading of the SavedModel in this folder."""
    text = str(error)
    unknown = UNKNOWN_OPERATION.search(text)
    if unknown:
        return ValueError(
            f"its graph has the operation {unknown[1]!r}, which TensorFlow does not know"
        )
    files = path / "variables"
    index = files / "variables.index"
    damaged = DAMAGED.search(text)
    if not damaged and str(files) not in text:
        return error
    if not index.is_file():
        return FileNotFoundError(_missing(index))
    shards = sorted(file.name for file in files.iterdir() if SHARD.fullmatch(file.name))
    missing = _missing_shards(shards)
    if missing:
        return FileNotFoundError(_missing(files / missing[0]))
    if damaged:
        blamed = index.name if damaged[0] == "sstable" else " or ".join(shards)
        said = next(line for line in text.splitlines() if DAMAGED.search(line))
        said = re.sub(r"\{\{.*?\}\}", "", said).strip()
        return ValueError(f"{files / blamed} is damaged or cut short: {said}")
    return error


def _missing(file: Path) -> str:
    return f"{file} is missing"


def _missing_shards(shards: list[str]) -> list[str]:
    """The data files that should be there beside these; all of them say how many there are."""
    of = SHARD.fullmatch(shards[0]) if shards else None
    total = of[1] if of else "00001"
    expected = [f"variables.data-{place:05}-of-{total}" for place in range(int(total))]
    return [name for name in expected if name not in shards]
