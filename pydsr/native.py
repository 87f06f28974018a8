"""The loop of :mod:`pydsr.maglev` in C, where the library with it was built."""

from __future__ import annotations

import ctypes
from array import array
from functools import cache
from pathlib import Path
from typing import Any

_LIBRARY = Path(__file__).with_name("_maglev.so")
_FREE = b"\xff\xff"


@cache
def _fill() -> Any | None:
    try:
        return ctypes.CDLL(str(_LIBRARY)).pydsr_maglev_fill
    except (OSError, AttributeError):
        return None


def fill_table(walks: list[tuple[int, int]], turns: array[int], size: int) -> array[int] | None:
    """Return which owner each slot has, or None where the library was not built.

    Args:
        walks: of each owner, where its walk over the slots starts and how far each step goes.
        turns: whose turn it is, once for each slot, as unsigned 16-bit numbers.
        size: how many slots there are.
    """
    fill = _fill()
    if fill is None:
        return None
    positions = (ctypes.c_uint32 * len(walks))(*(offset for offset, _ in walks))
    skips = (ctypes.c_uint32 * len(walks))(*(skip for _, skip in walks))
    table = bytearray(_FREE * size)
    fill(
        ctypes.c_uint32(size),
        positions,
        skips,
        (ctypes.c_uint16 * size).from_buffer(turns),
        (ctypes.c_uint16 * size).from_buffer(table),
    )
    return array("H", bytes(table))
