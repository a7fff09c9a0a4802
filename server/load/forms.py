"""The protocols that load is sent in: their URLs, what tells a signature, their bodies. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from server.load.told import read_oip, read_tfserving
from server.protocols.oip_tensors import to_raw
from server.samples.bodies import is_raw, oip_body, rest_body
from server.samples.values import Filled, SampleRequest, written
from server.signature import Signature

JSON: Final = "application/json"
BINARY: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Sent:
    """What is sent with each request."""

    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """A protocol over HTTP.

    `asked` and `told` are the paths of requests and of metadata, with {} for the model; `read`
    reads the signature of a name in the metadata (NotTold), `write` makes a request (NoForm).
    """

    title: str
    asked: str
    told: str
    read: Callable[[bytes, str], Signature]
    write: Callable[[SampleRequest], Sent]

    def path(self, model: str) -> str:
        """Where requests go."""
        return self.asked.format(quote(model, safe=""))

    def metadata(self, model: str) -> str:
        """Where the metadata is."""
        return self.told.format(quote(model, safe=""))


def _rest(request: SampleRequest) -> Sent:
    return Sent(written(rest_body(request)).encode())


def _oip(request: SampleRequest) -> Sent:
    return _oip_sent(request, is_raw, binary=any(map(is_raw, request.inputs.values())))


def _oip_binary(request: SampleRequest) -> Sent:
    return _oip_sent(request, lambda _: True, binary=True)


def _oip_sent(request: SampleRequest, raw: Callable[[Filled], bool], *, binary: bool) -> Sent:
    header = written(oip_body(request, raw, answers_raw=binary)).encode()
    if not binary:
        return Sent(header)
    behind = [to_raw(tensor.array) for tensor in request.inputs.values() if raw(tensor)]
    told = {"Inference-Header-Content-Length": str(len(header))}
    return Sent(b"".join([header, *behind]), BINARY, told)


_INFER: Final = "/v2/models/{}/infer"
_OIP: Final = "/v2/models/{}"

FORMS: Final[Mapping[str, Form]] = {
    "tfserving": Form(
        "TensorFlow Serving REST",
        "/v1/models/{}:predict",
        "/v1/models/{}/metadata",
        read_tfserving,
        _rest,
    ),
    "oip": Form("Open Inference Protocol, JSON", _INFER, _OIP, read_oip, _oip),
    "oip-binary": Form("Open Inference Protocol, binary", _INFER, _OIP, read_oip, _oip_binary),
}
"""By the word for each on the command line."""
