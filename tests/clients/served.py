"""The server that `.ci/clients/run` started for one environment, and what its models answer."""

import os
import re
from dataclasses import dataclass

import pytest

# Real scans of a zero and a one, grey values from 0 to 16, from the scikit-learn data set.
ZERO = """
    0 0 5 13 9 1 0 0    0 0 13 15 10 15 5 0    0 3 15 2 0 11 8 0    0 4 12 0 0 8 8 0
    0 5 8 0 0 9 8 0     0 4 11 0 1 12 7 0      0 2 14 5 10 12 0 0   0 0 6 13 10 0 0 0
"""
ONE = """
    0 0 0 12 13 5 0 0   0 0 0 11 16 9 0 0      0 0 3 15 16 6 0 0    0 7 15 16 16 2 0 0
    0 0 1 16 16 3 0 0   0 0 1 16 16 6 0 0      0 0 1 16 16 6 0 0    0 0 0 11 16 10 0 0
"""
PIXELS = [[float(grey) for grey in scan.split()] for scan in (ZERO, ONE)]
DIGITS = [0, 1]

TEXTS = ["Grüße".encode(), b"", b"a b"]
LENGTHS = [7, 0, 3]


@dataclass(frozen=True)
class Served:
    """Where it listens: `http` and `grpc` are host and port."""

    http: str
    grpc: str


def served_to(client: str) -> Served:
    """The server of this environment; in any other one, the calling module is skipped."""
    if os.environ.get("BATCHER_CLIENT") != client:
        pytest.skip(f"has its own environment: .ci/clients/run {client}", allow_module_level=True)
    places = dict(re.findall(r"(http|grpc)://([\w.:]+)", os.environ["BATCHER_ANNOUNCEMENT"]))
    return Served(**places)
