"""The table in which the program finds services and VIPs. Pure.

Each entry is in one of two buckets that a keyed hash of its key names, so a look-up reads at
most two places and never follows a pointer. ``index_find()`` in ``xdp/services.h`` reads what
is made here. (Two choices: Azar, Broder, Karlin, Upfal, "Balanced Allocations", 1994.)
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

BUCKET_BITS = 15
BUCKETS = 1 << BUCKET_BITS
BUCKET_ENTRIES = 4
KEY_BYTES = 24
ENTRY_BYTES = 32

_MULTIPLIER = 0xD6E8FEB86659FD93
_WORD = (1 << 64) - 1
_SALTS = 64
_KEY_WORDS = struct.Struct("=QQQ")


def hash_key(key: bytes, seed: int) -> int:
    """Return the 64-bit hash of a key of three words: hash_words() in ``xdp/hash.h``."""
    state = seed
    for word in _KEY_WORDS.unpack(key):
        state ^= word
        state ^= state >> 32
        state = state * _MULTIPLIER & _WORD
        state ^= state >> 32
    return state * _MULTIPLIER & _WORD


def place_entries(entries: Mapping[bytes, bytes], seed: int) -> tuple[int, dict[int, bytes]]:
    """Place entries in their buckets.

    Args:
        entries: key to value, 24 and 8 bytes.
        seed: the 64-bit key of the hash.

    Returns:
        The salt that the hash was keyed with beside the seed, and the bytes of each position
        that is taken.

    Raises:
        ValueError: they do not fit, which takes more entries than half of the places.
    """
    for salt in range(_SALTS):
        placed = _try_salt(entries, seed ^ salt)
        if placed is not None:
            return salt, placed
    raise ValueError(f"{len(entries)} entries do not fit {BUCKETS} buckets")


def _try_salt(entries: Mapping[bytes, bytes], seed: int) -> dict[int, bytes] | None:
    fill = [0] * BUCKETS
    placed: dict[int, bytes] = {}
    for key, value in entries.items():
        hashed = hash_key(key, seed)
        first = hashed >> (64 - BUCKET_BITS)
        second = hashed >> (64 - 2 * BUCKET_BITS) & (BUCKETS - 1)
        bucket = second if fill[second] < fill[first] else first
        if fill[bucket] == BUCKET_ENTRIES:
            return None
        placed[bucket * BUCKET_ENTRIES + fill[bucket]] = key + value
        fill[bucket] += 1
    return placed
