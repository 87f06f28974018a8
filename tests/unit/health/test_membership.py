"""Who takes flows: minimum, sorry backend, slow start."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydsr.health.membership import Candidate, Membership, choose, next_step, ramped
from pydsr.model.errors import InputError
from pydsr.model.health_policy import Minimum

CANDIDATES = st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.booleans()), max_size=8).map(
    lambda rows: [
        Candidate(IPv4Address(number), healthy, since, in_service)
        for number, (healthy, since, in_service) in enumerate(rows, 1)
    ]
)
MINIMUMS = st.builds(Minimum, st.integers(0, 8)) | st.builds(
    Minimum, st.integers(0, 100), st.just(True)
)


def addresses(*numbers: int) -> frozenset[IPv4Address]:
    """Return addresses by number."""
    return frozenset(map(IPv4Address, numbers))


def pool(*rows: tuple[bool, float]) -> list[Candidate]:
    """Return candidates in service: whether each is healthy, and since when."""
    return [Candidate(IPv4Address(n), *row) for n, row in enumerate(rows, 1)]


def test_healthy_backends_take_flows() -> None:
    candidates = pool((True, 0), (False, 5), (True, 0))
    assert Membership(addresses(1, 3)) == choose(candidates)


def test_below_the_minimum_those_that_failed_last_are_held() -> None:
    candidates = pool((False, 5), (False, 9), (True, 0), (False, 7))
    expected = Membership(addresses(2, 3, 4), held=addresses(2, 4))
    assert expected == choose(candidates, Minimum(3))
    assert expected == choose(candidates, Minimum(60, is_percentage=True))


def test_what_is_out_is_not_brought_back_by_the_minimum() -> None:
    out = Candidate(IPv4Address(1), is_healthy=False, is_in_service=False)
    assert Membership() == choose([out], Minimum(1))


def test_the_sorry_backend_takes_the_place_of_all() -> None:
    candidates = pool((False, 1), (False, 2))
    assert Membership(is_sorry=True) == choose(candidates, Minimum(2), has_sorry=True)
    one_healthy = pool((True, 1), (False, 2))
    assert not choose(one_healthy, has_sorry=True).is_sorry


@given(CANDIDATES, MINIMUMS, st.booleans())
def test_nobody_healthy_is_left_out_and_no_more_are_held_than_needed(
    candidates: list[Candidate], minimum: Minimum, has_sorry: bool
) -> None:
    chosen = choose(candidates, minimum, has_sorry)
    healthy = {one.address for one in candidates if one.is_healthy}
    in_service = {one.address for one in candidates if one.is_in_service}
    assert chosen.in_service == healthy | chosen.held
    assert not chosen.held & healthy
    assert chosen.held <= in_service
    assert chosen.is_sorry == (has_sorry and not healthy)
    if chosen.held:
        assert len(chosen.in_service) <= minimum.of(len(candidates))
    if not chosen.is_sorry:
        available = len(healthy | in_service)
        assert len(chosen.in_service) >= min(minimum.of(len(candidates)), available)


@given(CANDIDATES, MINIMUMS)
def test_asking_again_changes_nothing(candidates: list[Candidate], minimum: Minimum) -> None:
    chosen = choose(candidates, minimum)
    after = [
        Candidate(one.address, one.is_healthy, one.since, one.address in chosen.in_service)
        for one in candidates
    ]
    assert chosen == choose(after, minimum)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", Minimum()), ("2", Minimum(2)), ("50%", Minimum(50, is_percentage=True))],
)
def test_a_minimum_is_a_number_or_a_percentage(text: str, expected: Minimum) -> None:
    assert expected == Minimum.parse(text)


@pytest.mark.parametrize("text", ["", "-1", "101%", "half", "1.5"])
def test_other_minimums_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="minimum"):
        Minimum.parse(text)


@given(st.integers(0, 65535), st.floats(0, 100), st.floats(0, 100), st.integers(1, 50))
def test_a_weight_rises_to_what_it_is_to_be(
    weight: int, one: float, other: float, steps: int
) -> None:
    earlier, later = sorted((one, other))
    first, second = (ramped(weight, at, 60, steps) for at in (earlier, later))
    assert min(1, weight) <= first <= second <= weight
    if later >= 60:
        assert weight == second


@given(st.floats(0, 59.9), st.integers(1, 50))
def test_a_weight_stays_until_its_next_step(elapsed: float, steps: int) -> None:
    wait = next_step(elapsed, 60, steps)
    assert wait is not None
    assert 0 < wait + 1e-9 <= 60 / steps + 1e-6
    assert ramped(1000, elapsed, 60, steps) == ramped(1000, elapsed + wait * 0.99, 60, steps)
    assert ramped(1000, elapsed + wait + 1e-6, 60, steps) == min(
        1000, ramped(1000, elapsed + wait / 2 + 60 / steps, 60, steps)
    )


def test_slow_start_goes_by_steps() -> None:
    weights = [ramped(100, second, 10, steps=5) for second in range(11)]
    assert [20, 20, 40, 40, 60, 60, 80, 80, 100, 100, 100] == weights
    assert next_step(10, 10) is None
    assert 7 == ramped(7, 0, 0)
