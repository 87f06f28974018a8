"""A trunk of untagged, tagged and doubly tagged networks, each with clients and backends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.netns.command import Pydsr
from tests.support.netns.namespaces import made_directory
from tests.vm.inside.switched import (
    BACKEND,
    BLUE,
    SEGMENTS,
    STACKED,
    VIP,
    Segment,
    Switched,
    made_switched,
)

NAMES = {segment.name for segment in SEGMENTS}
BY_NAME = pytest.mark.parametrize("segment", SEGMENTS, ids=lambda segment: segment.name)


@pytest.fixture(scope="module")
def switched() -> Iterator[Switched]:
    """A balancer on a trunk, for one file of tests."""
    with made_switched() as made:
        yield made


@pytest.fixture(scope="module")
def pydsr(switched: Switched) -> Iterator[Pydsr]:
    """The command on the balancer, which is attached to the trunk."""
    with made_directory() as bpffs:
        pydsr = Pydsr(switched.lb, bpffs)
        pydsr.ok("attach", "eth0", "--mode", "native")
        yield pydsr


def service_of(segment: Segment, version: int) -> str:
    """Return the endpoint for the clients of a segment."""
    return f"{in_brackets(segment.address(VIP, version))}:80"


def in_brackets(address: str) -> str:
    """Return an address as it is written before a port."""
    return f"[{address}]" if ":" in address else address


def trunk_received(switched: Switched) -> int:
    """Return how many packets came to the balancer."""
    return int(switched.lb.link("eth0")["stats64"]["rx"]["packets"])


@BY_NAME
def test_the_hosts_are_connected_without_a_balancer(switched: Switched, segment: Segment) -> None:
    """Clients reach every backend, the balancer too; nothing answers at a VIP."""
    client = switched.clients[segment.name]
    for other in SEGMENTS:
        for version in (4, 6):
            assert switched.lb.pings(other.address(BACKEND, version))
            page = client.asks_for_page(in_brackets(other.address(BACKEND, version)))
            assert page == other.name
    assert client.asks_for_page(segment.address(VIP), "-m", "1") is None


@BY_NAME
@pytest.mark.parametrize("version", [4, 6])
def test_clients_of_a_vlan_are_served_by_the_backends_of_all(
    switched: Switched, pydsr: Pydsr, segment: Segment, version: int
) -> None:
    """Each frame gets the tags of its backend; VIPs answer with those of who asks."""
    service = service_of(segment, version)
    client, vip = switched.clients[segment.name], in_brackets(segment.address(VIP, version))
    pydsr.ok("backends", "set", service, *(one.address(BACKEND, version) for one in SEGMENTS))
    (shown,) = pydsr.json("backends", "list", service)
    assert {one["interface"] for one in shown["backends"]} == {"eth0"}
    assert client.pings(segment.address(VIP, version))
    served: set[str | None] = set()
    before = trunk_received(switched)
    requests = 0
    while served != NAMES and requests < 60:
        served.add(client.asks_for_page(vip))
        requests += 1
    assert served == NAMES
    # A request is five packets of the client or more; the answers are as many.
    assert trunk_received(switched) - before < 8 * requests
    pydsr.ok("services", "remove", service)


@pytest.mark.parametrize("segment", [BLUE, STACKED], ids=lambda segment: segment.name)
def test_a_vlan_by_hand_needs_no_device(switched: Switched, pydsr: Pydsr, segment: Segment) -> None:
    """MAC and VLANs as they were named, of an address that has no route here."""
    service = service_of(SEGMENTS[0], 4)
    mac = switched.backends[segment.name].mac(f"{segment.name}-{BACKEND}")
    pydsr.ok("backends", "set", service, f"192.0.2.11@{mac}%{segment.tags}")
    client = switched.clients[SEGMENTS[0].name]
    assert client.asks_for_page(SEGMENTS[0].address(VIP)) == segment.name
    pydsr.ok("services", "remove", service)
