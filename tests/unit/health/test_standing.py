"""What health makes of backends, and how that is laid over a file."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from pydsr.health.standing import (
    Condition,
    Overlay,
    Standing,
    next_change,
    overlaid,
    standings,
)
from pydsr.model.addresses import Endpoint
from pydsr.model.agent_report import AgentReport, parse_agent
from pydsr.model.checks import TcpCheck
from pydsr.model.desired import DesiredBackend
from pydsr.model.desired_state import DesiredService, DesiredState
from pydsr.model.health_policy import HealthPolicy, Minimum
from pydsr.model.service import BackendState

UP, DRAIN, DOWN = BackendState.UP, BackendState.DRAIN, BackendState.DOWN
WEB = Endpoint.parse("198.51.100.10:80")
A, B, C, SORRY = (ip_address(f"198.51.100.{low}") for low in (21, 22, 23, 29))
SICK = Condition(is_healthy=False, since=100.0)


def service(*backends: DesiredBackend, **policy: Any) -> DesiredService:
    """Return a service with a check, of three backends of weight 10 where none are named."""
    chosen = backends or tuple(DesiredBackend(one, 10, UP) for one in (A, B, C))
    health = HealthPolicy((TcpCheck(type="tcp"),), **policy)
    stand_in = (replace(health.sorry, state=DOWN),) if health.sorry else ()
    return DesiredService(WEB, backends=(*chosen, *stand_in), health=health)


def test_all_are_as_wanted_before_anything_is_known() -> None:
    whole = Standing(UP, 10, 10)
    assert {A: whole, B: whole, C: whole} == standings(service(), {}, {}, 0.0)


@pytest.mark.parametrize("state", [DOWN, DRAIN])
def test_the_unhealthy_are_out_as_the_service_says(state: BackendState) -> None:
    found = standings(service(on_failure=state), {B: SICK}, {}, 100.0)
    assert [UP, state, UP] == [found[one].state for one in (A, B, C)]


def test_too_few_are_held_with_their_whole_weight() -> None:
    found = standings(service(minimum=Minimum(3), slow_start=60.0), {B: SICK}, {}, 100.0)
    assert Standing(UP, 10, 10, is_held=True) == found[B]


def test_what_is_out_is_not_taken_back_in_to_be_held() -> None:
    out = {B: Standing(DOWN, 10, 10)}
    assert DOWN is standings(service(minimum=Minimum(3)), {B: SICK}, out, 100.0)[B].state


def test_the_sorry_backend_is_up_while_nobody_else_is() -> None:
    stood = service(sorry=DesiredBackend(SORRY, 3, UP))
    some = standings(stood, {A: SICK, B: SICK}, {}, 100.0)
    none = standings(stood, dict.fromkeys((A, B, C), SICK), {}, 100.0)
    assert Standing(DOWN, 3, 3) == some[SORRY]
    assert Standing(UP, 3, 3) == none[SORRY]
    assert {DOWN} == {none[one].state for one in (A, B, C)}


def test_what_the_file_takes_out_is_not_judged() -> None:
    backends = (DesiredBackend(A, 10, UP), DesiredBackend(B, 10, DRAIN))
    assert {A} == standings(service(*backends), {B: SICK}, {}, 100.0).keys()


def test_a_weight_rises_after_health_is_back() -> None:
    slow = service(slow_start=10.0)
    back = {B: Condition(since=100.0)}
    weights = [standings(slow, back, {}, now)[B].weight for now in (100.0, 104.5, 110.0)]
    assert [1, 5, 10] == weights
    assert slow.health is not None
    assert 0.5 == next_change(slow.health, back.values(), 100.5)
    assert None is next_change(slow.health, back.values(), 110.0)
    assert None is next_change(slow.health, [Condition(), SICK], 100.0)


AGENTS = {
    "50%": Standing(UP, 5, 10),
    "1%": Standing(UP, 1, 10),
    "0%": Standing(DRAIN, 10, 10),
    "drain": Standing(DRAIN, 10, 10),
    "maint": Standing(DOWN, 10, 10),
    "up ready 200%": Standing(UP, 20, 10),
}


@pytest.mark.parametrize(("said", "expected"), list(AGENTS.items()))
def test_a_backend_is_as_its_agent_asks(said: str, expected: Standing) -> None:
    conditions = {B: Condition(report=parse_agent(said))}
    assert expected == standings(service(), conditions, {}, 0.0)[B]


def test_whom_agents_take_out_does_not_keep_the_sorry_backend_away() -> None:
    stood = service(sorry=DesiredBackend(SORRY, 1, UP))
    away = Condition(report=AgentReport(percent=0))
    found = standings(stood, {A: away, B: SICK, C: SICK}, {}, 100.0)
    assert (DRAIN, UP) == (found[A].state, found[SORRY].state)


def laid(overlay: Overlay, wanted: DesiredService) -> tuple[DesiredBackend, ...]:
    """Return the backends that a service comes to."""
    return overlaid(DesiredState(services=(wanted,)), overlay).services[0].backends


def test_the_overlay_takes_out_and_makes_lighter() -> None:
    overlay = {WEB: {A: Standing(DOWN, 10, 10), B: Standing(UP, 3, 10)}}
    assert (
        DesiredBackend(A, 10, DOWN),
        DesiredBackend(B, 3, UP),
        DesiredBackend(C, 10, UP),
    ) == laid(overlay, service())


def test_a_weight_that_the_file_has_changed_holds() -> None:
    wanted = service(DesiredBackend(A, 20, UP))
    assert (DesiredBackend(A, 20, UP),) == laid({WEB: {A: Standing(UP, 3, 10)}}, wanted)


def test_what_the_file_takes_out_stays_out() -> None:
    wanted = service(DesiredBackend(A, 10, DRAIN))
    assert wanted.backends == laid({WEB: {A: Standing(UP, 10, 10)}}, wanted)


def test_the_sorry_backend_stands_in_by_the_overlay() -> None:
    wanted = service(DesiredBackend(A, 1, UP), sorry=DesiredBackend(SORRY, 1, UP))
    overlay = {WEB: {A: Standing(DOWN, 1, 1), SORRY: Standing(UP, 1, 1)}}
    assert [DOWN, UP] == [item.state for item in laid(overlay, wanted)]


def test_nothing_is_laid_over_a_service_without_checks() -> None:
    wanted = replace(service(), health=None)
    assert wanted.backends == laid({WEB: {A: Standing(DOWN, 10, 10)}}, wanted)
