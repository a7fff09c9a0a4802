"""How the numbers of a model may be held in fewer bytes; plain constants. Pure."""

from typing import Final

NONE: Final = "none"
FLOAT16: Final = "float16"
DYNAMIC: Final = "dynamic"
INT8: Final = "int8"

QUANTIZATIONS: Final = (NONE, FLOAT16, DYNAMIC, INT8)
"""What becomes of float32: it is kept; weights have half the bytes; weights have one byte, and so
have the numbers they are multiplied with, whose range is found anew in each run; all has one byte,
inputs and outputs too, with ranges found beforehand."""
