"""What there is to load at a path: models in numbered version folders, or one model. Any thread.

A version is seen together with its mark, which changes whenever one of its files does: so that a
folder which is still being copied is told from one that is complete, and one that failed from one
that was mended.
"""

import os
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from server.errors import StartupError
from server.models import EXPECTED, detect

Mark: TypeAlias = tuple[tuple[str, int, int], ...]
"""Name, size in bytes and time of change in nanoseconds of each file of a version."""


MOST: Final = 2**63 - 1
"""The highest number that a version may have in the protocols."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A version on disk; `mark` is None where it was not asked for."""

    path: Path
    mark: Mark | None


def look(path: Path, unmarked: Collection[int] = ()) -> Mapping[int, Seen]:
    """All versions at a path, at least one; StartupError when there is none, or it is unreadable.

    `path` is a model, whose version is its folder's name if that is a number, else 1; or a base
    folder of models in folders named by their version numbers. Those in `unmarked` get no mark.
    """
    try:
        paths = _versions(path)
    except (OSError, RuntimeError, ValueError) as error:
        msg = f"model path {path} cannot be read: {error}"
        raise StartupError(msg) from error
    return {
        version: Seen(place, None if version in unmarked else _mark_now(place))
        for version, place in paths.items()
    }


def _mark_now(path: Path) -> Mark:
    """The mark; one that is never the same where files go away while they are looked at."""
    try:
        return mark(path)
    except OSError as error:
        return ((str(error), 0, time.monotonic_ns()),)


def _versions(path: Path) -> Mapping[int, Path]:
    found = detect(path)
    if found is not None and not path.exists():
        return {1: path}  # A Python function has neither folder nor version.
    if not path.exists():
        msg = f"model path {path} does not exist"
        raise StartupError(msg)
    path = path.resolve()
    if found is not None:
        folder = path if path.is_dir() else path.parent
        return {int(folder.name) if is_version(folder.name) else 1: path}
    if not path.is_dir():
        msg = f"model path {path} is a file, but not a model: expected {EXPECTED}"
        raise StartupError(msg)
    versions: dict[int, Path] = {}
    for folder in sorted(path.iterdir()):
        if is_version(folder.name) and _may_be_model(folder):
            version = int(folder.name)
            other = versions.setdefault(version, folder)
            if other is not folder:
                msg = f"version {version} is there twice: {other.name} and {folder.name}"
                raise ValueError(msg)
    if not versions:
        msg = (
            f"model path {path} holds no model: expected {EXPECTED}, in it"
            " or in a folder below it that is named by a version number"
        )
        raise StartupError(msg)
    return versions


def _may_be_model(folder: Path) -> bool:
    """Whether there is anything to load, even if it will fail: its own error will say why."""
    try:
        return detect(folder) is not None
    except (OSError, ValueError):
        return True


def mark(path: Path) -> Mark:
    """The mark of a model, which is a file or a folder; empty for a Python function. OSError."""
    return tuple(sorted(_files(path)))


def _files(path: Path) -> Iterator[tuple[str, int, int]]:
    if path.is_file():
        yield _file("", path)
    for folder, _, names in os.walk(path):
        for name in names:
            file = Path(folder, name)
            yield _file(str(file.relative_to(path)), file)


def _file(name: str, path: Path) -> tuple[str, int, int]:
    try:
        status = path.stat()
    except FileNotFoundError:
        status = path.lstat()  # A link that leads nowhere is part of it all the same.
    return name, status.st_size, status.st_mtime_ns


def default_name(path: Path) -> str:
    """What a model is called when nobody named it: its file, folder, base folder or module."""
    found = detect(path)
    if found is not None and not path.exists():
        return str(path).partition(":")[0].rpartition(".")[2]
    path = path.resolve()
    if is_version(path.parent.name) and path.is_file():
        path = path.parent
    if is_version(path.name):
        return path.parent.name
    return path.stem if path.is_file() else path.name


def is_version(name: str) -> bool:
    """Whether a folder of this name is meant to be a version that the protocols can tell."""
    # Python refuses to read numbers of thousands of digits.
    return name.isascii() and name.isdigit() and len(name) < 100 and int(name) <= MOST  # noqa: PLR2004 - see above
