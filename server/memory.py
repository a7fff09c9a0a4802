"""Memory that the C library keeps for the next allocation, and gives back when told to. Any thread.

A model's batch takes and frees tens of megabytes a time. Left to itself, the C library gets blocks
so large from the system each time anew, and fills them with zeros: a batch of 64 images took 1.4
times as long. TensorFlow would rather keep them in a pool of its own, which never gives anything
back: what an unloaded model held stays taken. So the C library keeps them, as a pool that can be
emptied: as fast as TensorFlow's (within noise), and empty when a model has gone.
"""

import ctypes
from typing import Any, Final

_TRIM_THRESHOLD: Final = -1
_MMAP_MAX: Final = -4
_ARENA_MAX: Final = -8

KEPT: Final = 512 * 2**20
"""Bytes at the end of the heap that may be free without being given back at once."""


def _c_library() -> Any:
    library = ctypes.CDLL(None)
    # Only GNU's has both; elsewhere memory is left to itself.
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


_library: Final = _c_library()


def use_one_heap() -> None:
    """All threads allocate from one heap. Only before other threads have begun to.

    Each would have a heap of its own otherwise, whose end is never given back: after 100 versions
    of 16 MB, 40 MB of none of them were left (`python -m bench switch`).
    """
    if _library is not None:
        _library.mallopt(_ARENA_MAX, 1)


def keep_large_blocks() -> bool:
    """From now on large blocks stay for the next allocation; False where that cannot be asked."""
    if _library is None:
        return False
    return bool(_library.mallopt(_MMAP_MAX, 0)) and bool(_library.mallopt(_TRIM_THRESHOLD, KEPT))


def give_back() -> None:
    """Return to the system whatever is free."""
    if _library is not None:
        _library.malloc_trim(0)
