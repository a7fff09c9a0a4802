"""Which protocol is spoken with a server, and what for. Pure."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from server.client.codec import Codec
from server.client.oip import BINARY_EXTENSION, Oip
from server.client.plain_binary import PlainBinary
from server.client.tfserving import TfServing
from server.protocols.oip_models import SERVER_NAME

AUTO: Final = "auto"
ABOUT_SERVER: Final = "/v2"
"""What is asked to find out: a server of the Open Inference Protocol tells what it is."""


class Dialect(NamedTuple):
    """Codecs for inference, for inference of a label, for metadata, and for the list of models."""

    infer: Codec
    label: Codec
    about: Codec
    models: Codec


_OIP: Final = Oip(binary=True)
_OIP_JSON: Final = Oip(binary=False)
_TFSERVING: Final = TfServing()
_NPY: Final = PlainBinary()

OURS: Final = Dialect(infer=_OIP, label=_TFSERVING, about=_TFSERVING, models=_OIP)
"""This project's server: TensorFlow Serving's metadata has all signatures, and its paths labels."""

DIALECTS: Final[Mapping[str, Dialect]] = {
    "oip": Dialect(_OIP, _OIP, _OIP, _OIP),
    "oip-json": Dialect(_OIP_JSON, _OIP_JSON, _OIP_JSON, _OIP_JSON),
    "tfserving": Dialect(_TFSERVING, _TFSERVING, _TFSERVING, _TFSERVING),
    "npy": Dialect(_NPY, _NPY, _NPY, _OIP),
}
"""By the name of a protocol."""

PROTOCOLS: Final = (AUTO, *DIALECTS)


def dialect_of(told: Any) -> Dialect:
    """The dialect for who answers ABOUT_SERVER with this; None for who does not know the target."""
    if not isinstance(told, dict):
        return DIALECTS["tfserving"]
    if told.get("name") == SERVER_NAME:
        return OURS
    extensions = told.get("extensions")
    binary = isinstance(extensions, list) and BINARY_EXTENSION in extensions
    return DIALECTS["oip" if binary else "oip-json"]
