"""The service index: a hash table in which the program finds services and VIPs. Pure.

The hash of a key names two buckets, and the entry is in one of them. So a look-up reads at most two
places and follows no pointer. A bitmap rejects most addresses that are not VIPs. ``index_find()``
in ``xdp/service_index.h`` reads the index. (Two choices: Azar, Broder, Karlin, Upfal, "Balanced
Allocations", 1994.)
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

BUCKET_BITS = 15
BUCKETS = 1 << BUCKET_BITS
BUCKET_ENTRIES = 4
KEY_BYTES = 24
ENTRY_BYTES = 32

VIP_BITS = 16
VIP_WORDS = 1 << (VIP_BITS - 6)

_FIRST, _SECOND, _TAIL = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_WORD = (1 << 64) - 1
_SALTS = tuple(0xD6E8FEB86659FD93 + 2 * number for number in range(64))
_KEY_WORDS = struct.Struct("=QQQ")


def hash_key(key: bytes, salt: int) -> int:
    """Return the 64-bit hash of a key of three words: index_find() in ``xdp/service_index.h``."""
    first, second, tail = _KEY_WORDS.unpack(key)
    return int((first * _FIRST + second * _SECOND + tail * _TAIL) * salt & _WORD)


def vip_words(keys: Iterable[bytes]) -> dict[int, int]:
    """Return the non-zero words of the bitmap of VIPs, by position.

    Args:
        keys: of entries, which begin with the VIP's 16 bytes.
    """
    words: dict[int, int] = {}
    for key in keys:
        first, second, _ = _KEY_WORDS.unpack(key)
        position = (first * _FIRST + second * _SECOND & _WORD) >> (64 - VIP_BITS)
        words[position >> 6] = words.get(position >> 6, 0) | 1 << (position & 63)
    return words


def place_entries(entries: Mapping[bytes, bytes]) -> tuple[int, dict[int, bytes]]:
    """Place entries in their buckets.

    Args:
        entries: key to value, 24 and 8 bytes.

    Returns:
        The salt that the hash is multiplied by, and the bytes of each position that is taken.

    Raises:
        ValueError: they do not fit, which needs more entries than half of the places.
    """
    for salt in _SALTS:
        placed = _try_salt(entries, salt)
        if placed is not None:
            return salt, placed
    raise ValueError(f"{len(entries)} entries do not fit {BUCKETS} buckets")


def _try_salt(entries: Mapping[bytes, bytes], salt: int) -> dict[int, bytes] | None:
    fill = [0] * BUCKETS
    placed: dict[int, bytes] = {}
    for key, value in entries.items():
        hashed = hash_key(key, salt)
        first = hashed >> (64 - BUCKET_BITS)
        second = hashed >> (64 - 2 * BUCKET_BITS) & (BUCKETS - 1)
        bucket = second if fill[second] < fill[first] else first
        if fill[bucket] == BUCKET_ENTRIES:
            return None
        placed[bucket * BUCKET_ENTRIES + fill[bucket]] = key + value
        fill[bucket] += 1
    return placed
