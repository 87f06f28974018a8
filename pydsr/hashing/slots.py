"""Operations on all slots of a table: layout for the kernel, counts, follow and rest. Pure.

A table has 65,537 slots, so the loops are in C (``slots.c``). The Python loops beside the calls do
the same if the C library is missing.
"""

from __future__ import annotations

import ctypes
import sys
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from ctypes import byref, c_uint16, c_uint32
from typing import Any

from pydsr.hashing import c_library
from pydsr.hashing.c_library import at, zeros

NO_BACKEND = 0
"""The value of a slot while no backend has a weight; ids of backends start at 1."""

MAX_BACKEND_ID = 0xFFFF
"""Slots are 16 bits wide."""

LOOK_UP_ONLY = 0xFFFF
"""The previous owner of a slot without older flows to learn: all its flows have records."""

_OCTETS = 2
_BYTE_VALUES = 256


def at_rest(size: int) -> array[int]:
    """Return the previous owners of slots that are all at rest."""
    return array("H", [NO_BACKEND]) * size


def part(slots: Any, size: int) -> tuple[array[int], array[int]]:
    """Return the current and the previous owners.

    Args:
        slots: a ctypes array that mirrors ``struct slot[size]``.
        size: the number of slots.
    """
    library = c_library.library()
    if library is None:
        numbers = array("H", bytes(slots))
        return numbers[0::2], numbers[1::2]
    current, previous = zeros(size), zeros(size)
    library.pydsr_slots_part(c_uint32(size), byref(slots), at(current), at(previous))
    return current, previous


def join(current: array[int], previous: array[int], slots: Any) -> None:
    """Write the current and the previous owners into the array that :func:`part` reads."""
    library = c_library.library()
    if library is not None:
        library.pydsr_slots_join(c_uint32(len(current)), at(current), at(previous), byref(slots))
        return
    octets = bytearray(2 * _OCTETS * len(current))
    for position, numbers in enumerate((current, previous)):
        # Octet by octet is three times faster than by 16-bit numbers.
        for octet in range(_OCTETS):
            octets[_OCTETS * position + octet :: 2 * _OCTETS] = numbers.tobytes()[octet::_OCTETS]
    ctypes.memmove(slots, bytes(octets), len(octets))


def name_owners(owners: array[int], ids: Sequence[int]) -> array[int]:
    """Return the table with ids instead of the owners' numbers."""
    library = c_library.library()
    if library is None:
        return _name_owners(owners, ids)
    named = zeros(len(owners))
    table = (c_uint16 * len(ids))(*ids)
    library.pydsr_slots_name(c_uint32(len(owners)), at(owners), table, at(named))
    return named


def _name_owners(owners: array[int], ids: Sequence[int]) -> array[int]:
    if len(ids) > _BYTE_VALUES:
        return array("H", map(ids.__getitem__, owners))
    # Translating bytes is a hundred times faster than looking up each slot.
    numbers = owners.tobytes()[0 if sys.byteorder == "little" else 1 :: 2]
    packed = array("H", ids).tobytes()
    unused = bytes(_BYTE_VALUES - len(ids))
    slots = bytearray(2 * len(owners))
    slots[0::2] = numbers.translate(packed[0::2] + unused)
    slots[1::2] = numbers.translate(packed[1::2] + unused)
    return array("H", bytes(slots))


def count(values: array[int], value: int) -> int:
    """Return how many slots have a value."""
    library = c_library.library()
    if library is None:
        return values.count(value)
    return int(library.pydsr_slots_count(c_uint32(len(values)), at(values), c_uint16(value)))


def count_moved(before: array[int], after: array[int]) -> int:
    """Return how many slots had an owner and now have another."""
    library = c_library.library()
    if library is None:
        slots = zip(before, after, strict=True)
        return sum(1 for old, new in slots if old not in (NO_BACKEND, new))
    return int(library.pydsr_slots_moved(c_uint32(len(before)), at(before), at(after)))


def follow(
    owners: array[int],
    old_owners: array[int],
    old_previous: array[int],
    keeping: Collection[int],
    learning: bool,
) -> tuple[array[int], bool]:
    """Return the previous owner of each slot after a change, and whether any slot has one.

    Args:
        owners: the owner of each slot after the change.
        old_owners: the owners before it.
        old_previous: the previous owners before it.
        keeping: the backends that keep the flows they have.
        learning: whether slots are still learning from an earlier change.
    """
    library = c_library.library()
    if library is None:
        return _follow(owners, old_owners, old_previous, keeping, learning)
    previous = array("H", old_previous)
    learns = library.pydsr_slots_follow(
        c_uint32(len(owners)),
        at(owners),
        at(old_owners),
        at(previous),
        at(_flags(keeping, MAX_BACKEND_ID + 1)),
        c_uint32(learning),
    )
    return previous, bool(learns)


def _follow(
    owners: array[int],
    old_owners: array[int],
    old_previous: array[int],
    keeping: Collection[int],
    learning: bool,
) -> tuple[array[int], bool]:
    def slots() -> Iterator[tuple[int, int, int]]:
        return zip(owners, old_owners, old_previous, strict=True)

    # There are many slots, but few different ones.
    kept = {slot: _previous_after(*slot, learning, keeping) for slot in set(slots())}
    previous = array("H", map(kept.__getitem__, slots()))
    return previous, bool(set(kept.values()) - {NO_BACKEND, LOOK_UP_ONLY})


def _previous_after(
    owner: int, old_owner: int, old_previous: int, learning: bool, keeping: Collection[int]
) -> int:
    """Return the previous backend of one slot after a change: the one with its oldest flows."""
    if learning and old_previous not in (NO_BACKEND, LOOK_UP_ONLY):
        # Flows not seen since the earlier change are still on its previous owner; the owner's own
        # flows have records.
        oldest = old_previous
    else:
        # At rest, all flows are the owner's; after learning, all flows without a record.
        oldest = old_owner
    if oldest in keeping and oldest != owner:
        return oldest
    return NO_BACKEND if old_previous == NO_BACKEND else LOOK_UP_ONLY


def rest(
    owners: array[int],
    old_previous: array[int],
    recorded: Mapping[int, Collection[int]],
    keeping: Collection[int],
    learning: bool,
) -> tuple[array[int], int]:
    """Bring slots to rest; return the previous owner of each slot, and how many came to rest.

    Args:
        owners: the owner of each slot.
        old_previous: the previous owners before.
        recorded: by slot, the backends that its live flow records name.
        keeping: the backends that keep the flows they have.
        learning: whether slots with a previous owner are still learning.
    """
    tracked = {
        slot
        for slot, backends in recorded.items()
        if any(backend != owners[slot] and backend in keeping for backend in backends)
    }
    previous = array("H", old_previous)
    library = c_library.library()
    if library is None:
        return previous, _rest(previous, tracked, learning)
    rested = library.pydsr_slots_rest(
        c_uint32(len(previous)), at(previous), at(_flags(tracked, len(owners))), c_uint32(learning)
    )
    return previous, int(rested)


def _rest(previous: array[int], tracked: Collection[int], learning: bool) -> int:
    rested = 0
    for slot, older in enumerate(previous):
        if older == NO_BACKEND or slot in tracked or (learning and older != LOOK_UP_ONLY):
            continue
        previous[slot] = NO_BACKEND
        rested += 1
    return rested


def _flags(numbers: Collection[int], size: int) -> bytearray:
    flags = bytearray(size)
    for number in numbers:
        flags[number] = 1
    return flags
