"""Writes models of all kinds of tensors to a folder, each below its name."""

import sys
from pathlib import Path

from tests.server import saved_models

MAKERS = (
    saved_models.half_plus_two,
    saved_models.two_by_two,
    saved_models.every_dtype,
    saved_models.odd_ones,
    saved_models.words,
    saved_models.examples,
    saved_models.left_out,
)

for make in MAKERS:
    make(Path(sys.argv[1]) / make.__name__)
