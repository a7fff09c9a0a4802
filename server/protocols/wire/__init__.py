"""The protobuf messages of gRPC, in a descriptor pool of their own. Pure.

Any number of packages bring the same messages under other file names (tritonclient, kserve,
tensorflow-serving-api), which the default pool of a process refuses: so nothing here touches it.
The `.proto` files beside this one hold what this server uses of them. `wire.binpb` is their
compiled form, which every version of protobuf reads; made in their folder by

    python -m grpc_tools.protoc -I . --include_imports --descriptor_set_out=wire.binpb *.proto
"""

import difflib
import re
from importlib.resources import files
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import DecodeError as Unreadable

from server.errors import DecodeError

_POOL: Final = descriptor_pool.DescriptorPool()

_PLACE: Final = re.compile(r"^\d+:\d+ : ")
_NO_FIELD: Final = re.compile(r'Message type "([\w.]+)" has no field named "(\w+)"')

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


def parse_text(kind: Any, text: str) -> Any:
    """Read a message of this class in protobuf's text form. DecodeError names the line."""
    try:
        return text_format.Parse(text, kind(), descriptor_pool=_POOL)
    except text_format.ParseError as error:
        told = _PLACE.sub("", str(error)).strip()
        place = "" if error.GetLine() is None else f"line {error.GetLine()}: "
        msg = f"{place}{told}{_nearest(told)}"
        raise DecodeError(msg) from error


def _nearest(told: str) -> str:
    """What a field that a message does not have may have been meant for."""
    found = _NO_FIELD.search(told)
    if found is None:
        return ""
    fields = _POOL.FindMessageTypeByName(found[1]).fields_by_name
    close = difflib.get_close_matches(found[2], list(fields), 1)
    return f" Did you mean {close[0]!r}?" if close else f" It has: {', '.join(fields)}."
