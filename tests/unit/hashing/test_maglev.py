"""The table of a service: shares, agreement, disruption, and what is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from ipaddress import ip_address
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pydsr.hashing import c_library, maglev
from pydsr.hashing.maglev import (
    DEFAULT_TABLE_SIZE,
    MAX_TABLE_SIZE,
    Member,
    build_table,
    is_prime,
    next_prime,
)
from pydsr.hashing.slots import NO_BACKEND
from tests.support.examples import examples

SMALL = 1009
"""A prime table size that keeps random tests fast."""


def make_members(weights: Sequence[int]) -> list[Member]:
    """Return one member for each weight, with ids from 1."""
    return [
        Member(ip_address(f"2001:db8::{number:x}").packed, weight, number)
        for number, weight in enumerate(weights, start=1)
    ]


def slots_moved(before: Sequence[int], after: Sequence[int]) -> int:
    """Return in how many slots two tables differ."""
    return sum(one != other for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("number", "expected"),
    [(-7, False), (0, False), (1, False), (2, True), (3, True), (4, False), (9, False),
     (25, False), (97, True), (65536, False), (65537, True), (655373, True)],
)  # fmt: skip
def test_is_prime_knows_primes(number: int, expected: bool) -> None:
    assert expected == is_prime(number)


def test_is_prime_agrees_with_the_sieve() -> None:
    sieve = set(range(2, 2000))
    for divisor in range(2, 45):
        sieve -= set(range(2 * divisor, 2000, divisor))
    assert sorted(sieve) == [number for number in range(2000) if is_prime(number)]


def test_next_prime_finds_the_nearest_above() -> None:
    assert [2, 65537, 65537, 65539] == [next_prime(n) for n in (-3, 65536, 65537, 65538)]


def test_the_limits_are_primes_themselves() -> None:
    assert is_prime(DEFAULT_TABLE_SIZE)
    assert is_prime(MAX_TABLE_SIZE)
    assert next_prime(MAX_TABLE_SIZE + 1) > 2**20


@pytest.mark.parametrize("weights", [(), (0,), (0, 0, 0)])
def test_without_a_weight_no_slot_has_an_owner(weights: Sequence[int]) -> None:
    assert [NO_BACKEND] * SMALL == build_table(make_members(weights), SMALL).tolist()


def test_a_single_backend_owns_every_slot() -> None:
    assert {1: DEFAULT_TABLE_SIZE} == Counter(build_table(make_members([7])))


def test_slots_are_unsigned_sixteen_bit_numbers() -> None:
    table = build_table([Member(b"one", 1, 65535)], SMALL)
    assert ("H", 2, SMALL, 65535) == (table.typecode, table.itemsize, len(table), table[0])


@pytest.mark.parametrize("size", [2, 3, 5, 251])
def test_as_many_backends_as_slots_get_one_each(size: int) -> None:
    table = build_table(make_members(range(1, size + 1)), size)
    assert list(range(1, size + 1)) == sorted(table)


@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        ((1, 1), (505, 504)),
        ((1, 1, 1, 0), (337, 336, 336, 0)),
        ((1, 2, 3), (168, 336, 505)),
        ((300, 600, 900), (168, 336, 505)),
        ((1, 65535), (1, 1008)),
        ((65535, 1, 1, 1), (1006, 1, 1, 1)),
        ((1, 10_000, 20_000), (1, 336, 672)),
    ],
)
def test_shares_are_as_weighted(weights: Sequence[int], shares: Sequence[int]) -> None:
    owned = Counter(build_table(make_members(weights), SMALL))
    assert list(shares) == [owned[number + 1] for number in range(len(weights))]


@given(st.lists(st.integers(1, 65535), min_size=1, max_size=40))
def test_no_share_is_off_by_more_than_the_light_backends_need(weights: list[int]) -> None:
    owned = Counter(build_table(make_members(weights), SMALL))
    total = sum(weights)
    lifted = sum(weight * SMALL < total for weight in weights)
    for number, weight in enumerate(weights, start=1):
        assert owned[number] >= 1
        assert abs(owned[number] - SMALL * weight / total) < 1 + lifted


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=20), st.data())
def test_the_order_of_the_input_does_not_matter(weights: list[int], data: st.DataObject) -> None:
    members = make_members(weights)
    shuffled = data.draw(st.permutations(members))
    assert build_table(members, SMALL) == build_table(shuffled, SMALL)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=20), st.integers(21, 65_535))
def test_ids_do_not_influence_which_slots_a_backend_owns(weights: list[int], top: int) -> None:
    members = make_members(weights)
    renamed = [Member(m.key, m.weight, top - m.id) for m in members]
    expected = [top - owner for owner in build_table(members, SMALL)]
    assert expected == build_table(renamed, SMALL).tolist()


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.integers(2, 1000))
def test_only_the_ratio_of_weights_matters(weights: list[int], factor: int) -> None:
    scaled = [weight * factor for weight in weights]
    assert build_table(make_members(weights), SMALL) == build_table(make_members(scaled), SMALL)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_a_backend_of_weight_zero_is_as_good_as_absent(weights: list[int]) -> None:
    drained = [*make_members(weights), Member(b"drained", 0, 999)]
    assert build_table(make_members(weights), SMALL) == build_table(drained, SMALL)


@pytest.mark.parametrize(
    "weights",
    [
        pytest.param([1] * 2, id="two equal"),
        pytest.param([1] * 10, id="ten equal"),
        pytest.param([1] * 100, id="a hundred equal"),
        pytest.param([1 + number % 7 for number in range(50)], id="fifty of mixed weight"),
        pytest.param([1, 65535, 30_000], id="very light and heavy"),
    ],
)
def test_removing_a_backend_moves_little_but_its_own_slots(weights: list[int]) -> None:
    members = make_members(weights)
    before = build_table(members)
    owned = Counter(before)
    for removed in members[:: max(1, len(members) // 5)]:
        after = build_table([member for member in members if member != removed])
        others = slots_moved(before, after) - owned[removed.id]
        assert others <= 0.015 * len(before), f"without {removed}"


@settings(max_examples=examples(25))
@given(st.lists(st.integers(1, 20), min_size=2, max_size=10), st.data())
def test_any_single_removal_keeps_nine_slots_in_ten_of_the_others(
    weights: list[int], data: st.DataObject
) -> None:
    members = make_members(weights)
    removed = data.draw(st.sampled_from(members))
    before = build_table(members, SMALL)
    after = build_table([member for member in members if member != removed], SMALL)
    moved = slots_moved(before, after) - Counter(before)[removed.id]
    assert moved <= SMALL / 10


def test_a_changed_weight_moves_little_more_than_the_difference() -> None:
    members = make_members([10] * 20)
    heavier = [Member(members[0].key, 20, members[0].id), *members[1:]]
    before, after = build_table(members), build_table(heavier)
    gained = Counter(after)[1] - Counter(before)[1]
    assert gained <= slots_moved(before, after) <= gained + 0.02 * len(before)


def test_a_heavy_backend_is_spread_over_the_whole_table() -> None:
    table = build_table(make_members([65535, 6553, 1]))
    light = [slot for slot, owner in enumerate(table) if owner == 2]
    assert max(after - before for before, after in pairwise(light)) < 0.01 * len(table)


def test_the_table_is_the_same_in_every_process_and_release() -> None:
    """Balancers agree, also while an upgrade has them run different releases."""
    table = build_table(make_members([1, 2, 3, 50]), SMALL)
    digest = "11d8a3160bb7d3179d364b0f5b527c33367d6c3035af3204efd3145ca778dbcb"
    assert digest == sha256(repr(table.tolist()).encode()).hexdigest()


@pytest.mark.parametrize(
    ("members", "size", "message"),
    [
        pytest.param([], 65536, "65536 is not prime; 65537 is", id="composite size"),
        pytest.param([], 1, "not between 2 and", id="size one"),
        pytest.param([], 1_048_583, "not between 2 and", id="size beyond the limit"),
        pytest.param(make_members([1] * 6), 5, "6 backends do not fit into 5 slots", id="crowd"),
        pytest.param([Member(b"k", 1, 0)], 5, "id 0 is not between", id="id means none"),
        pytest.param([Member(b"k", 1, 65536)], 5, "id 65536 is not between", id="id too large"),
        pytest.param([Member(b"k", -1, 1)], 5, "weight -1", id="negative weight"),
        pytest.param(
            [Member(b"k", 1, 1), Member(b"k", 1, 2)], 5, "1 and 2 share the key 6b", id="same key"
        ),
    ],
)
def test_what_makes_no_table_is_refused(members: list[Member], size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_table(members, size)


def test_backends_without_a_weight_need_no_room() -> None:
    assert {1: 2, 2: 1} == Counter(build_table(make_members([1, 1, 0, 0, 0]), 3))


@pytest.mark.skipif(
    not c_library.is_built(),
    reason="pydsr/hashing/*.c is not built (no C compiler at installation)",
)
@given(st.lists(st.integers(1, 65535), min_size=1, max_size=40))
def test_the_loop_in_c_does_what_the_one_in_python_does(weights: list[int]) -> None:
    walks = [maglev._walk(member.key, SMALL) for member in make_members(weights)]
    turns = maglev._turns(tuple(weights), SMALL)
    in_c = maglev._fill_table(walks, turns, SMALL)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(c_library, "library", lambda: None)
        assert maglev._fill_table(walks, turns, SMALL) == in_c


def test_services_with_the_same_backends_under_other_ids_have_the_same_table() -> None:
    members = make_members([3, 1, 2])
    others = [Member(one.key, one.weight, one.id * 1000) for one in members]
    table = build_table(members, SMALL)
    assert [owner * 1000 for owner in table] == build_table(others, SMALL).tolist()


def test_more_backends_than_a_byte_counts_own_what_they_should() -> None:
    members = [Member(one.key, one.weight, 60_000 + one.id) for one in make_members([1] * 300)]
    counts = Counter(build_table(members, DEFAULT_TABLE_SIZE))
    assert maglev.shares_of(members, DEFAULT_TABLE_SIZE) == counts
