"""Which networks an attached interface leads to."""

from __future__ import annotations

from pydsr.model.addresses import VLAN_8021AD, VLAN_8021Q, MacAddress, Tag
from pydsr.model.interfaces import (
    Interface,
    Segment,
    find_own_macs,
    find_segments,
    has_vlans,
    lowest_parent,
)

ETH0, ETH1, VLAN100, VLAN200, BRIDGE, VLAN7 = range(2, 8)
C100, C200, S100 = Tag(VLAN_8021Q, 100), Tag(VLAN_8021Q, 200), Tag(VLAN_8021AD, 100)


def mac(number: int) -> MacAddress:
    """Return a MAC that is told from others."""
    return MacAddress(bytes([2, 0, 0, 0, 0, number]))


def device(
    index: int, kind: str = "", parent: int = 0, master: int = 0, tag: Tag | None = None
) -> Interface:
    """Return a device of some kind."""
    return Interface(
        index,
        f"if{index}",
        mac(index),
        1500,
        True,
        kind=kind,
        parent=parent,
        master=master,
        tag=tag,
    )


def vlan(index: int, parent: int, tag: Tag) -> Interface:
    """Return a VLAN device."""
    return device(index, "vlan", parent, tag=tag)


def test_an_attached_interface_leads_to_its_own_network() -> None:
    assert find_segments([device(ETH0), device(ETH1)], {ETH0}) == {ETH0: Segment(ETH0)}


def test_a_vlan_device_leads_to_its_vlan() -> None:
    found = find_segments([device(ETH0), vlan(VLAN200, ETH0, C200)], {ETH0})
    assert found[VLAN200] == Segment(ETH0, (C200,))
    assert has_vlans([device(ETH0), vlan(VLAN200, ETH0, C200)], {ETH0})


def test_the_device_nearest_to_the_wire_has_the_outer_tag() -> None:
    stack = [vlan(VLAN200, VLAN100, C200), vlan(VLAN100, ETH0, S100), device(ETH0)]
    assert find_segments(stack, {ETH0}) == {
        ETH0: Segment(ETH0),
        VLAN100: Segment(ETH0, (S100,)),
        VLAN200: Segment(ETH0, (S100, C200)),
    }


def test_more_tags_than_a_frame_carries_lead_nowhere() -> None:
    stack = [
        device(ETH0),
        vlan(VLAN100, ETH0, S100),
        vlan(VLAN200, VLAN100, C100),
        vlan(VLAN7, VLAN200, C200),
    ]
    assert VLAN7 not in find_segments(stack, {ETH0})
    assert lowest_parent(stack[-1], {one.index: one for one in stack}) == stack[0]


def test_what_the_balancer_is_not_on_leads_nowhere() -> None:
    """Nor does a VLAN device whose parent is in another namespace, or a macvlan."""
    others = [
        device(ETH0),
        device(ETH1),
        vlan(VLAN100, ETH1, C100),
        vlan(VLAN200, 0, C200),
        device(BRIDGE, "macvlan", parent=ETH0),
    ]
    assert find_segments(others, {ETH0}).keys() == {ETH0}
    assert not has_vlans(others, {ETH0})


def test_a_vlan_device_that_is_attached_itself_is_a_network_without_tags() -> None:
    """As in generic mode: its program sees frames with the tag gone."""
    devices = [device(ETH0), vlan(VLAN200, ETH0, C200)]
    assert find_segments(devices, {ETH0, VLAN200})[VLAN200] == Segment(VLAN200)


def test_a_bridge_with_an_attached_port_leads_on_with_vlans_above_it() -> None:
    devices = [
        device(ETH0, master=BRIDGE),
        device(ETH1, master=BRIDGE),
        device(BRIDGE, "bridge"),
        vlan(VLAN7, BRIDGE, C200),
    ]
    assert find_segments(devices, {ETH0}) == {
        ETH0: Segment(ETH0),
        BRIDGE: Segment(BRIDGE),
        VLAN7: Segment(BRIDGE, (C200,)),
    }


def test_another_master_than_a_bridge_leads_nowhere() -> None:
    assert find_segments([device(ETH0, master=BRIDGE), device(BRIDGE, "vrf")], {ETH0}) == {
        ETH0: Segment(ETH0)
    }


def test_packets_for_the_balancer_are_sent_to_the_macs_of_its_interfaces() -> None:
    """Those of a bond come in by its parts, with the bond's MAC."""
    bond = device(BRIDGE, "bond")
    devices = [device(ETH0, master=BRIDGE), device(ETH1, master=BRIDGE), bond, device(VLAN7)]
    assert find_own_macs(devices, {BRIDGE}) == {
        ETH0: bond.mac,
        ETH1: bond.mac,
        BRIDGE: bond.mac,
    }
    assert find_own_macs(devices, {VLAN7}) == {VLAN7: mac(VLAN7)}


def test_ports_of_a_bridge_keep_their_own_macs() -> None:
    devices = [device(ETH0, master=BRIDGE), device(BRIDGE, "bridge")]
    assert find_own_macs(devices, {ETH0}) == {ETH0: mac(ETH0)}
