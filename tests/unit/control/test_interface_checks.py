"""On which devices the balancer can be put, and which it names instead."""

from __future__ import annotations

import pytest

from pydsr.control.interface_checks import check_highest_index, check_kind, check_mode
from pydsr.model.addresses import MacAddress
from pydsr.model.errors import EnvironmentCannotError, InputError
from pydsr.model.interfaces import Interface

MAC = MacAddress.parse("02:00:00:00:00:01")


def device(index: int, name: str, kind: str = "", parent: int = 0, master: int = 0) -> Interface:
    """Return a device of some kind."""
    return Interface(index, name, MAC, 1500, True, kind=kind, parent=parent, master=master)


DEVICES = [
    device(2, "eth0", master=6),
    device(3, "eth1", master=6),
    device(4, "eth2", master=7),
    device(5, "eth3", master=8),
    device(6, "bond0", "bond"),
    device(7, "br0", "bridge"),
    device(8, "team0", "team"),
    device(9, "eth4"),
    device(10, "eth4.100", "vlan", parent=9),
    device(11, "eth4.100.200", "vlan", parent=10),
    device(12, "ipvlan0", "ipvlan", parent=9),
    device(13, "macvlan0", "macvlan", parent=9),
    device(14, "veth0", "veth"),
    device(15, "br1", "bridge"),
    device(16, "eth5", master=17),
    device(17, "red", "vrf"),
]
BY_NAME = {one.name: one for one in DEVICES}
MODES = ("auto", "native", "generic")


def refusal(name: str, mode: str) -> EnvironmentCannotError:
    """Return the error that attaching to a device meets."""
    with pytest.raises(EnvironmentCannotError) as caught:
        check_kind(BY_NAME[name], DEVICES, mode)
    assert name in caught.value.message
    return caught.value


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "name", ["eth2", "eth4", "eth5", "bond0", "team0", "macvlan0", "veth0", "red"]
)
def test_most_devices_are_tried(name: str, mode: str) -> None:
    """The kernel has the last word; a port of a bridge is tried as well."""
    check_kind(BY_NAME[name], DEVICES, mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("part", "whole"), [("eth0", "bond0"), ("eth3", "team0")])
def test_of_a_bond_the_whole_is_attached(part: str, whole: str, mode: str) -> None:
    assert f"pydsr attach {whole}" in refusal(part, mode).hint


@pytest.mark.parametrize("mode", MODES)
def test_an_ipvlan_is_refused_since_no_packet_for_a_vip_comes_to_it(mode: str) -> None:
    assert "eth4" in refusal("ipvlan0", mode).hint


@pytest.mark.parametrize("mode", ["auto", "native"])
@pytest.mark.parametrize("name", ["eth4.100", "eth4.100.200"])
def test_instead_of_a_vlan_device_what_it_stands_on_is_attached(name: str, mode: str) -> None:
    hint = refusal(name, mode).hint
    assert "pydsr attach eth4," in hint
    assert "--mode generic" in hint


@pytest.mark.parametrize("mode", ["auto", "native"])
def test_instead_of_a_bridge_its_ports_are_attached(mode: str) -> None:
    hint = refusal("br0", mode).hint
    assert "(eth2)" in hint
    assert "--mode generic" in hint
    assert "none yet" in refusal("br1", mode).hint


@pytest.mark.parametrize("name", ["eth4.100", "eth4.100.200", "br0"])
def test_generic_mode_takes_vlan_devices_and_bridges(name: str) -> None:
    check_kind(BY_NAME[name], DEVICES, "generic")


def test_an_upgrade_keeps_its_mode() -> None:
    attached = Interface(2, "eth0", MAC, 1500, True, xdp_mode="generic", xdp_program=7)
    for mode in ("auto", "generic"):
        check_mode(attached, True, mode)
    check_mode(attached, False, "native")
    with pytest.raises(InputError, match="generic mode") as caught:
        check_mode(attached, True, "native")
    assert "pydsr detach eth0" in caught.value.hint


def test_an_index_beyond_the_map_is_refused() -> None:
    check_highest_index(device(99, "eth0"), 100)
    with pytest.raises(EnvironmentCannotError, match="end at 99"):
        check_highest_index(device(100, "eth0"), 100)
