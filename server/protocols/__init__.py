"""The protocols over HTTP, each a module of codecs. A new one is a file and a line here."""

from typing import Final

from server.protocols.protocol import Protocol
from server.protocols.tfserving_rest import TensorFlowServingRest

PROTOCOLS: Final[tuple[Protocol, ...]] = (TensorFlowServingRest(),)
