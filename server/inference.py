"""What protocols and endpoints tell each other: requests for inference, and their answers. Pure.

A protocol turns bytes into one of the operations below and its result into bytes again; it knows
models only as `ServedModel`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from server.signature import Signature, Tensors


@dataclass(frozen=True, slots=True)
class ModelAddress:
    """Which model a client asks for: at most one of `version` and `label`; neither: the newest."""

    name: str
    version: int | None = None
    label: str | None = None

    def __str__(self) -> str:
        if self.version is not None:
            return f"{self.name} version {self.version}"
        return self.name if self.label is None else f"{self.name} label {self.label}"


@dataclass(frozen=True, slots=True)
class Infer:
    """Run a model on what the body holds. `verb` is the protocol's own word for how."""

    address: ModelAddress
    verb: str


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """Tell the versions of a model and their states."""

    address: ModelAddress


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """Tell the signatures of a model."""

    address: ModelAddress


Operation: TypeAlias = Infer | ModelStatus | ModelMetadata


@dataclass(frozen=True, slots=True)
class VersionState:
    """Where a version is: START, LOADING, AVAILABLE, UNLOADING or END; and its `error`, or ""."""

    version: int
    state: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A version of a model that takes requests."""

    name: str
    version: int
    signatures: Mapping[str, Signature]


FindModel: TypeAlias = Callable[[ModelAddress], ServedModel]
"""Look up who serves an address. NotFound, InvalidArgument (unknown label), Unavailable."""


@dataclass(slots=True)
class InferenceRequest:
    """Decoded input: tensors of the dtypes of the signature, their shapes not checked yet.

    `form` is the protocol's own note of how the answer has to look.
    """

    model: ServedModel
    signature: Signature
    inputs: Tensors
    form: str = ""


@dataclass(slots=True)
class InferenceResponse:
    """The outputs of one request, its own rows only."""

    outputs: Tensors
