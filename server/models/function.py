"""Python functions as models: arrays in, arrays out. Runs on the model thread.

A function gets arrays of its own, which it may write into; what it returns is checked against its
signature and copied. So whatever it does with arrays, no other request sees it, and what it returns
wrongly is an error, never an answer.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from server.model import WrongOutput
from server.models.callables import function_of
from server.models.frameworks import Function
from server.models.modules import imported_anew
from server.models.returned import checked
from server.runtime import Runtime
from server.signature import DEFAULT_SIGNATURE, Signature, Tensors


def load(path: Path, runtime: Runtime) -> "PythonModel":  # noqa: ARG001 - what every format has
    """Load what `module:attribute` names: a function, or a mapping of signatures to functions.

    `runtime` says nothing here: a function chooses devices and threads itself. ImportError,
    TypeError or ValueError, saying what is wrong with it.
    """
    reference = str(path)
    with imported_anew(reference) as found:
        if isinstance(found, Mapping):
            return PythonModel(reference, _functions(found, reference))
        return PythonModel(
            reference, {DEFAULT_SIGNATURE: function_of(DEFAULT_SIGNATURE, found, reference)}
        )


def _functions(found: Mapping[Any, Any], reference: str) -> dict[str, Function]:
    if not found:
        msg = f"{reference} is empty: it has no signatures to call"
        raise ValueError(msg)
    for name in found:
        if not isinstance(name, str) or not name:
            msg = f"{reference} names a signature {name!r}: names are texts"
            raise TypeError(msg)
    return {
        name: function_of(name, value, f"{reference}[{name!r}]") for name, value in found.items()
    }


class PythonModel:
    """The functions that one `module:attribute` names."""

    platform: Final = "python"

    def __init__(self, reference: str, functions: Mapping[str, Function]) -> None:
        self._reference = reference
        self._functions = functions
        self._signatures = {name: function.signature for name, function in functions.items()}

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Its signatures by name."""
        return self._signatures

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        """Call one function. What it raises; WrongOutput."""
        function = self._functions[signature]
        declared = function.signature
        rows = None if declared.alone else len(next(iter(inputs.values())))
        own = {name: inputs[name].copy() for name in declared.inputs}
        try:
            returned = function.call(own)
        except SystemExit as error:
            # It would end the whole batch for the sake of one row.
            msg = f"{self._reference} tried to end the program: SystemExit"
            raise RuntimeError(msg) from error
        try:
            return checked(returned, declared, rows)
        except WrongOutput as error:
            msg = f"{self._reference}, signature {signature!r}, {error}"
            raise WrongOutput(msg) from error
