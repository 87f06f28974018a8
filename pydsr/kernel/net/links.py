"""Network interfaces and the XDP programs on them, by netlink."""

from __future__ import annotations

from ipaddress import ip_address

from pydsr.kernel.net.netlink import NetlinkMessage, netlink
from pydsr.model.addresses import VLAN_8021Q, IPAddress, MacAddress, Tag
from pydsr.model.errors import EnvironmentCannotError, InputError
from pydsr.model.interfaces import Interface

_ETHERNET = 1
_IFF_UP = 1
# pyroute2's names for the values of IFLA_XDP_ATTACHED (linux/if_link.h).
_XDP_MODES = {"xdp": "native", "xdpgeneric": "generic", "xdpoffload": "offloaded"}


def interface_from(message: NetlinkMessage) -> Interface:
    """Return the interface in a decoded RTM_NEWLINK message."""
    xdp = message.get("xdp")
    attached = xdp.get_attr("IFLA_XDP_ATTACHED") if xdp else None
    return Interface(
        index=message["index"],
        name=message.get("ifname"),
        mac=MacAddress(bytes.fromhex((message.get("address") or "").replace(":", ""))),
        mtu=message.get("mtu") or 0,
        is_up=bool(message["flags"] & _IFF_UP),
        xdp_mode=_XDP_MODES.get(attached, "several") if attached else "",
        xdp_program=xdp.get_attr("IFLA_XDP_PROG_ID") or 0 if attached else 0,
        parent=_parent(message),
        master=message.get("master") or 0,
        kind=message.get(("linkinfo", "kind")) or "",
        tag=_tag(message),
    )


def _parent(message: NetlinkMessage) -> int:
    # IFLA_LINK of a veth is its peer, which is not below it. An index that belongs to another
    # network namespace names another interface in this one.
    in_other_namespace = message.get("link_netnsid") is not None
    if in_other_namespace or message.get(("linkinfo", "kind")) == "veth":
        return 0
    return message.get("link") or 0


def _tag(message: NetlinkMessage) -> Tag | None:
    if message.get(("linkinfo", "kind")) != "vlan":
        return None
    protocol = message.get(("linkinfo", "data", "vlan_protocol"))
    return Tag(protocol or VLAN_8021Q, message.get(("linkinfo", "data", "vlan_id")))


def all_interfaces() -> list[Interface]:
    """Return all interfaces of this network namespace."""
    with netlink() as ip:
        return [interface_from(message) for message in ip.links()]


def find_interface(name: str) -> Interface:
    """Return the Ethernet interface of a name.

    Raises:
        InputError: there is no such interface; the hint lists the interfaces there are.
        EnvironmentCannotError: it is not an Ethernet interface.
    """
    with netlink() as ip:
        messages = ip.links()
    for message in messages:
        if message.get("ifname") != name:
            continue
        if message["ifi_type"] != _ETHERNET:
            raise EnvironmentCannotError(
                f"{name} is not an Ethernet interface{_kind_in_words(message)}",
                "Direct Server Return rewrites Ethernet addresses: name the network card instead",
            )
        return interface_from(message)
    names = ", ".join(m.get("ifname") for m in messages if m["ifi_type"] == _ETHERNET)
    raise InputError(
        f"there is no interface {name!r} in this network namespace",
        f"there are: {names}" if names else "it has no Ethernet interface",
    )


def _kind_in_words(message: NetlinkMessage) -> str:
    kind = message.get(("linkinfo", "kind"))
    return f" but a {kind} device" if kind else ""


def local_addresses() -> dict[IPAddress, str]:
    """Return all addresses of this namespace, each with the arguments of its ``ip address del``."""
    names = interface_names()
    with netlink() as ip:
        return {
            ip_address(message.get("address")): f"{message.get('address')}/{message['prefixlen']} "
            f"dev {names.get(message['index'], message['index'])}"
            for message in ip.addresses()
        }


def interface_names() -> dict[int, str]:
    """Return the names of all interfaces, by index."""
    return {interface.index: interface.name for interface in all_interfaces()}
