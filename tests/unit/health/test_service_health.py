"""States and weights by health: minimum, sorry backend, slow start, agents, and the file."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydsr.health.service_health import (
    BackendHealth,
    ServiceHealth,
    apply_health,
    choose_in_service,
    decide,
    seconds_to_next_step,
    seconds_to_next_weight,
    slow_start_weight,
)
from pydsr.model.addresses import Endpoint
from pydsr.model.agent_report import AgentReport, parse_agent
from pydsr.model.checks import TcpCheck
from pydsr.model.desired_state import DesiredService, DesiredState
from pydsr.model.errors import InputError
from pydsr.model.health_policy import HealthPolicy, Minimum
from pydsr.model.service import BackendState, DesiredBackend

UP, DRAIN, DOWN = BackendState.UP, BackendState.DRAIN, BackendState.DOWN
WEB = Endpoint.parse("198.51.100.10:80")
A, B, C, SORRY = (ip_address(f"198.51.100.{low}") for low in (21, 22, 23, 29))
SICK = BackendHealth(UP, 10, 10, is_healthy=False, since=100.0)
HEALTHY = BackendHealth(UP, 10, 10)


def service(*backends: DesiredBackend, **policy: Any) -> DesiredService:
    """Return a service with a check, of three backends of weight 10 where none are named."""
    chosen = backends or tuple(DesiredBackend(one, 10, UP) for one in (A, B, C))
    health = HealthPolicy((TcpCheck(type="tcp"),), **policy)
    stand_in = (replace(health.sorry, state=DOWN),) if health.sorry else ()
    return DesiredService(WEB, backends=(*chosen, *stand_in), health=health)


def test_unknown_backends_are_as_in_the_file() -> None:
    whole = BackendHealth(UP, 10, 10)
    assert {A: whole, B: whole, C: whole} == decide(service(), {}, 0.0)


@pytest.mark.parametrize("state", [DOWN, DRAIN])
def test_unhealthy_backends_get_the_state_on_failure(state: BackendState) -> None:
    found = decide(service(on_failure=state), {B: SICK}, 100.0)
    assert [UP, state, UP] == [found[one].state for one in (A, B, C)]


def test_below_the_minimum_the_unhealthy_keep_their_whole_weight() -> None:
    found = decide(service(minimum=Minimum(3), slow_start=60.0), {B: SICK}, 100.0)
    assert replace(SICK, is_kept=True) == found[B]


def test_the_minimum_brings_no_failed_backend_back() -> None:
    out = {B: replace(SICK, state=DOWN)}
    assert DOWN is decide(service(minimum=Minimum(3)), out, 100.0)[B].state


def test_the_sorry_backend_is_up_while_all_others_are_unhealthy() -> None:
    backed = service(sorry=DesiredBackend(SORRY, 3, UP))
    some = decide(backed, {A: SICK, B: SICK}, 100.0)
    none = decide(backed, dict.fromkeys((A, B, C), SICK), 100.0)
    assert BackendHealth(DOWN, 3, 3, is_healthy=None) == some[SORRY]
    assert BackendHealth(UP, 3, 3, is_healthy=None) == none[SORRY]
    assert {DOWN} == {none[one].state for one in (A, B, C)}


def test_what_the_file_takes_out_is_not_checked() -> None:
    backends = (DesiredBackend(A, 10, UP), DesiredBackend(B, 10, DRAIN))
    assert {A} == decide(service(*backends), {B: SICK}, 100.0).keys()


def test_a_weight_rises_after_health_is_back() -> None:
    slow = service(slow_start=10.0)
    back = {B: replace(HEALTHY, since=100.0)}
    weights = [decide(slow, back, now)[B].weight for now in (100.0, 104.5, 110.0)]
    assert [1, 5, 10] == weights
    assert slow.health is not None
    assert 0.5 == seconds_to_next_weight(slow.health, back.values(), 100.5)
    assert None is seconds_to_next_weight(slow.health, back.values(), 110.0)
    assert None is seconds_to_next_weight(slow.health, [HEALTHY, SICK], 100.0)


AGENTS = {
    "50%": (UP, 5),
    "1%": (UP, 1),
    "0%": (DRAIN, 10),
    "drain": (DRAIN, 10),
    "maint": (DOWN, 10),
    "up ready 200%": (UP, 20),
}


@pytest.mark.parametrize(("said", "expected"), list(AGENTS.items()))
def test_a_backend_has_the_state_and_weight_its_agent_asks_for(
    said: str, expected: tuple[BackendState, int]
) -> None:
    health = {B: replace(HEALTHY, report=parse_agent(said))}
    found = decide(service(), health, 0.0)[B]
    assert expected == (found.state, found.weight)
    assert 10 == found.configured_weight


def test_a_backend_its_agent_drains_does_not_replace_the_sorry_backend() -> None:
    backed = service(sorry=DesiredBackend(SORRY, 1, UP))
    away = replace(HEALTHY, report=AgentReport(percent=0))
    found = decide(backed, {A: away, B: SICK, C: SICK}, 100.0)
    assert (DRAIN, UP) == (found[A].state, found[SORRY].state)


def applied(health: ServiceHealth, wanted: DesiredService) -> tuple[DesiredBackend, ...]:
    """Return the backends of a service with health applied."""
    return apply_health(DesiredState(services=(wanted,)), {WEB: health}).services[0].backends


def test_health_changes_states_and_weights() -> None:
    health = {A: BackendHealth(DOWN, 10, 10), B: BackendHealth(UP, 3, 10)}
    assert (
        DesiredBackend(A, 10, DOWN),
        DesiredBackend(B, 3, UP),
        DesiredBackend(C, 10, UP),
    ) == applied(health, service())


def test_a_weight_changed_in_the_file_holds() -> None:
    wanted = service(DesiredBackend(A, 20, UP))
    assert (DesiredBackend(A, 20, UP),) == applied({A: BackendHealth(UP, 3, 10)}, wanted)


def test_what_the_file_takes_out_stays_out() -> None:
    wanted = service(DesiredBackend(A, 10, DRAIN))
    assert wanted.backends == applied({A: BackendHealth(UP, 10, 10)}, wanted)


def test_the_sorry_backend_takes_over_in_the_desired_state() -> None:
    wanted = service(DesiredBackend(A, 1, UP), sorry=DesiredBackend(SORRY, 1, UP))
    health = {A: BackendHealth(DOWN, 1, 1), SORRY: BackendHealth(UP, 1, 1)}
    assert [DOWN, UP] == [item.state for item in applied(health, wanted)]


def test_health_is_not_applied_to_a_service_without_checks() -> None:
    wanted = replace(service(), health=None)
    assert wanted.backends == applied({A: BackendHealth(DOWN, 10, 10)}, wanted)


HEALTH = st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.booleans()), max_size=8).map(
    lambda rows: {
        IPv4Address(number): BackendHealth(UP if is_up else DOWN, 10, 10, is_healthy, since)
        for number, (is_healthy, since, is_up) in enumerate(rows, 1)
    }
)
MINIMUMS = st.builds(Minimum, st.integers(0, 8)) | st.builds(
    Minimum, st.integers(0, 100), st.just(True)
)


def addresses(*numbers: int) -> frozenset[IPv4Address]:
    """Return addresses by number."""
    return frozenset(map(IPv4Address, numbers))


def pool(*rows: tuple[bool, float]) -> ServiceHealth:
    """Return the health of backends in service: whether each is healthy, and since when."""
    return {IPv4Address(n): BackendHealth(UP, 10, 10, *row) for n, row in enumerate(rows, 1)}


def test_healthy_backends_take_flows() -> None:
    health = pool((True, 0), (False, 5), (True, 0))
    assert (addresses(1, 3), addresses()) == choose_in_service(health)


def test_below_the_minimum_those_that_failed_last_are_kept() -> None:
    health = pool((False, 5), (False, 9), (True, 0), (False, 7))
    expected = addresses(3), addresses(2, 4)
    assert expected == choose_in_service(health, Minimum(3))
    assert expected == choose_in_service(health, Minimum(60, is_percentage=True))


def test_what_is_out_is_not_brought_back_by_the_minimum() -> None:
    out = {A: replace(SICK, state=DOWN)}
    assert (addresses(), addresses()) == choose_in_service(out, Minimum(1))


def test_the_sorry_backend_takes_the_place_of_all() -> None:
    health = pool((False, 1), (False, 2))
    assert (addresses(), addresses()) == choose_in_service(health, Minimum(2), has_sorry=True)
    one_healthy = pool((True, 1), (False, 2))
    expected = addresses(1), addresses(2)
    assert expected == choose_in_service(one_healthy, Minimum(2), has_sorry=True)


@given(HEALTH, MINIMUMS, st.booleans())
def test_nobody_healthy_is_left_out_and_no_more_are_kept_than_needed(
    health: ServiceHealth, minimum: Minimum, has_sorry: bool
) -> None:
    healthy, kept = choose_in_service(health, minimum, has_sorry)
    in_service = {address for address, one in health.items() if one.state is UP}
    assert healthy == {address for address, one in health.items() if one.is_healthy}
    assert not kept & healthy
    assert kept <= in_service
    if kept:
        assert len(healthy | kept) <= minimum.of(len(health))
    if healthy or not has_sorry:
        available = len(healthy | in_service)
        assert len(healthy | kept) >= min(minimum.of(len(health)), available)
    else:
        assert not kept


@given(HEALTH, MINIMUMS)
def test_asking_again_changes_nothing(health: ServiceHealth, minimum: Minimum) -> None:
    healthy, kept = chosen = choose_in_service(health, minimum)
    after = {
        address: replace(one, state=UP if address in healthy | kept else DOWN)
        for address, one in health.items()
    }
    assert chosen == choose_in_service(after, minimum)


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
def test_a_weight_rises_to_its_full_value(
    weight: int, one: float, other: float, steps: int
) -> None:
    earlier, later = sorted((one, other))
    first, second = (slow_start_weight(weight, at, 60, steps) for at in (earlier, later))
    assert min(1, weight) <= first <= second <= weight
    if later >= 60:
        assert weight == second


@given(st.floats(0, 59.9), st.integers(1, 50))
def test_a_weight_stays_until_its_next_step(elapsed: float, steps: int) -> None:
    def weight(at: float) -> int:
        return slow_start_weight(1000, at, 60, steps)

    wait = seconds_to_next_step(elapsed, 60, steps)
    assert wait is not None
    assert 0 < wait + 1e-9 <= 60 / steps + 1e-6
    assert weight(elapsed) == weight(elapsed + wait * 0.99)
    assert weight(elapsed + wait + 1e-6) == min(1000, weight(elapsed + wait / 2 + 60 / steps))


def test_slow_start_goes_by_steps() -> None:
    weights = [slow_start_weight(100, second, 10, steps=5) for second in range(11)]
    assert [20, 20, 40, 40, 60, 60, 80, 80, 100, 100, 100] == weights
    assert seconds_to_next_step(10, 10) is None
    assert 7 == slow_start_weight(7, 0, 0)
