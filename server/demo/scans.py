"""The scans of handwritten digits, split once and for all: training and held out. Any thread."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

Scans: TypeAlias = NDArray[np.float32]
"""[n, 8, 8], grey values 0 to 16."""
Labels: TypeAlias = NDArray[np.int64]
"""[n], 0 to 9."""


def training() -> tuple[Scans, Labels]:
    """Return the four fifths the model learns from."""
    scans, _, labels, _ = _split()
    return scans, labels


def held_out() -> tuple[Scans, Labels]:
    """Return the fifth the model never sees while it is trained."""
    _, scans, _, labels = _split()
    return scans, labels


def _split() -> tuple[Scans, Scans, Labels, Labels]:
    digits = load_digits()
    scans = digits.images.astype(np.float32)
    labels = digits.target.astype(np.int64)
    seen, unseen, seen_labels, unseen_labels = train_test_split(
        scans, labels, test_size=0.2, random_state=0, stratify=labels
    )
    return seen, unseen, seen_labels, unseen_labels
