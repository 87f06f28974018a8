"""Network interfaces and the XDP programs on them, by netlink."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

from pyroute2.iproute.linux import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from pydsr.model.addresses import VLAN_8021Q, IPAddress, MacAddress, Tag
from pydsr.model.errors import EnvironmentCannotError, InputError, PermissionDeniedError
from pydsr.model.interfaces import Interface

_log = logging.getLogger(__name__)

_ETHERNET = 1
# What pyroute2 calls the values of IFLA_XDP_ATTACHED (linux/if_link.h).
_MODES = {"xdp": "native", "xdpgeneric": "generic", "xdpoffload": "offloaded"}


@contextmanager
def netlink() -> Iterator[IPRoute]:
    """Open a netlink socket in the network namespace of this process.

    Raises:
        PermissionDeniedError: a request in it needs a privilege that is not there.
        EnvironmentCannotError: the kernel refused a request in it.
    """
    ip = IPRoute()
    try:
        yield ip
    except NetlinkError as error:
        if error.code in (errno.EPERM, errno.EACCES):
            raise PermissionDeniedError(
                "asking the kernel about neighbours and links is not permitted",
                "run as root (sudo); a container needs the capability NET_ADMIN",
            ) from None
        raise EnvironmentCannotError(
            f"the kernel refused a netlink request: {netlink_reason(error)}"
        ) from None
    finally:
        ip.close()


def interface_from(message: Any) -> Interface:
    """Return the interface that a message of rtnetlink (RTM_NEWLINK), decoded, tells of."""
    xdp = message.get("xdp")
    attached = xdp.get_attr("IFLA_XDP_ATTACHED") if xdp else None
    return Interface(
        index=message["index"],
        name=message.get("ifname"),
        mac=MacAddress(bytes.fromhex((message.get("address") or "").replace(":", ""))),
        mtu=message.get("mtu") or 0,
        is_up=bool(message["flags"] & 1),
        xdp_mode=_MODES.get(attached, "several") if attached else "",
        xdp_program=xdp.get_attr("IFLA_XDP_PROG_ID") or 0 if attached else 0,
        parent=_parent(message),
        master=message.get("master") or 0,
        kind=message.get(("linkinfo", "kind")) or "",
        tag=_tag(message),
    )


def _parent(message: Any) -> int:
    # The other end of a veth is below it no more than above, and an index of another network
    # namespace means something else here.
    is_elsewhere = message.get("link_netnsid") is not None
    if is_elsewhere or message.get(("linkinfo", "kind")) == "veth":
        return 0
    return message.get("link") or 0


def _tag(message: Any) -> Tag | None:
    if message.get(("linkinfo", "kind")) != "vlan":
        return None
    protocol = message.get(("linkinfo", "data", "vlan_protocol"))
    return Tag(protocol or VLAN_8021Q, message.get(("linkinfo", "data", "vlan_id")))


def all_interfaces() -> list[Interface]:
    """Return every interface of this network namespace."""
    with netlink() as ip:
        return [interface_from(message) for message in ip.get_links()]


def find_interface(name: str) -> Interface:
    """Return an Ethernet interface by its name.

    Raises:
        InputError: there is none of that name; the hint lists those there are.
        EnvironmentCannotError: it carries no Ethernet.
    """
    with netlink() as ip:
        messages = ip.get_links()
    for message in messages:
        if message.get("ifname") != name:
            continue
        if message["ifi_type"] != _ETHERNET:
            raise EnvironmentCannotError(
                f"{name} is no Ethernet interface{_kind_in_words(message)}",
                "Direct Server Return rewrites Ethernet addresses: name the network card",
            )
        return interface_from(message)
    names = ", ".join(m.get("ifname") for m in messages if m["ifi_type"] == _ETHERNET)
    raise InputError(
        f"there is no interface {name!r} in this network namespace",
        f"there are: {names}" if names else "it has no Ethernet interface at all",
    )


def _kind_in_words(message: Any) -> str:
    kind = message.get(("linkinfo", "kind"))
    return f" but of the kind {kind}" if kind else ""


def local_addresses() -> dict[IPAddress, str]:
    """Return every address of this network namespace, as ``ip address del`` takes it."""
    names = interface_names()
    with netlink() as ip:
        return {
            ip_address(message.get("address")): f"{message.get('address')}/{message['prefixlen']} "
            f"dev {names.get(message['index'], message['index'])}"
            for message in ip.get_addr()
        }


def interface_names() -> dict[int, str]:
    """Return the names of all interfaces by index."""
    return {interface.index: interface.name for interface in all_interfaces()}


def netlink_reason(error: NetlinkError) -> str:
    """Return the kernel's words for a netlink error."""
    return str(error.args[1] if len(error.args) > 1 else error)
