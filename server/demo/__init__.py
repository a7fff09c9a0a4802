"""The bundled handwritten-digit model, named by folder; plain constants, safe on any thread."""

import pathlib
from typing import Final

DIGITS: Final = pathlib.Path(__file__).with_name("digits")
