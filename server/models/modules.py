"""Python objects by `module:attribute`, their modules imported anew. Any thread, one at a time.

Every load imports the module as it is on disk now, so that it can be loaded anew. What that module
imports in turn stays as it was; so does what the server itself runs on (`numpy:tanh`), which does
not survive a second import. A load that fails leaves the modules as it found them.
"""

import contextlib
import importlib
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

_SERVERS_OWN: Final = frozenset(sys.modules)
"""What was imported before any module of a user."""

_importing: Final = threading.Lock()

_IMPORTERS: Final = frozenset({__file__, importlib.__file__})
"""Who appears in the traceback of every import that fails."""

_MOST_NAMES: Final = 20
"""How many of a module's names a message tells."""


@contextlib.contextmanager
def imported_anew(reference: str) -> Iterator[Any]:
    """What `module:attribute` names. ImportError, saying what is there instead.

    If the block fails, what was imported before is back in its place.
    """
    name, _, path = reference.partition(":")
    with _importing:
        _add_working_folder()
        before = sys.modules.get(name)
        if name not in _SERVERS_OWN:
            sys.modules.pop(name, None)
        try:
            yield _attribute(_import(name), path)
        except BaseException:
            _put_back(name, before)
            raise


def _add_working_folder() -> None:
    """Look for modules where the operator stands: unlike `python`, console scripts do not."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _put_back(name: str, before: ModuleType | None) -> None:
    if before is None:
        sys.modules.pop(name, None)
        return
    sys.modules[name] = before
    package, _, last = name.rpartition(".")
    if package:
        setattr(sys.modules[package], last, before)


def _import(name: str) -> ModuleType:
    # Finders remember what folders held, and may not see a module that has just been written.
    importlib.invalidate_caches()
    try:
        # The first line on standard output is to be the server's: it says where it listens.
        with contextlib.redirect_stdout(sys.stderr):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            msg = (
                f"there is no module {error.name!r} in the working folder {Path.cwd()}"
                " or among the installed packages"
            )
            raise ImportError(msg) from error
        raise _import_failed(name, error) from error
    # SystemExit must end neither the thread that loads nor the server.
    except BaseException as error:
        raise _import_failed(name, error) from error


def _import_failed(name: str, error: BaseException) -> ImportError:
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen") and frame.filename not in _IMPORTERS
    ]
    place = f" in {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""
    return ImportError(
        f"module {name!r} could not be imported: {type(error).__name__}{place}: {error}"
    )


def _attribute(module: ModuleType, path: str) -> Any:
    found: Any = module
    for place, part in enumerate(path.split(".")):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            whole = ".".join(path.split(".")[:place])
            holder = f"{module.__name__}:{whole}" if whole else f"module {module.__name__!r}"
            names = [known for known in dir(found) if not known.startswith("_")]
            more = ", ..." if len(names) > _MOST_NAMES else ""
            told = ", ".join(names[:_MOST_NAMES]) or "no names"
            msg = f"{holder} has no attribute {part!r}; it has {told}{more}"
            raise ImportError(msg) from error
    return found
