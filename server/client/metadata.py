"""What a server tells about its models, in one form whatever the protocol. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.client.errors import BadAnswer, InvalidRequest
from server.protocols import told_signatures
from server.protocols.told_signatures import UNREADABLE
from server.signature import DEFAULT_SIGNATURE, Signature, names_text


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """A model: its signatures, whose tensors have names, dtypes and shapes.

    `versions` are those that answer, or the one that was asked for. `platform` names its format,
    "" where the protocol does not tell. The Open Inference Protocol tells one signature, the
    default one.
    """

    name: str
    versions: tuple[str, ...]
    platform: str
    signatures: Mapping[str, Signature]

    def signature(self, name: str = "") -> Signature:
        """A signature by name; "": the default, or the only one. InvalidRequest."""
        found = self.signatures.get(name or DEFAULT_SIGNATURE)
        if found is None and not name and len(self.signatures) == 1:
            (found,) = self.signatures.values()
        if found is None:
            told = f"signature {name!r}" if name else "default signature"
            known = names_text(self.signatures)
            msg = f"nothing is known of the {told} of model {self.name!r}; known are {known}"
            raise InvalidRequest(msg)
        return found


@dataclass(frozen=True, slots=True)
class ModelState:
    """One version of a model: whether it is `ready`, its state in the server's words, and why."""

    name: str
    version: str
    state: str
    reason: str = ""

    @property
    def ready(self) -> bool:
        """Whether it answers."""
        return self.state in ("READY", "AVAILABLE")


# ----------------------------------------------------------------------- Open Inference Protocol


def from_oip(told: Any) -> ModelMetadata:
    """Read the answer to `/v2/models/NAME`. BadAnswer."""
    try:
        signature = told_signatures.from_oip(told)
        versions = tuple(str(version) for version in told.get("versions") or ())
        platform = str(told.get("platform", ""))
        return ModelMetadata(told["name"], versions, platform, {signature.name: signature})
    except UNREADABLE as error:
        raise _unlike(error, "metadata of a model") from None


def states_from_oip(told: Any) -> list[ModelState]:
    """Read the answer to `/v2/repository/index`. BadAnswer."""
    try:
        return [
            ModelState(
                entry["name"],
                str(entry.get("version", "")),
                str(entry.get("state", "")),
                str(entry.get("reason", "")),
            )
            for entry in told
        ]
    except UNREADABLE as error:
        raise _unlike(error, "index of models") from None


# ---------------------------------------------------------------------- TensorFlow Serving


def from_tfserving(told: Any) -> ModelMetadata:
    """Read the answer to `/v1/models/NAME/metadata`. BadAnswer."""
    try:
        spec = told["model_spec"]
        signatures = told_signatures.from_tfserving(told)
        return ModelMetadata(spec["name"], (str(spec["version"]),), "", signatures)
    except UNREADABLE as error:
        raise _unlike(error, "metadata of a model") from None


def states_from_tfserving(name: str, told: Any) -> list[ModelState]:
    """Read the answer to `/v1/models/NAME`. BadAnswer."""
    try:
        return [
            ModelState(
                name,
                str(entry["version"]),
                str(entry["state"]),
                str((entry.get("status") or {}).get("error_message", "")),
            )
            for entry in told["model_version_status"]
        ]
    except UNREADABLE as error:
        raise _unlike(error, "status of a model") from None


def _unlike(error: Exception, what: str) -> BadAnswer:
    return BadAnswer(f"the server's answer is no {what}: {type(error).__name__} {error}")
