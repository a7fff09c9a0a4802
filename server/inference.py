"""What protocols and endpoints tell each other: requests for inference, and their answers. Pure.

A protocol turns bytes into an `InferenceRequest`, and an `InferenceResponse` into bytes; it knows
models only as `ServedModel`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from server.errors import InvalidArgument, ServingError
from server.signature import Signature, Tensors, names_text

if TYPE_CHECKING:
    from batcher import Receipt  # A protocol needs no Batcher.


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
class VersionState:
    """Where a version is: START, LOADING, AVAILABLE, UNLOADING or END; and its `error`, or ""."""

    version: int
    state: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A version of a model that takes requests.

    `platform` names its format as the Open Inference Protocol does ("tensorflow_savedmodel").
    """

    name: str
    version: int
    signatures: Mapping[str, Signature]
    platform: str
    max_batch_size: int

    def signature(self, name: str, unknown: type[ServingError] = InvalidArgument) -> Signature:
        """The signature of a name. Raises `unknown` if the model has no such."""
        signature = self.signatures.get(name)
        if signature is None:
            known = names_text(self.signatures)
            msg = f"model {self.name!r} has no signature {name[:64]!r}; it has {known}"
            raise unknown(msg)
        return signature


FindModel: TypeAlias = Callable[[ModelAddress], ServedModel]
"""Look up who serves an address. NotFound, InvalidArgument (unknown label), Unavailable."""


@dataclass(slots=True)
class InferenceRequest:
    """Decoded input: tensors of the dtypes of the signature, their shapes not checked yet.

    `form` is the protocol's own note of how the answer has to look. `timeout` is how many seconds
    the client gives, None for any. `priority` is the batcher's: lower is more urgent, 0 is usual.
    """

    model: ServedModel
    signature: Signature
    inputs: Tensors
    form: Any = None
    timeout: float | None = None
    priority: int = 0


@dataclass(slots=True)
class InferenceResponse:
    """The outputs of one request, its own rows only, and how many seconds it waited and ran.

    `receipts` are of the batches it ran in: one, or as many as the parts it was cut up into.
    """

    outputs: Tensors
    rows: int = 1
    queue_time: float = 0.0
    run_time: float = 0.0
    receipts: Sequence["Receipt"] = ()


@dataclass(slots=True)
class Stages:
    """How far one request has come, and when: seconds of `time.perf_counter`, 0 if not yet.

    `began` is when the front got it, `decoded` when its body was read, `ran` when its outputs were
    there, `ended` when its answer was. None of its tensors are kept. `trace_id` is the trace that
    it belongs to, 32 hexadecimal digits. `is_probe` says that it only asked for the server's
    health.
    """

    began: float
    trace_id: str
    decoded: float = 0.0
    ran: float = 0.0
    ended: float = 0.0
    model: ServedModel | None = None
    signature: str = ""
    rows: int = 0
    receipts: Sequence["Receipt"] = ()
    is_probe: bool = False

    def read(self, request: InferenceRequest, now: float) -> None:
        """Its body was read."""
        self.decoded = now
        self.model, self.signature = request.model, request.signature.name

    def run(self, response: InferenceResponse, now: float) -> None:
        """Its outputs are there."""
        self.ran = now
        self.rows, self.receipts = response.rows, response.receipts
