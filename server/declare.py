"""How a Python function declares what it takes and gives, so that it can be served. Pure.

    from server.declare import InputRejected, signature

    @signature({"pixels": "float32[-1,64]"}, {"scores": "float32[-1,10]"})
    def read(pixels):
        if pixels.max() > 16:
            raise InputRejected("grey values go up to 16")
        return pixels @ WEIGHTS

    batcher-server --model digits=my_module:read

For modules of users: neither TensorFlow nor a web framework comes along.
"""

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from server.model import InputRejected
from server.signature import NUMPY_DTYPES, TensorSpec

__all__ = ["Declaration", "InputRejected", "declared", "signature"]

Function = TypeVar("Function", bound=Callable[..., Any])

_MARK: Final = "_declared_signature"
_SPEC: Final = re.compile(r"\s*(\w+)\s*\[([\s\d,.-]*)\]\s*")
_ANY_RANK: Final = "..."


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a function takes and gives, by name and in order; whether rows may share a call."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    batchable: bool = True


def signature(
    inputs: Mapping[str, str], outputs: Mapping[str, str], *, batchable: bool = True
) -> Callable[[Function], Function]:
    """Declare the arrays that a function takes and gives: name -> dtype and shape.

    `"float32[-1,784]"` are rows of 784 numbers, any number of rows; `"string[-1]"` a text (`bytes`)
    a row, `"float32[]"` a single number, `"float32[...]"` an array of any rank. A function whose
    arrays all begin with -1 is called with the rows of several requests at once; `batchable=False`
    says that it must not be.

    The function takes an array for each input: by its name, or by place if it has only one. It
    may write into them. It returns a dict of its outputs, a tuple in their order, or the only one
    as it is. What it raises is the server's failure, but for `InputRejected`, whose words go to
    the client: they should not repeat what the tensors hold.

    A function stays as it is. Any other callable, as a bound method, is returned in a wrapper.
    ValueError, TypeError when the declaration makes no sense.
    """
    if not outputs:
        msg = "a signature needs at least one output"
        raise ValueError(msg)
    declaration = Declaration(_specs("input", inputs), _specs("output", outputs), batchable)

    def declare(function: Function) -> Function:
        given: object = function
        if not callable(given) or isinstance(given, type):
            told = "class" if isinstance(given, type) else type(given).__name__
            msg = f"a signature is that of a function, not of a {told}: name a method of it"
            raise TypeError(msg)
        # A wrapper leaves foreign objects as they are, and lets one function have two signatures.
        if not inspect.isfunction(function) or declared(function) is not None:
            function = cast("Function", functools.partial(function))
        setattr(function, _MARK, declaration)
        return function

    return declare


def declared(function: object) -> Declaration | None:
    """What was declared of a function, None if nothing was."""
    declaration = getattr(function, _MARK, None)
    return declaration if isinstance(declaration, Declaration) else None


def _specs(kind: str, texts: Mapping[str, str]) -> dict[str, TensorSpec]:
    return {name: _spec(f"{kind} {name!r}", name, text) for name, text in texts.items()}


def _spec(where: str, name: str, text: str) -> TensorSpec:
    """One dtype and shape from its text. ValueError."""
    matched = _SPEC.fullmatch(text)
    if not name or matched is None:
        msg = f'{where} is declared as {text!r}, expected a dtype and a shape: "float32[-1,784]"'
        raise ValueError(msg)
    dtype, shape = matched.groups()
    if dtype not in NUMPY_DTYPES | {"string"}:
        known = ", ".join(sorted(NUMPY_DTYPES | {"string"}))
        msg = f"{where} is declared as {text!r}, whose dtype is not known; known are {known}"
        raise ValueError(msg)
    if shape.strip() == _ANY_RANK:
        return TensorSpec(name, dtype, None)
    try:
        sizes = [int(size) for size in shape.split(",")] if shape.strip() else []
    except ValueError:
        sizes = [-2]
    if any(size < -1 for size in sizes):
        msg = f"{where} is declared as {text!r}: sizes are numbers from 0 on, or -1 for any"
        raise ValueError(msg)
    return TensorSpec(name, dtype, tuple(None if size == -1 else size for size in sizes))
