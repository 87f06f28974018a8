"""Numbers that compiled instructions have in place of the seed and of map descriptors.

The other instructions do not depend on them, so balancers with different seeds and maps share a
compiled program.
"""

from __future__ import annotations

import hashlib
import struct
import sys
from collections.abc import Callable, Mapping

from pydsr.model.errors import InternalError

VERSION = 1
"""Changes with what :func:`fill` expects of compiled instructions."""

SEED = 0x9F3D5A6E1C7B8204
SEED_IPV4 = 0xC4E81B97F2A6350D
"""No other constant of ``xdp/`` has these values, which are random."""

_MULTIPLIER = 0xD6E8FEB86659FD93
"""HASH_MULTIPLIER of ``xdp/hash.h``."""

_INSTRUCTION = struct.Struct("=BBhI")
"""``struct bpf_insn`` of ``linux/bpf.h``: code, registers, offset, immediate."""

_LOAD_IMMEDIATE = 0x18
"""BPF_LD | BPF_DW | BPF_IMM: two instructions with the halves of a number of 64 bits."""

_PSEUDO_MAP_FD, _PSEUDO_MAP_VALUE = 1, 2
"""Source registers that make the first half the descriptor of a map."""


def seed_ipv4(seed: int) -> int:
    """Return the hash's state after a round with 0, the first half of an IPv4 address."""
    state = (seed ^ seed >> 32) * _MULTIPLIER & (1 << 64) - 1
    return state ^ state >> 32


def fill(instructions: bytes, descriptors: Mapping[int, int], seed: int) -> bytes:
    """Return instructions with the seed and the descriptors in their places.

    Args:
        instructions: as compiled.
        descriptors: the map descriptors by their placeholders.
        seed: the 64-bit key of the hash.

    Raises:
        InternalError: a map has none of these placeholders.
    """
    numbers = {SEED: seed, SEED_IPV4: seed_ipv4(seed)}

    def replace(is_map: bool, value: int) -> int:
        if not is_map:
            return numbers.get(value, value)
        offset, number = divmod(value, 1 << 32)
        if number not in descriptors:
            raise InternalError(f"the compiled program uses an unknown map, number {number}")
        return offset << 32 | descriptors[number]

    return _replace_loaded(instructions, replace)


def tags(instructions: bytes) -> set[bytes]:
    """Return the hash of loaded instructions, which leaves out maps, as kernels compute it.

    Source: bpf_prog_calc_tag() in ``kernel/bpf/core.c``: SHA-1, since Linux 6.18 SHA-256.
    """
    hashed = _replace_loaded(instructions, lambda is_map, value: 0 if is_map else value)
    return {hashlib.new(name, hashed).digest()[:8] for name in ("sha1", "sha256")}


def _replace_loaded(instructions: bytes, replace: Callable[[bool, int], int]) -> bytes:
    """Return instructions with other numbers of 64 bits.

    Args:
        instructions: as compiled.
        replace: given whether a number stands for a map, and the number; returns the new one.
    """
    replaced = bytearray(instructions)
    codes = instructions[:: _INSTRUCTION.size]
    number = codes.find(_LOAD_IMMEDIATE)
    while number >= 0:
        first, second = number * _INSTRUCTION.size, (number + 1) * _INSTRUCTION.size
        *start, low = _INSTRUCTION.unpack_from(replaced, first)
        *zeros, high = _INSTRUCTION.unpack_from(replaced, second)
        source = start[1] >> 4 if sys.byteorder == "little" else start[1] & 15
        if source in (0, _PSEUDO_MAP_FD, _PSEUDO_MAP_VALUE):
            value = replace(source != 0, high << 32 | low)
            _INSTRUCTION.pack_into(replaced, first, *start, value & 0xFFFFFFFF)
            _INSTRUCTION.pack_into(replaced, second, *zeros, value >> 32)
        number = codes.find(_LOAD_IMMEDIATE, number + 2)
    return bytes(replaced)
