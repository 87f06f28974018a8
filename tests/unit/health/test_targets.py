"""By which device a check reaches the backend that packets are sent to."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from pydsr.health.targets import Route, route_to
from pydsr.model.addresses import VLAN_8021Q, MacAddress, Tag
from pydsr.model.interfaces import Interface
from pydsr.model.service import Backend, BackendState

ETH0, ETH1, VLAN, BRIDGE, PORT = range(2, 7)
C100, C200 = Tag(VLAN_8021Q, 100), Tag(VLAN_8021Q, 200)
MAC = MacAddress.parse("02:00:00:00:00:11")
FOUR, SIX = ip_address("198.51.100.11"), ip_address("2001:db8::11")
VIP4, VIP6 = ip_address("192.0.2.80"), ip_address("2001:db8::80")

INTERFACES = [
    Interface(ETH0, "eth0", MAC, 1500, True),
    Interface(ETH1, "eth1", MAC, 1500, True),
    Interface(VLAN, "eth0.100", MAC, 1500, True, kind="vlan", parent=ETH0, tag=C100),
    Interface(BRIDGE, "br0", MAC, 1500, True, kind="bridge"),
    Interface(PORT, "eth2", MAC, 1500, True, master=BRIDGE),
]


def backend(ifindex: int, *tags: Tag, by_hand: bool = False, six: bool = False) -> Backend:
    address = SIX if six else FOUR
    return Backend(1, address, 1, MAC, by_hand, BackendState.UP, ifindex, tags=tags)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (backend(ETH0), Route(FOUR, ETH0)),
        (backend(ETH1, six=True), Route(SIX, ETH1)),
        (backend(ETH0, C100), Route(FOUR, VLAN)),
        (backend(PORT), Route(FOUR, BRIDGE)),
        (backend(ETH0, by_hand=True), Route(FOUR, ETH0, MAC)),
        (backend(ETH0, C200), None),
        (backend(ETH1, C100, by_hand=True), None),
    ],
    ids=["untagged", "other interface", "VLAN", "bridge", "MAC by hand", "no device", "no device"],
)
def test_a_route_uses_the_device_in_the_backends_network(
    one: Backend, expected: Route | None
) -> None:
    assert expected == route_to(one, VIP4, INTERFACES, {ETH0, ETH1, PORT})


def test_an_ipv6_vip_goes_to_the_mac_of_a_backend_with_an_ipv4_address() -> None:
    assert Route(FOUR, ETH0, MAC) == route_to(backend(ETH0), VIP6, INTERFACES, {ETH0})
    assert Route(SIX, ETH0) == route_to(backend(ETH0, six=True), VIP4, INTERFACES, {ETH0})


def test_a_backend_without_a_mac_is_not_checked() -> None:
    unresolved = Backend(1, FOUR, 1, None, False, BackendState.UP, ETH0)
    assert route_to(unresolved, VIP4, INTERFACES, {ETH0}) is None
