"""Decoding interfaces from netlink messages, byte for byte as the kernel writes them."""

from __future__ import annotations

import socket
import struct

import pytest
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from pydsr.kernel.net.links import find_interface, interface_from, interface_names
from pydsr.model.addresses import VLAN_8021AD, VLAN_8021Q, MacAddress, Tag
from pydsr.model.errors import EnvironmentCannotError, InputError
from pydsr.model.interfaces import Interface

# Numbers of attributes: linux/if_link.h.
ADDRESS, IFNAME, MTU, LINK, MASTER, LINKINFO, LINK_NETNSID = 1, 3, 4, 5, 10, 18, 37
INFO_KIND, INFO_DATA = 1, 2
VLAN_ID, VLAN_FLAGS, VLAN_PROTOCOL = 1, 2, 5

OCTETS = bytes.fromhex("020000000001")
MAC = MacAddress(OCTETS)


def attribute(number: int, value: bytes) -> bytes:
    """Return a netlink attribute: length, number, value, and padding to four bytes."""
    length = 4 + len(value)
    return struct.pack("=HH", length, number) + value + bytes(-length % 4)


def number(value: int) -> bytes:
    """Return a number in the byte order of most attributes."""
    return struct.pack("=I", value)


def interface(*attributes: bytes) -> Interface:
    """Return the interface decoded from an RTM_NEWLINK of interface 7, which is up."""
    usual = (
        attribute(IFNAME, b"if7\0"),
        attribute(MTU, number(1500)),
        attribute(ADDRESS, OCTETS),
    )
    content = struct.pack("=BxHiII", 0, 1, 7, 1, 0) + b"".join((*usual, *attributes))
    header = struct.pack("=IHHII", 16 + len(content), 16, 0, 1, 0)
    message = ifinfmsg(header + content)
    message.decode()
    return interface_from(message)


def link_info(kind: bytes, data: bytes = b"") -> bytes:
    """Return the attribute with the kind of a device."""
    inner = attribute(INFO_KIND, kind + b"\0")
    return attribute(LINKINFO, inner + (attribute(INFO_DATA, data) if data else b""))


def test_a_network_card_has_no_kind_and_stands_on_nothing() -> None:
    assert interface() == Interface(7, "if7", MAC, 1500, True)


@pytest.mark.parametrize("protocol", [VLAN_8021Q, VLAN_8021AD])
def test_a_vlan_device_tells_its_tag(protocol: int) -> None:
    """The protocol alone is in network byte order."""
    data = (
        attribute(VLAN_PROTOCOL, struct.pack("!H", protocol))
        + attribute(VLAN_ID, struct.pack("=H", 200))
        + attribute(VLAN_FLAGS, struct.pack("=II", 1, 0xFFFFFFFF))
    )
    found = interface(attribute(LINK, number(3)), link_info(b"vlan", data))
    assert (found.kind, found.parent, found.tag) == ("vlan", 3, Tag(protocol, 200))


def test_a_port_tells_its_master() -> None:
    found = interface(attribute(MASTER, number(9)), link_info(b"veth"))
    assert (found.kind, found.master) == ("veth", 9)


def test_what_is_below_in_another_namespace_is_not_named() -> None:
    """Its index means another interface here."""
    elsewhere = attribute(LINK_NETNSID, number(0))
    assert interface(attribute(LINK, number(3)), link_info(b"macvlan")).parent == 3
    assert interface(attribute(LINK, number(3)), elsewhere, link_info(b"macvlan")).parent == 0


def test_the_other_end_of_a_veth_is_not_below_it() -> None:
    assert interface(attribute(LINK, number(3)), link_info(b"veth")).parent == 0


def test_the_names_of_interfaces_are_those_of_this_namespace() -> None:
    assert "lo" in interface_names().values()
    assert (1, "lo") in interface_names().items()
    assert (1, "lo") in socket.if_nameindex()


def test_an_interface_that_does_not_exist_is_named() -> None:
    with pytest.raises(InputError, match="there is no interface 'no-such'") as error:
        find_interface("no-such")
    assert error.value.hint.startswith(("there are: ", "it has no Ethernet interface"))
    assert "lo" not in error.value.hint.split()


def test_a_loopback_is_no_ethernet_interface() -> None:
    with pytest.raises(EnvironmentCannotError, match=r"^lo is not an Ethernet interface$"):
        find_interface("lo")
