"""Which names of compressions are understood, and what is inflated of them."""

import gzip
import zlib

import pytest

from server.compression import compress, inflate
from server.errors import DecodeError, TooLarge, UnsupportedEncoding

BODY = b'{"instances": [1.0]}' * 10


@pytest.mark.parametrize(
    "encoding", ["gzip", "GZIP", " gzip ", "x-gzip", "X-GZip", "gzip, identity", "identity,gzip,"]
)
def test_gzip_has_many_names(encoding: str) -> None:
    assert inflate(gzip.compress(BODY), encoding, 1000) == BODY


@pytest.mark.parametrize("encoding", ["", "identity", "Identity", ",", "identity, identity"])
def test_what_is_not_compressed_stays_as_it_is(encoding: str) -> None:
    assert inflate(BODY, encoding, 1) == BODY


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "deflate, gzip", "x-deflate", "gzip2"])
def test_what_is_not_known_is_refused_by_its_name(encoding: str) -> None:
    with pytest.raises(UnsupportedEncoding, match=f"{encoding!r} is not supported"):
        inflate(gzip.compress(BODY), encoding, 1000)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_no_more_than_the_limit_is_inflated(encoding: str) -> None:
    body = compress(b" " * 1001, encoding)
    assert inflate(body, encoding, 1001) == b" " * 1001
    with pytest.raises(TooLarge):
        inflate(body, encoding, 1000)


@pytest.mark.parametrize(
    ("body", "encoding", "told"),
    [
        (BODY, "gzip", "is not gzip"),
        (BODY, "deflate", "is not deflate"),
        (zlib.compress(BODY), "gzip", "is not gzip"),
        (gzip.compress(BODY)[:-1], "gzip", "ends too early"),
        (gzip.compress(BODY) + b"x", "gzip", "bytes follow its end"),
        (b"", "gzip", "ends too early"),
    ],
)
def test_a_corrupt_body_is_told(body: bytes, encoding: str, told: str) -> None:
    with pytest.raises(DecodeError, match=told):
        inflate(body, encoding, 1000)
