"""What a request for other models may bring: policies, labels, and models below a root. Any thread.

Whoever started the server says which models there are: a request moves them to other versions, and
brings others only from below the folders that were opened for that.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from server.config import ModelConfig
from server.errors import InvalidArgument, PermissionDenied
from server.versions import Wanted


def requested(
    models: Sequence[Wanted],
    configured: Mapping[str, ModelConfig],
    *,
    roots: Iterable[Path],
    template: ModelConfig,
) -> list[ModelConfig]:
    """The configurations that a request asks for. PermissionDenied, InvalidArgument.

    Those of models that are `configured` change; others come from below the `roots`, and are made
    from the template.
    """
    names = [model.name for model in models]
    for name in names:
        if names.count(name) > 1:
            msg = f"model {name!r} is there more than once"
            raise InvalidArgument(msg)
    return [
        _changed(model, configured[model.name])
        if model.name in configured
        else _brought(model, configured, roots, template)
        for model in models
    ]


def is_below(path: Path, roots: Iterable[Path]) -> bool:
    """Whether a path leads to one of these folders or below, links followed. OSError."""
    path = path.resolve()
    return any(path.is_relative_to(root.resolve()) for root in roots)


def _changed(model: Wanted, known: ModelConfig) -> ModelConfig:
    path = Path(model.base_path)
    if model.base_path and path.absolute() != known.path.absolute():
        msg = f"model {model.name!r} was started with another base path than {str(path)!r}"
        raise PermissionDenied(msg)
    return replace(known, policy=model.policy, labels=model.labels)


def _brought(
    model: Wanted,
    configured: Iterable[str],
    roots: Iterable[Path],
    template: ModelConfig,
) -> ModelConfig:
    """The configuration of a model that only this request names.

    Its path becomes absolute: so it cannot be taken for a Python function.
    """
    if not model.base_path:
        msg = f"model {model.name!r} was not configured, and has no base path"
        raise InvalidArgument(msg)
    try:
        path = Path(model.base_path).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        msg = f"model {model.name!r}: its base path cannot be read: {error}"
        raise InvalidArgument(msg) from error
    if not is_below(path, roots):
        told = ", ".join(repr(name) for name in configured)
        msg = (
            f"model {model.name!r} was not configured when the server was started; it has"
            f" {told}; and its base path is not below a --model-root"
        )
        raise PermissionDenied(msg)
    return replace(template, name=model.name, path=path, policy=model.policy, labels=model.labels)
