"""The library with the loops over slots in C (``maglev.c``, ``slots.c``).

It is missing if there was no C compiler at installation; the callers' Python loops then do the
same. Slots and owners are arrays of unsigned 16-bit numbers.
"""

from __future__ import annotations

import ctypes
from array import array
from ctypes import byref
from functools import cache
from pathlib import Path
from typing import Any

_LIBRARY = Path(__file__).with_name("_native.so")


@cache
def library() -> Any | None:
    """Return the library, or None if it was not built."""
    try:
        # CDLL would release the interpreter's lock during each call. While another thread computes,
        # 200 short calls then take 0.5 s (0.15 s with the daemon's switch interval).
        return ctypes.PyDLL(str(_LIBRARY))
    except OSError:
        return None


def is_built() -> bool:
    """Return whether the library exists."""
    return library() is not None


def zeros(size: int) -> array[int]:
    """Return an array of zeros; made from bytes it would take fifty times as long."""
    return array("H", [0]) * size


def at(numbers: array[int] | bytearray) -> Any:
    """Return the address of an array, which must not be empty."""
    return byref(ctypes.c_char.from_buffer(numbers))
