"""Loops in C, where the library with them was built.

Every function returns None where it was not, and its caller does the same in Python. Numbers are
unsigned and of 16 bits, in arrays.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from ctypes import byref, c_uint16, c_uint32
from functools import cache
from pathlib import Path
from typing import Any

_LIBRARY = Path(__file__).with_name("_native.so")
_FREE = 0xFFFF


@cache
def _library() -> Any | None:
    try:
        # Not CDLL: to let go of the interpreter's lock for so short a time may cost milliseconds
        # until it is had again, where another thread is busy.
        return ctypes.PyDLL(str(_LIBRARY))
    except OSError:
        return None


def is_built() -> bool:
    """Return whether the library is there."""
    return _library() is not None


def fill_table(walks: list[tuple[int, int]], turns: array[int], size: int) -> array[int] | None:
    """Return which owner each slot has.

    Args:
        walks: of each owner, where its walk over the slots starts and how far each step goes.
        turns: whose turn it is, once for each slot.
        size: how many slots there are.
    """
    library = _library()
    if library is None:
        return None
    positions = (c_uint32 * len(walks))(*(offset for offset, _ in walks))
    skips = (c_uint32 * len(walks))(*(skip for _, skip in walks))
    table = array("H", [_FREE]) * size
    library.pydsr_maglev_fill(c_uint32(size), positions, skips, _at(turns), _at(table))
    return table


def part_slots(slots: Any, size: int) -> tuple[array[int], array[int]] | None:
    """Return the current and previous owners in the bytes of slots, a ctypes array."""
    library = _library()
    if library is None:
        return None
    current, previous = _numbers(size), _numbers(size)
    library.pydsr_slots_part(c_uint32(size), byref(slots), _at(current), _at(previous))
    return current, previous


def join_slots(current: array[int], previous: array[int], slots: Any) -> bool | None:
    """Write current and previous owners into the bytes of slots, a ctypes array."""
    library = _library()
    if library is None:
        return None
    library.pydsr_slots_join(c_uint32(len(current)), _at(current), _at(previous), byref(slots))
    return True


def name_owners(owners: array[int], ids: Sequence[int]) -> array[int] | None:
    """Return ids in the place of owners' numbers."""
    library = _library()
    if library is None:
        return None
    named = _numbers(len(owners))
    table = (c_uint16 * len(ids))(*ids)
    library.pydsr_slots_name(c_uint32(len(owners)), _at(owners), table, _at(named))
    return named


def count_slots(values: array[int], value: int) -> int | None:
    """Return how many slots have a value."""
    library = _library()
    if library is None:
        return None
    return int(library.pydsr_slots_count(c_uint32(len(values)), _at(values), c_uint16(value)))


def count_moved(before: array[int], after: array[int]) -> int | None:
    """Return how many slots had an owner, and have another."""
    library = _library()
    if library is None:
        return None
    return int(library.pydsr_slots_moved(c_uint32(len(before)), _at(before), _at(after)))


def follow_slots(
    owners: array[int],
    old_owners: array[int],
    old_previous: array[int],
    keeping: bytearray,
    learning: bool,
) -> tuple[array[int], bool] | None:
    """Return the previous owners after a change, and whether any slot has one.

    Args:
        owners: of each slot, after the change.
        old_owners: before it.
        old_previous: the previous owners before it.
        keeping: for each id, 1 where that backend keeps the flows it has, and else 0.
        learning: whether slots still learn from an earlier change.
    """
    library = _library()
    if library is None:
        return None
    previous = array("H", old_previous)
    learns = library.pydsr_slots_follow(
        c_uint32(len(owners)),
        _at(owners),
        _at(old_owners),
        _at(previous),
        _at(keeping),
        c_uint32(learning),
    )
    return previous, bool(learns)


def rest_slots(
    old_previous: array[int], held: bytearray, learning: bool
) -> tuple[array[int], int] | None:
    """Return the previous owners after slots have come to rest, and how many have.

    Args:
        old_previous: those before.
        held: of each slot, 1 where a record keeps it from resting, and else 0.
        learning: whether slots with a previous owner still learn.
    """
    library = _library()
    if library is None:
        return None
    previous = array("H", old_previous)
    rested = library.pydsr_slots_rest(
        c_uint32(len(previous)), _at(previous), _at(held), c_uint32(learning)
    )
    return previous, int(rested)


def _numbers(size: int) -> array[int]:
    # From bytes, array would take fifty times as long.
    return array("H", [0]) * size


def _at(numbers: array[int] | bytearray) -> Any:
    """Return where numbers are; there must be one at least."""
    return byref(ctypes.c_char.from_buffer(numbers))
