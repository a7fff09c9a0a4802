"""What schemathesis cannot know of these protocols, for `schemathesis.toml`."""

import itertools
import json
import math
from typing import Any

import schemathesis
from hypothesis import strategies as st

TIMEOUT = "X-Request-Timeout-Ms"
JSON_LENGTH = "Inference-Header-Content-Length"
BINARY = ("application/octet-stream", "application/x-npy", "application/x-npz", "application/zip")

_calls = itertools.count()


@schemathesis.hook
def before_call(_: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Give most requests time, and most JSON its whole body, or few would reach a model."""
    if next(_calls) % 8 == 0:
        return
    if _is_number(case.headers.get(TIMEOUT)):
        case.headers[TIMEOUT] = "10000"
    if _is_number(case.headers.get(JSON_LENGTH)) and not isinstance(case.body, bytes):
        del case.headers[JSON_LENGTH]


def _is_number(text: Any) -> bool:
    try:
        return float(text) >= 0
    except (TypeError, ValueError):
        return False


@schemathesis.hook
def filter_failure(_: Any, failure: Any, case: Any, response: Any) -> bool:
    """Headers that nobody described are no mistake, whatever is in them."""
    return "in header" not in failure.message


@schemathesis.deserializer("application/json")
def read_json(_: Any, response: Any) -> Any:
    """As protocols write it: NaN and the infinities are tokens, and stand where numbers may."""
    return json.loads(response.content, parse_constant=lambda _: 0.0)


@schemathesis.deserializer(*BINARY, "text/plain")
def read_nothing(_: Any, response: Any) -> None:
    """What is no JSON has no schema."""


def _npy(code: str, shape: list[int]) -> bytes:
    """A file of ones, if its elements have 4 bytes; otherwise its length is wrong."""
    sizes = "".join(f"{size}," for size in shape)
    header = f"{{'descr': '{code}', 'fortran_order': False, 'shape': ({sizes}), }}\n".encode()
    elements = b"\0\0\x80?" * math.prod(shape)
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + elements


_NPY = st.builds(
    _npy,
    st.sampled_from(["<f4", "<i4", ">f4", "<f8", "|b1", "|O"]),
    st.lists(st.integers(0, 8), max_size=4),
)
_ROWS = st.builds(
    lambda row, rows: row * rows, st.binary(min_size=4, max_size=4), st.integers(0, 128)
)

for media in BINARY:
    schemathesis.openapi.media_type(media, _NPY | _ROWS | st.binary(max_size=64))
