"""Refuses what the configuration of a Keras file must not name: code, and other files. Pure.

A Keras file says by name what its model is made of. Keras has a safe mode for files of strangers,
in which release after release closed holes: code marshalled into `Lambda` layers (CVE-2024-3660,
CVE-2025-9905), functions of any module (CVE-2025-1550), functions of Keras that switch safe mode
off or write files (CVE-2025-9906, CVE-2025-8747), vocabularies read from any path (CVE-2025-12058).
So Keras sees a configuration only after these rules, which do not depend on its release:

1. Each name belongs to one of Keras's rooms for the parts of models (`ROOMS`). What others have
   registered with Keras in this process is refused with the rest.
2. No layer that holds code, or a model of another format (`HOLD_CODE`).
3. No vocabulary that is the path of a file; Keras itself keeps the words in the model's file.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

ROOMS: Final = frozenset(
    {"activations", "constraints", "dtype_policies", "initializers", "layers", "losses", "metrics"}
    | {"models", "ops", "optimizers", "quantizers", "random", "regularizers"}
)
"""The modules of Keras whose names a model may consist of."""

HOLD_CODE: Final = frozenset(
    {"Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
)

PLAIN: Final = frozenset(
    {"TensorShape", "__tuple__", "__ellipsis__", "__slice__", "__bytes__", "__numpy__"}
    | {"__tensor__", "__keras_tensor__"}
)
"""What has a class name because JSON has no form for it."""

INSTEAD: Final = (
    "export the model as a SavedModel, with model.export(path), or serve it by a Python function"
)
"""What an operator may do about a model that cannot be had from its file."""


def refuse(config: Any, known: Callable[[str], bool]) -> None:
    """ValueError if a configuration names what it must not.

    `known` tells whether a name stands in one of Keras's rooms: older files name no modules.
    """
    for part in _parts(config):
        vocabulary = part.get("vocabulary")
        if isinstance(vocabulary, str):
            msg = f"a layer of it reads its vocabulary from another file: {vocabulary!r}"
            raise ValueError(msg)  # noqa: TRY004 - the file is at fault, not a caller of ours
        if "class_name" in part:
            _refuse_name(part, known)


def _refuse_name(part: dict[str, Any], known: Callable[[str], bool]) -> None:
    name = str(part["class_name"])
    if name in HOLD_CODE:
        msg = f"its {name} layer holds code, which must not come with a model: {INSTEAD}"
        raise ValueError(msg)
    if name not in PLAIN and not _is_allowed(part, known):
        named = ("module", "config") if name == "function" else ("module", "class_name")
        told = ".".join(str(part[key]) for key in named if part.get(key))
        msg = f"it is made of {told!r}, which is not for models or not of Keras: {INSTEAD}"
        raise ValueError(msg)


def _parts(config: Any) -> Iterator[dict[str, Any]]:
    """All dicts in a configuration, wherever, the outer ones first."""
    waiting = [config]
    for part in waiting:
        if isinstance(part, dict):
            yield part
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def _is_allowed(part: dict[str, Any], known: Callable[[str], bool]) -> bool:
    """Whether the name in a part stands in one of Keras's rooms."""
    name, module, registered = part["class_name"], part.get("module"), part.get("registered_name")
    is_function = name == "function"
    if is_function:
        name = part.get("config")
    if not isinstance(name, str) or registered not in (None, name):
        return False
    if module is None or (is_function and module == "builtins"):
        return known(name)
    package, *inner = f"{module}.{name}".split(".")
    if inner[:1] == ["src"]:
        inner = inner[1:]
    if len(inner) == 1:
        # keras.Sequential, keras.DTypePolicy: classes all of them.
        return package == "keras" and not is_function
    return package == "keras" and inner[0] in ROOMS and not (is_function and inner[0] == "models")
