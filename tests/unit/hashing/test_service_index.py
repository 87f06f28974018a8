"""Every service is where the program looks for it."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydsr.hashing import service_index
from pydsr.hashing.service_index import (
    BUCKET_BITS,
    BUCKET_ENTRIES,
    BUCKETS,
    ENTRY_BYTES,
    KEY_BYTES,
    VIP_BITS,
    VIP_WORDS,
    hash_key,
    place_entries,
    vip_words,
)


def buckets_of(key: bytes, salt: int) -> tuple[int, int]:
    """Return the two buckets that the program reads: the top bits of the hash, and the next."""
    bits = f"{hash_key(key, salt):064b}"
    return int(bits[:BUCKET_BITS], 2), int(bits[BUCKET_BITS : 2 * BUCKET_BITS], 2)


def numbered(count: int) -> dict[bytes, bytes]:
    """Return entries whose keys differ by little, as those of services do."""
    return {
        bytes(12) + number.to_bytes(4, "big") + bytes(8): number.to_bytes(8, "big")
        for number in range(count)
    }


@given(
    st.dictionaries(
        st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES), st.binary(min_size=8, max_size=8)
    )
)
def test_each_entry_is_once_in_one_of_its_buckets(entries: dict[bytes, bytes]) -> None:
    salt, placed = place_entries(entries)
    assert sorted(placed.values()) == sorted(key + value for key, value in entries.items())
    for position, entry in placed.items():
        assert len(entry) == ENTRY_BYTES
        assert position // BUCKET_ENTRIES in buckets_of(entry[:KEY_BYTES], salt)


def test_as_many_services_and_vips_fit_as_there_may_be() -> None:
    entries = numbered(2 * 16384)
    _, placed = place_entries(entries)
    assert len(placed) == len(entries)
    assert max(placed) < BUCKETS * BUCKET_ENTRIES


def test_entries_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_index, "BUCKETS", 2)
    monkeypatch.setattr(service_index, "BUCKET_BITS", 1)
    with pytest.raises(ValueError, match="do not fit"):
        place_entries(numbered(9))


def test_alike_keys_are_spread_over_the_buckets() -> None:
    _, placed = place_entries(numbered(BUCKETS))
    fullest = max(
        sum(1 for slot in range(BUCKET_ENTRIES) if bucket * BUCKET_ENTRIES + slot in placed)
        for bucket in range(BUCKETS)
    )
    assert fullest <= 3


@given(st.sets(st.binary(min_size=16, max_size=16), max_size=50))
def test_the_bit_of_every_vip_is_set_and_few_others(vips: set[bytes]) -> None:
    words = vip_words(vip + bytes(8) for vip in vips)
    for vip in vips:
        bits = f"{hash_key(vip + bytes(8), 1):064b}"
        assert words[int(bits[:10], 2)] >> int(bits[10:VIP_BITS], 2) & 1
    assert sum(word.bit_count() for word in words.values()) <= len(vips)
    assert all(0 < word < 1 << 64 and position < VIP_WORDS for position, word in words.items())


def test_addresses_beside_a_vip_are_told_apart() -> None:
    """Those of one network differ in their bits, as do nearly all others."""
    mapped = [ip_address(f"::ffff:198.51.{n >> 8}.{n & 255}").packed for n in range(1 << 16)]
    (words,) = [vip_words([mapped[10] + bytes(8)])]
    others = [vip_words([address + bytes(8)]) for address in mapped]
    assert sum(other == words for other in others) <= 4
