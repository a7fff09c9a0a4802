"""The protocols over HTTP, each a module of codecs. A new one is a file and a line here."""

from typing import Final

from server.protocols.oip_http import OipHttp
from server.protocols.plain_binary import PlainBinary
from server.protocols.protocol import Protocol
from server.protocols.tfserving_rest import TensorFlowServingRest

_REST: Final = TensorFlowServingRest()

# What plain binary does not take is TensorFlow Serving's. The last is described first.
PROTOCOLS: Final[tuple[Protocol, ...]] = (OipHttp(), PlainBinary(_REST), _REST)
