"""Limits of services and backends: what just fits, and what no longer does."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pydsr.control.attached_interfaces import Attached
from pydsr.control.resolve import Network
from pydsr.control.service_plan import plan_services
from pydsr.kernel.bpf import layout
from pydsr.kernel.bpf.layout import StateNumber
from pydsr.kernel.bpf.live_state import LiveState
from pydsr.model.addresses import Endpoint, MacAddress
from pydsr.model.desired_state import DesiredService
from pydsr.model.errors import InputError
from pydsr.model.interfaces import Interface
from pydsr.model.options import ServiceOptions
from pydsr.model.service import DesiredBackend

OWN = MacAddress.parse("02:00:00:00:00:fe")
NETWORK = Network([Attached("eth0", 2, OWN, "native", 5)], [Interface(2, "eth0", OWN, 1500, True)])
FIRST = IPv4Address("10.0.0.0")
VIP, OTHER = Endpoint.parse("198.51.100.10:80"), Endpoint.parse("198.51.100.11:80")


def state(free_services: int = 2, free_backends: int = 9, table_size: int = 251) -> LiveState:
    """Return a live state with so much room."""

    def ids(number: StateNumber) -> Iterator[int]:
        assert number is StateNumber.FREE
        return iter(range(1, free_backends + 1))

    made = SimpleNamespace(
        settings=SimpleNamespace(table_size=table_size),
        services=SimpleNamespace(free_ids=lambda number: [*range(min(number, free_services))]),
        backends=SimpleNamespace(ids=ids),
    )
    return cast("LiveState", made)


def service(endpoint: Endpoint, backends: int) -> tuple[None, DesiredService]:
    """Return a new service with so many backends."""
    desired = tuple(
        DesiredBackend(FIRST + number, mac=MacAddress(number.to_bytes(6, "big")))
        for number in range(2, backends + 2)
    )
    return None, DesiredService(endpoint, ServiceOptions(), desired)


def plans(made: LiveState, *services: tuple[None, DesiredService], vips: Any = ()) -> list[Any]:
    """Return the ids of each planned service, and of its backends."""
    found = plan_services(made, services, NETWORK, vips)
    return [(plan.service.id, [backend.id for backend in plan.backends]) for plan in found]


def test_the_last_ids_are_given() -> None:
    made = state(2, 3)
    assert [(0, [1, 2]), (1, [3])] == plans(made, service(VIP, 2), service(OTHER, 1))


def test_one_backend_too_many_is_refused_with_how_many_do_not_fit() -> None:
    with pytest.raises(InputError, match=r"^4 more backends do not fit: 65534 is all"):
        plans(state(2, 3), service(VIP, 2), service(OTHER, 2))


def test_one_service_too_many_is_refused() -> None:
    with pytest.raises(InputError, match=f"there are {layout.SERVICES_MAX} services, and no more"):
        plans(state(1), service(VIP, 1), service(OTHER, 1))


def test_a_service_has_as_many_backends_as_its_table_holds() -> None:
    room = layout.members_max(251)
    assert 1 == len(plans(state(1, room), service(VIP, room)))
    with pytest.raises(InputError, match=f"{room + 1} backends do not fit .*hold {room}") as error:
        plans(state(1, room + 1), service(VIP, room + 1))
    assert "--table-size" in error.value.hint


def test_a_backend_that_is_a_vip_of_another_service_is_refused() -> None:
    (backend,) = service(VIP, 1)[1].backends
    with pytest.raises(InputError, match=r"backend 10\.0\.0\.2 is a VIP of this balancer"):
        plans(state(), service(VIP, 1), vips={VIP.address, backend.address})
