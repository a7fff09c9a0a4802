"""Pictures as tensors: upright, made to size, in the levels that a model wants. Any thread."""

import io
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from server.config import ConfigError
from server.signature import Array, TensorSpec

if TYPE_CHECKING:
    from PIL import Image

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Channels -> what Pillow calls such pictures."""

_GREY, _COLOURED = 3, 4
"""Dimensions of [rows, height, width], and of these with channels."""

_WHITE = 255


class Levels(NamedTuple):
    """What black and white are to the model."""

    black: float = 0.0
    white: float = 255.0

    @classmethod
    def parse(cls, text: str) -> "Levels":
        """Read `BLACK:WHITE`. ConfigError."""
        black, colon, white = text.partition(":")
        try:
            if colon:
                return cls(float(black), float(white))
        except ValueError:
            pass
        msg = f"--pixels takes BLACK:WHITE, such as 0:1, not {text!r}"
        raise ConfigError(msg)


def pixels(content: bytes, path: str, spec: TensorSpec, levels: Levels) -> Array:
    """One row: the picture in the shape of an input; or its bytes, for an input of strings."""
    if spec.dtype == "string":
        return np.array([content], object)
    height, width, channels = _size(spec, path)
    picture = _opened(content, path, _MODES[channels])
    if (picture.height, picture.width) != (height or picture.height, width or picture.width):
        picture = picture.resize((width or picture.width, height or picture.height), _smooth())
    array = np.asarray(picture, np.float64) / _WHITE * (levels.white - levels.black) + levels.black
    if spec.shape is not None and len(spec.shape) == _COLOURED:
        array = array.reshape(*array.shape[:2], channels)
    wanted = spec.numpy_dtype
    if wanted.kind in "iu":
        limits = np.iinfo(wanted)
        array = np.clip(np.rint(array), limits.min, limits.max)
    return array[np.newaxis].astype(wanted)


def _size(spec: TensorSpec, path: str) -> tuple[int | None, int | None, int]:
    """Height, width and channels that an input wants. ConfigError if it wants no pictures."""
    shape = spec.shape or ()
    channels = shape[3] if len(shape) == _COLOURED else 1
    if len(shape) not in (_GREY, _COLOURED) or spec.numpy_dtype.kind not in "iufV":
        msg = (
            f"{path} is neither JSON nor arrays, and input {spec.name!r} takes no pictures,"
            f" which are [-1,height,width] or [-1,height,width,channels]: it is {spec}"
        )
        raise ConfigError(msg)
    if channels is None:
        channels = 3
    if channels not in _MODES:
        msg = f"input {spec.name!r} is {spec}: pictures have 1, 3 or 4 channels"
        raise ConfigError(msg)
    return shape[1], shape[2], channels


def _opened(content: bytes, path: str, mode: str) -> "Image.Image":
    """The picture as a viewer shows it. ConfigError."""
    try:
        from PIL import Image, ImageOps  # noqa: PLC0415 - only pictures need it
    except ImportError:
        msg = f"to send {path} as a picture takes Pillow: pip install 'batcher[client]'"
        raise ConfigError(msg) from None
    try:
        with Image.open(io.BytesIO(content)) as opened:
            picture: Image.Image = ImageOps.exif_transpose(opened)
            if picture.has_transparency_data and mode != "RGBA":
                # On white paper, as viewers show it.
                picture = picture.convert("RGBA")
                paper = Image.new("RGBA", picture.size, "white")
                picture = Image.alpha_composite(paper, picture)
            return picture.convert(mode)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        msg = f"{path} is neither JSON, arrays nor a picture that can be read: {error}"
        raise ConfigError(msg) from None


def _smooth() -> Any:
    """How pixels become others: by their surroundings, as large as a new pixel is."""
    from PIL import Image  # noqa: PLC0415 - only pictures need it

    return Image.Resampling.BILINEAR
