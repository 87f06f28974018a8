"""All slots of a table at once: laid out for the kernel, counted, followed, brought to rest. Pure.

A table has 65,537 slots. So the loops are in C, where that was built; those in Python beside it say
what is meant.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydsr.hashing import c_library
from pydsr.hashing.maglev import MAX_BACKEND_ID, NO_BACKEND

LOOK_UP_ONLY = 0xFFFF
"""In place of a previous backend: flows have records, and there are no older ones to learn."""

_OCTETS = 2


def at_rest(size: int) -> array[int]:
    """Return the previous owners of slots of which every one is at rest."""
    return array("H", [NO_BACKEND]) * size


def part(slots: Any, size: int) -> tuple[array[int], array[int]]:
    """Return the current and previous owner of each slot.

    Args:
        slots: a ctypes array that mirrors ``struct slot[size]``.
        size: how many there are.
    """
    return c_library.part_slots(slots, size) or _part(slots)


def _part(slots: Any) -> tuple[array[int], array[int]]:
    numbers = array("H", bytes(slots))
    return numbers[0::2], numbers[1::2]


def join(current: array[int], previous: array[int], slots: Any) -> None:
    """Write the current and previous owner of each slot where :func:`part` reads them."""
    if not c_library.join_slots(current, previous, slots):
        _join(current, previous, slots)


def _join(current: array[int], previous: array[int], slots: Any) -> None:
    octets = bytearray(2 * _OCTETS * len(current))
    for position, numbers in enumerate((current, previous)):
        # Octet by octet: three times faster than by numbers of two.
        for octet in range(_OCTETS):
            octets[_OCTETS * position + octet :: 2 * _OCTETS] = numbers.tobytes()[octet::_OCTETS]
    ctypes.memmove(slots, bytes(octets), len(octets))


def count(values: array[int], value: int) -> int:
    """Return how many slots have a value."""
    found = c_library.count_slots(values, value)
    return values.count(value) if found is None else found


def count_moved(before: array[int], after: array[int]) -> int:
    """Return how many slots had an owner, and have another."""
    found = c_library.count_moved(before, after)
    return _count_moved(before, after) if found is None else found


def _count_moved(before: array[int], after: array[int]) -> int:
    slots = zip(before, after, strict=True)
    return sum(1 for old, new in slots if old not in (NO_BACKEND, new))


def follow(
    owners: array[int],
    old_owners: array[int],
    old_previous: array[int],
    keeping: Collection[int],
    learning: bool,
) -> tuple[array[int], bool]:
    """Return the previous owner of each slot after a change, and whether any slot has one.

    Args:
        owners: of each slot, after the change.
        old_owners: before it.
        old_previous: the previous owners before it.
        keeping: the backends that keep the flows they have.
        learning: whether slots still learn from an earlier change.
    """
    return c_library.follow_slots(
        owners, old_owners, old_previous, _flags(keeping, MAX_BACKEND_ID + 1), learning
    ) or _follow(owners, old_owners, old_previous, keeping, learning)


def _follow(
    owners: array[int],
    old_owners: array[int],
    old_previous: array[int],
    keeping: Collection[int],
    learning: bool,
) -> tuple[array[int], bool]:
    def slots() -> Iterator[tuple[int, int, int]]:
        return zip(owners, old_owners, old_previous, strict=True)

    # Slots are many, what may happen to one is little.
    kept = {slot: _previous_after(*slot, learning, keeping) for slot in set(slots())}
    previous = array("H", map(kept.__getitem__, slots()))
    return previous, bool(set(kept.values()) - {NO_BACKEND, LOOK_UP_ONLY})


def _previous_after(
    owner: int, old_owner: int, old_previous: int, learning: bool, keeping: Collection[int]
) -> int:
    """Return the previous backend of one slot after a change: where its oldest flows are."""
    if learning and old_previous not in (NO_BACKEND, LOOK_UP_ONLY):
        # Flows not seen since before the earlier change are still with its previous owner;
        # those of the owner since have records.
        oldest = old_previous
    else:
        # At rest all flows, and after learning all without a record, are the owner's.
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
    """Return the previous owner of each slot after slots have come to rest, and how many have.

    Args:
        owners: of each slot.
        old_previous: the previous owners before.
        recorded: slot to the backends that live flow records of it name.
        keeping: the backends that keep the flows they have.
        learning: whether slots with a previous owner still learn.
    """
    held = [
        slot
        for slot, backends in recorded.items()
        if any(one != owners[slot] and one in keeping for one in backends)
    ]
    return c_library.rest_slots(old_previous, _flags(held, len(owners)), learning) or _rest(
        old_previous, frozenset(held), learning
    )


def _rest(
    old_previous: array[int], held: Collection[int], learning: bool
) -> tuple[array[int], int]:
    previous = array("H", old_previous)
    rested = 0
    for slot, older in enumerate(old_previous):
        if older == NO_BACKEND or slot in held or (learning and older != LOOK_UP_ONLY):
            continue
        previous[slot] = NO_BACKEND
        rested += 1
    return previous, rested


def _flags(numbers: Collection[int], size: int) -> bytearray:
    flags = bytearray(size)
    for number in numbers:
        flags[number] = 1
    return flags
