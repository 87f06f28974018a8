"""All slots at once: the loops in C do what those in Python do, which say what is meant."""

from __future__ import annotations

import ctypes
from array import array
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pydsr.hashing import c_library, slots
from pydsr.hashing.slots import LOOK_UP_ONLY, NO_BACKEND
from tests.support.examples import examples

IDS = st.one_of(st.integers(1, 4), st.integers(1, 65534))
SIZES = st.integers(1, 70)


@st.composite
def owners(draw: st.DrawFn, size: int, *others: int) -> array[int]:
    """Draw the owner of each slot, one of a few ids; others may be there too."""
    few = [*draw(st.lists(IDS, min_size=1, max_size=4)), NO_BACKEND, *others]
    return array("H", draw(st.lists(st.sampled_from(few), min_size=size, max_size=size)))


@st.composite
def tables(draw: st.DrawFn) -> tuple[array[int], array[int], array[int], set[int]]:
    """Draw new owners, old ones, previous ones, and backends that keep flows."""
    size = draw(SIZES)
    new, old = draw(owners(size)), draw(owners(size))
    previous = draw(owners(size, LOOK_UP_ONLY))
    known = sorted({*new, *old, *previous} - {NO_BACKEND, LOOK_UP_ONLY}) or [1]
    return new, old, previous, draw(st.sets(st.sampled_from(known)))


@pytest.fixture(params=["in C", "in Python"], autouse=True)
def in_both(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have everything done both ways."""
    if request.param == "in Python":
        monkeypatch.setattr(c_library, "library", lambda: None)
    elif not c_library.is_built():
        pytest.skip("pydsr/hashing/*.c is not built (no C compiler at installation)")


@settings(max_examples=examples(25))
@given(tables(), st.booleans())
def test_slots_follow_as_one_slot_does(
    drawn: tuple[array[int], array[int], array[int], set[int]], learning: bool
) -> None:
    new, old, previous, keeping = drawn
    one_by_one = [
        slots._previous_after(*slot, learning, keeping)
        for slot in zip(new, old, previous, strict=True)
    ]
    before = (new[:], old[:], previous[:])
    followed, learns_anew = slots.follow(new, old, previous, keeping, learning)
    assert one_by_one == followed.tolist()
    assert bool(set(one_by_one) - {NO_BACKEND, LOOK_UP_ONLY}) == learns_anew
    assert before == (new, old, previous)


@settings(max_examples=examples(25))
@given(tables(), st.booleans(), st.data())
def test_slots_rest_where_nothing_holds_them(
    drawn: tuple[array[int], array[int], array[int], set[int]], learning: bool, data: st.DataObject
) -> None:
    current, _, previous, keeping = drawn
    recorded = data.draw(
        st.dictionaries(st.integers(0, len(current) - 1), st.sets(IDS, max_size=3), max_size=5)
    )

    def rests(slot: int) -> bool:
        others = (recorded.get(slot, set()) & keeping) - {current[slot]}
        return not others and not (learning and previous[slot] != LOOK_UP_ONLY)

    expected = [NO_BACKEND if rests(slot) else older for slot, older in enumerate(previous)]
    changed = sum(old != new for old, new in zip(previous, expected, strict=True))
    found, rested = slots.rest(current, previous, recorded, keeping, learning)
    assert (expected, changed) == (found.tolist(), rested)


@settings(max_examples=examples(25))
@given(tables())
def test_slots_are_counted(
    drawn: tuple[array[int], array[int], array[int], set[int]],
) -> None:
    new, old, previous, _ = drawn
    assert dict(Counter(previous)) == {one: slots.count(previous, one) for one in {*previous}}
    moved = [one for one, other in zip(old, new, strict=True) if one and one != other]
    assert len(moved) == slots.count_moved(old, new)


@settings(max_examples=examples(25))
@given(tables())
def test_slots_come_back_as_they_were_laid_out(
    drawn: tuple[array[int], array[int], array[int], set[int]],
) -> None:
    current, _, previous, _ = drawn
    laid_out = ((ctypes.c_uint16 * 2) * len(current))()
    slots.join(current, previous, laid_out)
    pairs = list(zip(current, previous, strict=True))
    assert pairs == [tuple(slot) for slot in laid_out]
    assert (current, previous) == slots.part(laid_out, len(current))


@settings(max_examples=examples(25))
@given(st.lists(IDS, min_size=1, max_size=300, unique=True), st.data())
def test_ids_take_the_place_of_owners(ids: list[int], data: st.DataObject) -> None:
    drawn = data.draw(st.lists(st.integers(0, len(ids) - 1), min_size=1, max_size=50))
    named = slots.name_owners(array("H", drawn), ids)
    assert [ids[owner] for owner in drawn] == named.tolist()


def test_slots_that_had_no_owner_do_not_count_as_moved() -> None:
    before, after = array("H", [1, 1, 2, 0]), array("H", [1, 2, 0, 2])
    assert slots.count_moved(before, after) == 2
