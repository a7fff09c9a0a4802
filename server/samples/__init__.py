"""Sample requests for a signature in every protocol, ready to be pasted. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from server.samples.shell import oip_http, plain_binary, tfserving_rest
from server.samples.snippets import oip_grpc, tfserving_grpc
from server.samples.values import NoForm, SampleRequest, Target


@dataclass(frozen=True, slots=True)
class Sample:
    """A request: commands for a shell or a program, by `language`; or why there is none.

    One of `text` and `why_not` is "".
    """

    protocol: str
    title: str
    language: str
    text: str
    why_not: str


class _Protocol(NamedTuple):
    name: str
    title: str
    language: str
    write: Callable[[Target, SampleRequest], str]


_PROTOCOLS: Final = (
    _Protocol("tfserving_rest", "TensorFlow Serving REST", "sh", tfserving_rest),
    _Protocol("oip_http", "Open Inference Protocol v2 over HTTP", "sh", oip_http),
    _Protocol("plain_binary", "Plain binary", "sh", plain_binary),
    _Protocol("tfserving_grpc", "TensorFlow Serving gRPC", "python", tfserving_grpc),
    _Protocol("oip_grpc", "Open Inference Protocol v2 over gRPC", "python", oip_grpc),
)


def samples(target: Target, request: SampleRequest) -> tuple[Sample, ...]:
    """One for each protocol."""
    return tuple(_sample(protocol, target, request) for protocol in _PROTOCOLS)


def _sample(protocol: _Protocol, target: Target, request: SampleRequest) -> Sample:
    try:
        text, why_not = protocol.write(target, request), ""
    except NoForm as error:
        text, why_not = "", str(error)
    return Sample(protocol.name, protocol.title, protocol.language, text, why_not)


__all__ = ["Sample", "SampleRequest", "Target", "samples"]
