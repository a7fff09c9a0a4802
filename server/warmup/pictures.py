"""The smallest pictures that decoders take, of one grey level: PNG and JPEG. Pure."""

import math
import struct
import zlib

BLOCK = 8
"""Pixels of the side of what a JPEG is made of."""


def png(side: int, level: int) -> bytes:
    """A PNG of `side` x `side` pixels in RGB, each of this level (0 to 255)."""
    line = b"\0" + bytes([level] * 3) * side
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(line * side)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def jpeg(side: int, *, bright: bool) -> bytes:
    """A grey JPEG of `side` x `side` pixels, bright (184) or dark (72).

    A block is its mean and no details, and only the first one says it: 7 steps of 8 levels above or
    below the middle. The others say that theirs is the same, in two bits.
    """
    steps = bytes([0, *[64] * 64])
    frame = struct.pack(">BHHBBBB", 8, side, side, 1, 1, 0x11, 0)
    # Of means: no change is 0, one of three bits is 10 and these bits. Of details: none is 0.
    means = bytes([0x00, 1, 1, *[0] * 14, 0, 3])
    details = bytes([0x10, 1, *[0] * 15, 0])
    scan = bytes([1, 1, 0, 0, 63, 0])
    segments = ((0xDB, steps), (0xC0, frame), (0xC4, means), (0xC4, details), (0xDA, scan))
    blocks = math.ceil(side / BLOCK) ** 2
    bits = "10" + ("111" if bright else "000") + "0" + "00" * (blocks - 1)
    # The last octet is filled up with ones.
    bits += "1" * (-len(bits) % 8)
    content = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return b"\xff\xd8" + b"".join(map(_segment, segments)) + content + b"\xff\xd9"


def _segment(marked: tuple[int, bytes]) -> bytes:
    marker, content = marked
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
