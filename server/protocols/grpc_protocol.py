"""What all protocols over gRPC share: one service of unary calls each, in protobuf. Pure.

A protocol over gRPC is an instance of a subclass of `GrpcProtocol`, listed in `over_grpc.py`. It is
a `Protocol` like those over HTTP, and says besides which `service` it is, and its `methods`:

    class Greeter(GrpcProtocol):
        name, service = "greeter", "greet.Greeter"

        def __init__(self) -> None:
            self.methods = {"Greet": self._greet}

        def _greet(self, exchange: Exchange) -> Operation: ...

What the adapter makes of a call: an `Exchange` whose `method` is POST, whose `target` is
"/greet.Greeter/Greet", whose headers are the metadata without the binary ones, whose body is the
serialized request, and whose `timeout` is what is left until the call's deadline. What it makes of
an `Answer`: `status` is gRPC's number, 0 for a good one; `body` the serialized reply, or the text
of the error; `headers` become trailing metadata, their names in lower case.

`route` looks at as little of the body as it needs, because it always runs on the event loop: a
message that declares nothing but the name of the model is parsed in no time, as protobuf skips what
it does not know (0.04 ms for 600 kB). `decode` then parses the whole of it, on the codec thread if
it is large.

A method in `streams` takes any number of messages in one call, and each of them is an exchange of
its own, answered in turn; the first that is answered with an error ends the call. With
`Answer.more` one message is answered by several.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar, Final

from server.errors import ServingError, Unimplemented
from server.exchange import Answer, Exchange
from server.inference import FindModel, InferenceRequest, InferenceResponse, ServedModel
from server.protocols.protocol import Infer, Operation

PROTOBUF: Final = "application/grpc+proto"

LONGEST_ERROR: Final = 1024
"""Bytes of an error's text that are told, as in TensorFlow Serving: headers have little room."""

CHEAPER: Final = 4
"""How many bytes of protobuf are parsed or printed in the time that one byte of JSON takes.

Between arrays that are copied (30 times faster) and lists of small integers or strings.
"""


class GrpcProtocol:
    """The parts that do not depend on the messages."""

    name: ClassVar[str]
    service: ClassVar[str]
    """Its full name, such as "tensorflow.serving.PredictionService"."""
    streams: ClassVar[Collection[str]] = ()
    """Those of its methods that take streams."""
    cors: Final[Mapping[str, str]] = {}

    methods: Mapping[str, Callable[[Exchange], Operation]]
    """What `route` calls, by the method's short name."""

    def takes(self, exchange: Exchange) -> bool:
        """The methods of its service that it knows."""
        service, _, method = exchange.target.removeprefix("/").partition("/")
        return service == self.service and method in self.methods

    def route(self, exchange: Exchange) -> Operation:
        """Ask the method."""
        return self.methods[exchange.target.rpartition("/")[2]](exchange)

    def parsed_size(self, operation: Infer, exchange: Exchange) -> int:
        """The whole body, in bytes of JSON that would take as long."""
        return len(exchange.body) // CHEAPER

    def decode(self, operation: Infer, exchange: Exchange, find: FindModel) -> InferenceRequest:
        """For services whose methods are calls only, which never come here."""
        raise self._infers_nothing()

    def printed_size(self, request: InferenceRequest, response: InferenceResponse) -> int:
        """Every element, in elements of JSON that would take as long."""
        return sum(array.size for array in response.outputs.values()) // CHEAPER

    def encode(self, request: InferenceRequest, response: InferenceResponse) -> Answer:
        """For services whose methods are calls only, which never come here."""
        raise self._infers_nothing()

    def error(self, error: ServingError) -> Answer:
        """Tell the code, and a text that is not too long."""
        return Answer(error.code.grpc_status, str(error).encode()[:LONGEST_ERROR], PROTOBUF)

    def paths(self, models: Sequence[ServedModel]) -> Mapping[str, Any]:
        """None: OpenAPI describes HTTP."""
        return {}

    def _infers_nothing(self) -> ServingError:
        return Unimplemented(f"{self.service} infers nothing")


def reply(message: Any) -> Answer:
    """A good answer, from its message."""
    return Answer(0, message.SerializeToString(), PROTOBUF)
