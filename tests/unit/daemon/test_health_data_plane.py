"""The data plane as health sees it: opened once, and changed only where no command has."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace

import pytest

from pydsr.control.edits import BackendEdit
from pydsr.daemon import health_data_plane
from pydsr.daemon.health_data_plane import DataPlane
from pydsr.daemon.health_state import HealthChange
from pydsr.health.service_health import BackendHealth
from pydsr.health.targets import Route
from pydsr.kernel.net import links
from pydsr.model.addresses import Endpoint, IPAddress, MacAddress
from pydsr.model.desired_state import DesiredService
from pydsr.model.errors import BusyError, EnvironmentCannotError, NotAttachedError
from pydsr.model.interfaces import Interface
from pydsr.model.options import ServiceOptions
from pydsr.model.service import Backend, BackendState, DesiredBackend, Service

UP, DRAIN, DOWN = BackendState.UP, BackendState.DRAIN, BackendState.DOWN
WEB, MAIL = Endpoint.parse("10.66.0.80:80"), Endpoint.parse("10.66.0.80:25")
A, B, C = (ip_address(f"10.66.0.{n}") for n in (11, 12, 13))
MAC = MacAddress.parse("02:00:00:00:00:01")
ETH0 = Interface(2, "eth0", MAC, 1500, is_up=True)


def backend(
    address: IPAddress, state: BackendState = UP, weight: int = 10, mac: MacAddress | None = MAC
) -> Backend:
    return Backend(int(address) & 255, address, weight, mac, False, state, 2)


def service(*backends: Backend, endpoint: Endpoint = WEB) -> Service:
    return Service(1, endpoint, ServiceOptions(), backends)


class Balancer:
    """A balancer with some services."""

    opened: list[Balancer]
    services_there: tuple[Service, ...]
    errors: deque[Exception | None]
    edits: list[BackendEdit]

    def __init__(self, _: Path) -> None:
        self.closed = self.followed = 0
        self.opened.append(self)

    def follow_pins(self) -> None:
        self.followed += 1
        error = self.errors.popleft() if self.errors else None
        if error is not None:
            raise error

    def close(self) -> None:
        self.closed += 1

    def services(self) -> tuple[Service, ...]:
        return self.services_there

    def interfaces(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(ifindex=2)]

    def snapshot(self) -> str:
        return "a snapshot"

    def change_several(self, edits: Sequence[BackendEdit]) -> list[Service]:
        self.edits.extend(edits)
        named = {edit.endpoint for edit in edits}
        return [each for each in self.services_there if each.endpoint in named]


@pytest.fixture(autouse=True)
def balancers(monkeypatch: pytest.MonkeyPatch) -> type[Balancer]:
    Balancer.opened, Balancer.errors, Balancer.edits = [], deque(), []
    Balancer.services_there = (service(backend(A), backend(B)), service(endpoint=MAIL))
    monkeypatch.setattr(health_data_plane, "Balancer", Balancer)
    monkeypatch.setattr(links, "all_interfaces", lambda: [ETH0])
    return Balancer


@pytest.fixture
def plane() -> DataPlane:
    return DataPlane(Path("/nowhere"))


def change(
    address: IPAddress,
    before: BackendState,
    after: BackendState,
    weights: tuple[int, int] = (10, 10),
    endpoint: Endpoint = WEB,
) -> HealthChange:
    return HealthChange(
        endpoint,
        address,
        BackendHealth(before, weights[0], 10),
        BackendHealth(after, weights[1], 10, is_healthy=False),
    )


def test_it_stays_open_and_follows_the_pins(plane: DataPlane, balancers: type[Balancer]) -> None:
    """Until it is closed; then it is opened again."""
    for _ in range(3):
        assert [WEB] == [*plane.services([WEB, Endpoint.parse("10.66.0.99:1")])]
    plane.close()
    plane.close()
    assert {WEB, MAIL} == plane.services([WEB, MAIL]).keys()
    assert [(3, 1), (1, 0)] == [(each.followed, each.closed) for each in balancers.opened]


@pytest.mark.parametrize("error", [NotAttachedError("none"), OSError(5, "x"), ValueError("defect")])
def test_after_any_failure_it_is_opened_again(
    plane: DataPlane, balancers: type[Balancer], error: Exception
) -> None:
    """Open maps of a purged balancer would keep their memory. Without one there are no services."""
    balancers.errors.append(error)
    if isinstance(error, NotAttachedError):
        assert {} == plane.services([WEB])
    else:
        with pytest.raises(type(error)):
            plane.services([WEB])
    assert [WEB] == [*plane.services([WEB])]
    assert [1, 0] == [each.closed for each in balancers.opened]


def test_counters_that_cannot_be_read_are_none(plane: DataPlane, balancers: type[Balancer]) -> None:
    balancers.errors.append(EnvironmentCannotError("of another version"))
    assert plane.snapshot() is None
    assert "a snapshot" == str(plane.snapshot())


def test_only_reachable_backends_that_are_checked_have_routes(
    plane: DataPlane, balancers: type[Balancer]
) -> None:
    """One that is out in the file is not checked, nor one that is not there or has no MAC."""
    balancers.services_there = (service(backend(A), backend(B), backend(C, mac=None)),)
    missing = ip_address("10.66.0.14")
    desired = DesiredService(
        WEB,
        backends=(
            DesiredBackend(A, 10, UP),
            DesiredBackend(B, 10, DOWN),
            DesiredBackend(C, 10, UP),
            DesiredBackend(missing, 10, UP),
        ),
    )
    expected = {WEB: (Route(A, 2),), MAIL: ()}
    assert expected == plane.routes([desired, replace(desired, endpoint=MAIL)])
    balancers.errors.append(NotAttachedError("none"))
    with pytest.raises(NotAttachedError):
        plane.routes([desired])


def test_changes_of_several_services_are_made_at_once(
    plane: DataPlane, balancers: type[Balancer]
) -> None:
    balancers.services_there = (service(backend(A), backend(B)), service(backend(C), endpoint=MAIL))
    made = plane.make([change(A, UP, DOWN), change(C, UP, DRAIN, endpoint=MAIL)])
    assert {(WEB, A), (MAIL, C)} == made
    first, second = balancers.edits
    web, mail = balancers.services_there
    assert [(A, DOWN), (B, UP)] == [(b.address, b.state) for b in first.desired_backends(web)]
    assert [(C, DRAIN)] == [(b.address, b.state) for b in second.desired_backends(mail)]


def test_a_change_of_health_alone_writes_nothing(
    plane: DataPlane, balancers: type[Balancer]
) -> None:
    assert set() == plane.make([change(A, UP, UP)])
    assert [] == balancers.opened


def test_a_backend_that_a_command_has_changed_is_left_alone(
    plane: DataPlane, balancers: type[Balancer]
) -> None:
    """By its state; a weight of a command stays while the state changes."""
    balancers.services_there = (service(backend(A, DRAIN), backend(B, UP, 3)),)
    made = plane.make([change(A, UP, DOWN), change(B, UP, DOWN, weights=(10, 5))])
    assert {(WEB, B)} == made
    (edit,) = balancers.edits
    found = edit.desired_backends(balancers.services_there[0])
    assert [(A, DRAIN, 10), (B, DOWN, 3)] == [(b.address, b.state, b.weight) for b in found]


def test_a_weight_of_health_is_written_where_it_was_the_last(
    plane: DataPlane, balancers: type[Balancer]
) -> None:
    plane.make([change(B, UP, UP, weights=(10, 5))])
    (edit,) = balancers.edits
    found = edit.desired_backends(balancers.services_there[0])
    assert [(A, 10), (B, 5)] == [(b.address, b.weight) for b in found]


def test_a_removed_backend_or_service_is_not_changed(
    plane: DataPlane, balancers: type[Balancer]
) -> None:
    balancers.services_there = (service(backend(A)),)
    assert set() == plane.make([change(B, UP, DOWN), change(C, UP, DOWN, endpoint=MAIL)])


def test_a_lock_that_is_held_is_told(plane: DataPlane, balancers: type[Balancer]) -> None:
    balancers.errors.append(BusyError("another command"))
    with pytest.raises(BusyError):
        plane.make([change(A, UP, DOWN)])
    assert {(WEB, A)} == plane.make([change(A, UP, DOWN)])
