"""Thresholds, intervals, combinations: when a backend counts as up, and when to look again."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydsr.health.check_health import (
    CheckHealth,
    apply_result,
    enough_are_healthy,
    first_start,
    next_start,
)
from pydsr.model.checks import TcpCheck

PASS, FAIL = True, False
CHECKS = st.builds(
    TcpCheck,
    type=st.just("tcp"),
    interval=st.floats(1, 60),
    fast=st.floats(0.5, 1),
    jitter=st.floats(0, 0.9),
    timeout=st.floats(0.1, 1),
    rise=st.integers(1, 5),
    fall=st.integers(1, 5),
)


def after(results: Sequence[bool], start: bool, check: TcpCheck) -> CheckHealth:
    """Return the health after results, one a second."""
    health = CheckHealth(start)
    for second, passed in enumerate(results, 1):
        health = apply_result(health, passed, check, float(second))
    return health


@pytest.mark.parametrize(
    ("start", "results", "expected"),
    [
        (True, [FAIL, FAIL], True),
        (True, [FAIL, FAIL, FAIL], False),
        (True, [FAIL, FAIL, PASS, FAIL, FAIL], True),
        (True, [FAIL, FAIL, FAIL, PASS], False),
        (True, [FAIL, FAIL, FAIL, PASS, FAIL, PASS], False),
        (True, [FAIL, FAIL, FAIL, PASS, PASS], True),
        (False, [PASS], False),
        (False, [PASS, PASS], True),
    ],
)
def test_only_results_in_a_row_count(start: bool, results: list[bool], expected: bool) -> None:
    assert expected == after(results, start, TcpCheck(type="tcp", rise=2, fall=3)).is_healthy


@given(CHECKS, st.booleans(), st.lists(st.booleans(), max_size=30))
def test_health_follows_the_latest_long_enough_run(
    check: TcpCheck, start: bool, results: list[bool]
) -> None:
    expected, run, since = start, 0, 0.0
    previous: bool | None = None
    for second, passed in enumerate(results, 1):
        run = run + 1 if passed == previous else 1
        previous = passed
        if passed != expected and run >= (check.rise if passed else check.fall):
            expected, since = passed, float(second)
    health = after(results, start, check)
    assert (expected, since) == (health.is_healthy, health.since)
    assert health.is_in_doubt == (bool(results) and results[-1] != health.is_healthy)


@given(CHECKS, st.floats(0, 1e6), st.lists(st.floats(0, 1), min_size=10, max_size=10))
def test_a_dead_backend_is_down_in_time(
    check: TcpCheck, began: float, fractions: list[float]
) -> None:
    """It dies just after a check has passed, and each check then takes its whole timeout."""
    health, now = (
        CheckHealth(True),
        next_start(began, began, CheckHealth(True), check, fractions[0]),
    )
    for fraction in fractions[1:]:
        ended = now + check.timeout
        health = apply_result(health, FAIL, check, ended)
        if not health.is_healthy:
            break
        now = next_start(now, ended, health, check, fraction)
    assert not health.is_healthy
    slowest = max(check.fast_interval, check.timeout)
    bound = check.interval + (check.fall - 1) * slowest + check.timeout
    assert health.since - began <= bound + 1e-6
    assert bound <= check.fall * check.interval + check.timeout


@given(CHECKS, st.booleans(), st.integers(0, 3), st.floats(0, 1), st.floats(0, 2))
def test_the_next_check_is_jittered_down_only(
    check: TcpCheck, is_healthy: bool, contrary: int, fraction: float, took: float
) -> None:
    started = next_start(0, took, CheckHealth(is_healthy, contrary), check, fraction)
    interval = check.fast_interval if contrary else check.interval
    assert max(took, interval * (1 - check.jitter)) - 1e-9 <= started <= max(took, interval)


@pytest.mark.parametrize("number", [1, 2, 10, 1000])
def test_first_checks_are_spread_over_an_interval(number: int) -> None:
    check = TcpCheck(type="tcp", interval=10)
    starts = sorted(first_start(100, place, check) for place in range(number))
    assert 100 <= starts[0] <= starts[-1] < 110
    for second in range(100, 110):
        in_second = sum(second <= start < second + 1 for start in starts)
        assert abs(in_second - number / 10) <= 3


@pytest.mark.parametrize(
    ("health", "needed", "expected"),
    [
        ([], None, True),
        ([True, True], None, True),
        ([True, False], None, False),
        ([True, False], 1, True),
        ([False, False, True], 2, False),
        ([True], 3, True),
        ([False], 1, False),
    ],
)
def test_all_checks_or_enough_of_them_must_be_healthy(
    health: list[bool], needed: int | None, expected: bool
) -> None:
    assert expected == enough_are_healthy(map(CheckHealth, health), needed)
