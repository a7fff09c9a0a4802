"""The protobuf messages of gRPC, in a descriptor pool of their own. Pure.

Any number of packages bring the same messages under other file names (tritonclient, kserve,
tensorflow-serving-api), which the default pool of a process refuses: so nothing here touches it.
The `.proto` files beside this one hold what this server uses of them. `wire.binpb` is their
compiled form, which every version of protobuf reads; made in their folder by

    python -m grpc_tools.protoc -I . --include_imports --descriptor_set_out=wire.binpb *.proto
"""

from importlib.resources import files
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError as Unreadable

from server.errors import DecodeError

_POOL: Final = descriptor_pool.DescriptorPool()

for _file in descriptor_pb2.FileDescriptorSet.FromString(
    files(__name__).joinpath("wire.binpb").read_bytes()
).file:
    _POOL.Add(_file)


def message(name: str) -> Any:
    """The class of a message by its full name, such as "inference.ModelInferRequest"."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(name))


def parse(kind: Any, body: bytes) -> Any:
    """Read a message of this class. DecodeError."""
    try:
        return kind.FromString(body)
    except Unreadable as error:
        msg = f"the {len(body)} bytes of the body are not a {kind.DESCRIPTOR.full_name}"
        raise DecodeError(msg) from error
