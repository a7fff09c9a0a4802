"""What can be called, and how: signatures as declared, or as a framework tells them. Any thread.

Nothing is guessed: where neither `server.declare.signature` nor a framework tells what a function
takes and gives, the error shows how to declare it.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from server.declare import Declaration, declared
from server.model import WrongOutput
from server.models.frameworks import (
    Function,
    Untold,
    estimator,
    fitted_columns,
    is_module,
    is_session,
    on_tensors,
    session,
)
from server.models.returned import check_shape, to_array
from server.signature import Array, Signature, TensorSpec, names_text, why_alone


def function_of(name: str, value: Any, told: str) -> Function:
    """How to call a value as the signature `name`; messages call it `told`.

    TypeError or ValueError, saying what is wrong with it.
    """
    declaration = declared(value)
    if declaration is not None:
        _check_kind(value, told)
        return _declared(name, value, declaration, told)
    if is_session(value):
        return session(name, value)
    if not callable(value) and callable(getattr(value, "predict", None)):
        value, told = value.predict, f"{told}.predict"
    _check_kind(value, told)
    columns = fitted_columns(value)
    if columns is None:
        msg = f"nothing tells what {told} takes and gives: {_how_to_declare(value, told)}"
        raise TypeError(msg)
    try:
        return estimator(name, value, columns)
    except Untold as error:
        msg = f"{told} does not show its signature, {error}: {_how_to_declare(value, told)}"
        raise TypeError(msg) from error


def _check_kind(value: Any, told: str) -> None:
    """TypeError for what cannot be called, or returns no arrays when it is."""
    if not callable(value):
        msg = f"{told} is a {type(value).__name__}, which cannot be called"
        raise TypeError(msg)
    if isinstance(value, type):
        msg = f"{told} is a class: name an object of it, or a method of one"
        raise TypeError(msg)
    kinds = {
        "a coroutine function": inspect.iscoroutinefunction,
        "a generator function": inspect.isgeneratorfunction,
        "an asynchronous generator function": inspect.isasyncgenfunction,
    }
    method = value if inspect.isroutine(value) else type(value).__call__
    for kind, is_of_kind in kinds.items():
        if is_of_kind(value) or is_of_kind(method):
            msg = f"{told} is {kind}: a plain function is needed, which returns arrays"
            raise TypeError(msg)


def _declared(name: str, value: Any, declaration: Declaration, told: str) -> Function:
    inputs, outputs = declaration.inputs, declaration.outputs
    alone = why_alone(inputs, outputs) if declaration.batchable else "it is declared so"
    call, told_by = _call(value)
    try:
        parameters = inspect.signature(told_by)
    except (TypeError, ValueError):
        # Not everything that is compiled tells its parameters.
        by_name, defaults = len(inputs) > 1, {}
    else:
        by_name = _takes_names(parameters, inputs, told)
        defaults = _defaults(parameters.parameters, inputs, told)
    signature = Signature(name, inputs, outputs, alone=alone, defaults=defaults)
    if by_name:
        return Function(signature, lambda tensors: call(**tensors))
    return Function(signature, lambda tensors: call(*tensors.values()))


def _call(value: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """What to call with arrays, and what has its parameters."""
    wrapped = value
    if isinstance(value, functools.partial) and not (value.args or value.keywords):
        wrapped = value.func
    return (on_tensors(wrapped), wrapped.forward) if is_module(wrapped) else (value, value)


def _takes_names(parameters: inspect.Signature, inputs: Iterable[str], told: str) -> bool:
    """Whether to pass inputs by name; by place if not, which is for at most one. TypeError."""
    names = list(inputs)
    ways = [True] if len(names) > 1 else [False, True]
    if names and names[0] in parameters.parameters:
        ways = [True, False] if len(names) == 1 else [True]
    why = ""
    for by_name in ways:
        try:
            parameters.bind(*([] if by_name else names), **dict.fromkeys(names if by_name else []))
        except TypeError as error:
            why = why or str(error)
        else:
            return by_name
    msg = f"{told}{parameters} cannot be called with the inputs {names_text(names)}: {why}"
    raise TypeError(msg)


def _defaults(
    parameters: Mapping[str, inspect.Parameter], inputs: Mapping[str, TensorSpec], told: str
) -> dict[str, Array]:
    """What inputs are that a request leaves out: one row, where there are rows. ValueError."""
    defaults: dict[str, Array] = {}
    for name, spec in inputs.items():
        default = parameters[name].default if name in parameters else None
        if default is inspect.Parameter.empty or default is None:
            continue
        try:
            defaults[name] = _one_row(to_array(default, spec), spec)
        except (WrongOutput, ValueError) as error:
            msg = f"the default of {name!r} in {told} does not fit {spec}"
            raise ValueError(msg) from error
    return defaults


def _one_row(default: Array, spec: TensorSpec) -> Array:
    """A default in the rank of its input, by which it may be a single number. WrongOutput."""
    if spec.shape is not None and default.ndim < len(spec.shape):
        shape = [1 if size is None else size for size in spec.shape]
        default = np.broadcast_to(default, shape).copy()
    check_shape(default.shape, spec, 1 if spec.has_batch_dimension else None)
    return default


def _how_to_declare(value: Any, told: str) -> str:
    """What to write, for this very function."""
    try:
        parameters = [
            parameter.name
            for parameter in inspect.signature(value).parameters.values()
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
    except (TypeError, ValueError):
        parameters = []
    inputs = ", ".join(f'"{name}": "float32[-1,4]"' for name in parameters or ["x"])
    example = f'signature({{{inputs}}}, {{"output_0": "float32[-1,3]"}})'
    where = f"@{example} above it"
    if not inspect.isfunction(value):
        where = f"served = {example}({told.partition(':')[2]}), and serve that"
    return f"write {where}, with its own dtypes and shapes (from server.declare import signature)"
