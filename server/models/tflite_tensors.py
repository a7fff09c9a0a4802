"""What an input or output of a .tflite file is, outside of it and inside. Runs on the model thread.

A file may hold small integers in place of numbers: number = scale * (integer - zero point). Such a
tensor is float32 to clients, so that they need not know whether a model was quantized; what is
beyond the range of its integers becomes the nearest that is in it. Other integers stay as they are.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from server.model import InputRejected
from server.signature import NUMPY_DTYPES, Array, Shape, TensorSpec

QUANTIZED_DTYPES: Final = ("int8", "uint8", "int16")


@dataclass(frozen=True, slots=True)
class Quantization:
    """How a tensor's integers stand for numbers."""

    scale: float
    zero_point: int
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.dtype}, scale {self.scale:.6g}, zero point {self.zero_point}"

    def quantize(self, name: str, numbers: Array) -> Array:
        """float32 of any shape to integers, the nearest that there are. InputRejected for NaN."""
        limits = np.iinfo(self.dtype)
        with np.errstate(over="ignore"):
            scaled = numbers / np.float32(self.scale)
        np.rint(scaled, out=scaled)
        scaled += np.float32(self.zero_point)
        np.clip(scaled, limits.min, limits.max, out=scaled)
        # The least of them is NaN if any of them is, which no integer stands for.
        if scaled.size and math.isnan(scaled.min()):
            msg = f"input {name!r} is quantized to {self.dtype} and cannot hold NaN"
            raise InputRejected(msg)
        return scaled.astype(self.dtype)

    def dequantize(self, integers: Array) -> Array:
        """Integers of any shape to float32."""
        numbers: Array = integers.astype(np.float32)
        numbers -= np.float32(self.zero_point)
        numbers *= np.float32(self.scale)
        return numbers


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output: as clients have it, and how the file holds it."""

    spec: TensorSpec
    index: int
    quantization: Quantization | None

    def to_file(self, array: Array) -> Array:
        """From a client's array to that of the file. InputRejected."""
        quantization = self.quantization
        return quantization.quantize(self.spec.name, array) if quantization else array

    def from_file(self, array: Array) -> Array:
        """From an array of the file to a client's."""
        return self.quantization.dequantize(array) if self.quantization else array

    def zeros(self) -> Array:
        """One row of zeros, as the file holds it; 1 for each dimension of any size."""
        dtype = self.quantization.dtype if self.quantization else self.spec.numpy_dtype
        sizes = [1 if size is None else size for size in self.spec.shape or ()]
        return np.full(sizes, b"" if dtype.kind == "O" else 0, dtype)


def tensor_of(name: str, details: Mapping[str, Any]) -> Tensor:
    """A tensor as LiteRT describes it. ValueError if no protocol can carry it."""
    dtype = np.dtype(details["dtype"])
    stored = "string" if dtype.kind == "S" else dtype.name
    if stored not in NUMPY_DTYPES | {"string"}:
        msg = f"tensor {name!r} has a dtype that cannot be served: {stored}"
        raise ValueError(msg)
    quantization = _quantization(name, dtype, details["quantization_parameters"])
    spec = TensorSpec(
        name, "float32" if quantization else stored, _shape(details), str(details["name"])
    )
    return Tensor(spec, int(details["index"]), quantization)


def _quantization(
    name: str, dtype: np.dtype[Any], parameters: Mapping[str, Any]
) -> Quantization | None:
    scales = parameters["scales"]
    if not len(scales) or dtype.name not in QUANTIZED_DTYPES:
        return None
    if len(scales) > 1:
        msg = f"tensor {name!r} is quantized with a scale for each channel, expected one scale"
        raise ValueError(msg)
    scale = float(scales[0])
    if not (math.isfinite(scale) and scale > 0):
        msg = f"tensor {name!r} is quantized with the scale {scale}, expected more than 0"
        raise ValueError(msg)
    return Quantization(scale, int(parameters["zero_points"][0]), dtype)


def _shape(details: Mapping[str, Any]) -> Shape:
    """The shape, None for a dimension that the file says to be of any size.

    A dimension of 1 is not taken for a batch, though LiteRT would change it if it were told to: the
    graph may have been made for one row, and mix several or fail.
    """
    return tuple(None if size < 0 else int(size) for size in details["shape_signature"])


def names_of(details: Sequence[Mapping[str, Any]], otherwise: str) -> list[str]:
    """Names for the tensors of a file without signatures: valid and unique.

    They are those of its graph, without what TensorFlow adds to the first output of an operation.
    """
    names: list[str] = []
    for each in details:
        plain = re.sub(r"[^\w./-]", "_", str(each["name"]).removesuffix(":0")) or otherwise
        name, number = plain, 1
        while name in names:
            number += 1
            name = f"{plain}_{number}"
        names.append(name)
    return names
