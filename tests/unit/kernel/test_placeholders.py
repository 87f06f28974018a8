"""The seed and the map descriptors come into compiled instructions."""

from __future__ import annotations

import hashlib
import struct

import pytest

from pydsr.kernel.bpf import placeholders
from pydsr.model.errors import InternalError

EXIT = struct.pack("=BBhi", 0x95, 0, 0, 0)
SEED = 0x0123456789ABCDEF


def load(number: int, source: int = 0, register: int = 1) -> bytes:
    """Return the two instructions that load a number of 64 bits."""
    return struct.pack("=BBhI", 0x18, source << 4 | register, 0, number & 0xFFFFFFFF) + struct.pack(
        "=BBhI", 0, 0, 0, number >> 32
    )


def test_the_seed_replaces_its_placeholder() -> None:
    before = load(placeholders.SEED) + EXIT + load(placeholders.SEED, register=7)
    after = placeholders.fill(before, {}, SEED)
    assert after == load(SEED) + EXIT + load(SEED, register=7)


def test_the_seed_for_ipv4_has_the_round_of_its_first_half() -> None:
    state = SEED ^ SEED >> 32
    state = state * 0xD6E8FEB86659FD93 % 2**64
    expected = state ^ state >> 32
    assert placeholders.fill(load(placeholders.SEED_IPV4), {}, SEED) == load(expected)


@pytest.mark.parametrize("source", [1, 2], ids=["map", "value"])
def test_a_descriptor_replaces_the_number_of_its_map(source: int) -> None:
    before = load(3, source) + load(2, source, register=6) + EXIT
    assert placeholders.fill(before, {2: 40, 3: 2}, SEED) == (
        load(2, source) + load(40, source, register=6) + EXIT
    )


def test_the_offset_in_a_map_stays() -> None:
    assert placeholders.fill(load(8 << 32 | 3, 2), {3: 17}, SEED) == load(8 << 32 | 17, 2)


def test_other_numbers_stay() -> None:
    move = struct.pack("=BBhI", 0xB7, 1, 0, placeholders.SEED & 0xFFFFFFFF)
    before = load(3) + load(placeholders.SEED ^ 1) + load(placeholders.SEED >> 32) + move + EXIT
    assert placeholders.fill(before, {3: 17}, SEED) == before


def test_a_half_that_looks_like_a_load_is_not_one() -> None:
    # The code of a second instruction is 0, so that only its number could look like one.
    before = load(0x18 << 32 | 0x18) + load(1, 1)
    assert placeholders.fill(before, {1: 9}, SEED) == load(0x18 << 32 | 0x18) + load(9, 1)


def test_what_is_neither_a_number_nor_a_map_stays() -> None:
    function = load(SEED, source=4) + load(placeholders.SEED, source=4)
    assert placeholders.fill(function, {}, SEED) == function


def test_the_tag_leaves_out_maps_but_not_the_seed() -> None:
    before = load(3, 1) + load(1 << 32 | 2, 2) + load(SEED) + EXIT
    other = load(4, 1) + load(7, 2) + load(SEED) + EXIT
    zeroed = load(0, 1) + load(0, 2) + load(SEED) + EXIT
    expected = {hashlib.new(name, zeroed).digest()[:8] for name in ("sha1", "sha256")}
    assert placeholders.tags(before) == placeholders.tags(other) == expected
    assert placeholders.tags(load(SEED) + EXIT) != placeholders.tags(load(SEED ^ 1) + EXIT)


def test_a_map_without_a_descriptor_is_refused() -> None:
    with pytest.raises(InternalError, match="unknown map, number 4"):
        placeholders.fill(load(4, 1), {3: 17}, SEED)
