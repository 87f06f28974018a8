"""Network interfaces and the XDP programs on them, by netlink."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from pydsr.errors import EnvironmentCannotError, InputError, PermissionDeniedError
from pydsr.model import IPAddress, MacAddress

_ETHERNET = 1
# What pyroute2 calls the values of IFLA_XDP_ATTACHED (linux/if_link.h).
_MODES = {"xdp": "native", "xdpgeneric": "generic", "xdpoffload": "offloaded"}


@dataclass(frozen=True)
class Interface:
    """A network interface as netlink shows it.

    Attributes:
        xdp_mode: how an XDP program is attached; empty where there is none.
        xdp_program: that program's id, or 0.
        parent: index of the device it is on top of (macvlan, VLAN), or 0.
    """

    index: int
    name: str
    mac: MacAddress
    mtu: int
    is_up: bool
    xdp_mode: str = ""
    xdp_program: int = 0
    parent: int = 0


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


def _interface(message: Any) -> Interface:
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
        parent=message.get("link") or 0,
    )


def all_interfaces() -> list[Interface]:
    """Return every interface of this network namespace."""
    with netlink() as ip:
        return [_interface(message) for message in ip.get_links()]


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
                f"{name} is no Ethernet interface",
                "Direct Server Return rewrites Ethernet addresses: name the network card",
            )
        return _interface(message)
    names = ", ".join(m.get("ifname") for m in messages if m["ifi_type"] == _ETHERNET)
    raise InputError(
        f"there is no interface {name!r} in this network namespace",
        f"there are: {names}" if names else "it has no Ethernet interface at all",
    )


def local_addresses() -> set[IPAddress]:
    """Return every address of this network namespace."""
    with netlink() as ip:
        return {ip_address(message.get("address")) for message in ip.get_addr()}


def interface_names() -> dict[int, str]:
    """Return the names of all interfaces by index."""
    return {interface.index: interface.name for interface in all_interfaces()}


def netlink_reason(error: NetlinkError) -> str:
    """Return the kernel's words for a netlink error."""
    return str(error.args[1] if len(error.args) > 1 else error)
