"""MAC addresses of backends, from the kernel's neighbour tables.

Only the kernel resolves: what is missing or stale is asked of it, and watched until it is
there or the deadline is over.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from pyroute2.iproute.linux import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import ndmsg, rt_type

from pydsr.kernel.net.links import all_interfaces, netlink
from pydsr.model.addresses import MAX_TAGS, IPAddress, MacAddress, Place
from pydsr.model.errors import BackendUnresolvedError
from pydsr.model.interfaces import Segment, lowest_parent, parts_of

RESOLVE_SECONDS = 3.5
"""The kernel asks three times, a second apart, before it gives up (RFC 4861, section 10)."""

_POLL_SECONDS = 0.01
_USABLE = ndmsg.NUD_REACHABLE | ndmsg.NUD_PERMANENT | ndmsg.NUD_NOARP
_UNSURE = ndmsg.NUD_STALE | ndmsg.NUD_DELAY | ndmsg.NUD_PROBE
_NEVER_ASKED = ndmsg.NUD_PERMANENT | ndmsg.NUD_NOARP
_NTF_USE = 1

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
"""The kernel tells ages of neighbours in ticks of its clock for users (struct nda_cacheinfo)."""

_Entries = Mapping[tuple[int, str], Any]
"""Entries of the kernel's tables by index of the device and address."""


def resolve(
    addresses: Sequence[IPAddress],
    segments: Mapping[int, Segment],
    seconds: float = RESOLVE_SECONDS,
) -> dict[IPAddress, Place]:
    """Find the MACs of backends, all at once.

    Args:
        addresses: the backends.
        segments: the networks the balancer is on, by index of the device.
        seconds: the deadline.

    Raises:
        BackendUnresolvedError: one or more do not answer, or are not on an attached link.
    """
    if not addresses:
        return {}
    with netlink() as ip:
        links = {address: device_of(ip, address, segments) for address in addresses}
        entries = _entries(ip, links)
        for address, ifindex in links.items():
            _ask(ip, address, ifindex, entries.get((ifindex, str(address))))
        deadline = time.monotonic() + seconds
        found: dict[IPAddress, Place] = {}
        while True:
            for address, ifindex in links.items():
                mac = _usable_mac(entries, address, ifindex)
                if mac is not None:
                    found[address] = _place(mac, segments[ifindex])
            missing = [address for address in links if address not in found]
            if not missing:
                return found
            if time.monotonic() > deadline or _all_failed(entries, missing, links):
                raise _unanswered(ip, missing, links)
            time.sleep(_POLL_SECONDS)
            entries = _entries(ip, missing)


def known(
    addresses: Sequence[IPAddress], segments: Mapping[int, Segment]
) -> dict[IPAddress, list[Place]]:
    """Return those backends the kernel is sure of at this moment, without asking for any.

    One that answers on several of the balancer's networks has several places.
    """
    wanted = {str(address): address for address in addresses}
    found: dict[IPAddress, list[Place]] = {}
    if not wanted:
        return found
    with netlink() as ip:
        entries = _entries(ip, addresses)
    for entry in entries.values():
        address = wanted.get(entry.get("dst"))
        segment = segments.get(entry["ifindex"])
        if address and segment and entry.get("lladdr") and entry["state"] & _USABLE:
            found.setdefault(address, []).append(_place(_mac_of(entry), segment))
    return found


def mac_ages() -> dict[tuple[IPAddress, MacAddress], float]:
    """Return how many seconds ago the kernel last had proof of each neighbour's MAC.

    Those that it never asks for, since they are set by hand, are left out.
    """
    found: dict[tuple[IPAddress, MacAddress], float] = {}
    with netlink() as ip:
        for family in (socket.AF_INET, socket.AF_INET6):
            for entry in ip.get_neighbours(family=family):
                cache = entry.get("cacheinfo")
                if cache and entry.get("lladdr") and not entry["state"] & _NEVER_ASKED:
                    key = ip_address(entry.get("dst")), _mac_of(entry)
                    age = cache["ndm_confirmed"] / _TICKS_PER_SECOND
                    found[key] = min(age, found.get(key, age))
    return found


def bridge_ports() -> dict[tuple[int, MacAddress], int]:
    """Return the index of the port that a host is behind, by those of its bridge and its MAC."""
    with netlink() as ip:
        entries = ip.get_neighbours(family=socket.AF_BRIDGE)
    return {
        (entry.get("master"), _mac_of(entry)): entry["ifindex"]
        for entry in entries
        if entry.get("master") and entry.get("lladdr")
    }


def _mac_of(entry: Any) -> MacAddress:
    return MacAddress(bytes.fromhex(entry.get("lladdr").replace(":", "")))


def _place(mac: MacAddress, segment: Segment) -> Place:
    return Place(mac, segment.ifindex, segment.tags)


def device_of(ip: IPRoute, address: IPAddress, segments: Mapping[int, Segment]) -> int:
    """Return the index of the device an address is directly behind: attached, or a VLAN above.

    Raises:
        BackendUnresolvedError: routed, local, or behind another interface.
    """
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        route = ip.route("get", dst=str(address), family=family)[0]
    except NetlinkError:
        route = None
    if route is None or route["type"] in (rt_type["unreachable"], rt_type["blackhole"]):
        raise BackendUnresolvedError(
            f"there is no route to backend {address}",
            "a DSR backend is on a network of this machine: give the interface an address in "
            "the backend's network, or name its MAC yourself with "
            f"{address}@MAC",
        )
    if route["type"] == rt_type["local"]:
        raise BackendUnresolvedError(
            f"backend {address} is an address of this machine",
            "a DSR backend is another host on the same network",
        )
    gateway = route.get("gateway") or route.get("via")
    if gateway:
        raise BackendUnresolvedError(
            f"backend {address} is not on a directly connected network "
            f"(it is reached by the router {gateway})",
            "DSR changes MAC addresses only, so balancer and backend share a network: use the "
            f"backend's address there, or name its MAC yourself with {address}@MAC",
        )
    ifindex = int(route.get("oif"))
    if ifindex not in segments:
        raise _elsewhere(address, ifindex, segments)
    return ifindex


def _elsewhere(
    address: IPAddress, ifindex: int, segments: Mapping[int, Segment]
) -> BackendUnresolvedError:
    """Return the error for a backend behind a device that the balancer reaches nothing by."""
    by_index = {one.index: one for one in all_interfaces()}
    device = by_index[ifindex]
    lowest = lowest_parent(device, by_index)
    if lowest.index in segments:
        return BackendUnresolvedError(
            f"backend {address} is behind {device.name}, in more than {MAX_TAGS} VLANs at once",
            f"frames to backends carry up to {MAX_TAGS} VLAN tags",
        )
    ports = parts_of(lowest, by_index) if lowest.kind == "bridge" else []
    return BackendUnresolvedError(
        f"backend {address} is behind {device.name}, where pydsr is not attached",
        f"pydsr attach {' '.join(ports or [lowest.name])}",
    )


def _entries(ip: IPRoute, addresses: Iterable[IPAddress]) -> _Entries:
    """Return the kernel's tables of the IP versions of some addresses, by one dump of each."""
    families = {socket.AF_INET6 if one.version == 6 else socket.AF_INET for one in addresses}
    return {
        (entry["ifindex"], entry.get("dst")): entry
        for family in families
        for entry in ip.get_neighbours(family=family)
    }


def _usable_mac(entries: _Entries, address: IPAddress, ifindex: int) -> MacAddress | None:
    entry = entries.get((ifindex, str(address)))
    if entry is None or not entry["state"] & _USABLE or not entry.get("lladdr"):
        return None
    mac = _mac_of(entry)
    return mac if mac.is_unicast else None


def _ask(ip: IPRoute, address: IPAddress, ifindex: int, entry: Any | None) -> None:
    """Have the kernel resolve an address that it is not sure of, without traffic of ours."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    if entry is not None and entry["state"] & _USABLE:
        return
    request: dict[str, Any] = {"dst": str(address), "ifindex": ifindex, "family": family}
    if entry is not None and entry["state"] & _UNSURE:
        # It would ask the MAC of before first, which may be that of a card replaced since.
        ip.neigh("del", **request)
    ip.neigh("replace", state=ndmsg.NUD_NONE, flags=_NTF_USE, **request)


def _all_failed(
    entries: _Entries, addresses: Sequence[IPAddress], links: Mapping[IPAddress, int]
) -> bool:
    """Return whether the kernel has given up on every one of them."""
    found = [entries.get((links[address], str(address))) for address in addresses]
    return all(entry is not None and entry["state"] & ndmsg.NUD_FAILED for entry in found)


def _unanswered(
    ip: IPRoute, missing: Sequence[IPAddress], links: Mapping[IPAddress, int]
) -> BackendUnresolvedError:
    names = ", ".join(str(address) for address in missing)
    devices = sorted({links[address] for address in missing})
    where = ", ".join(ip.get_links(index)[0].get("ifname") for index in devices)
    plural = len(missing) > 1
    error = BackendUnresolvedError(
        f"backend{'s' * plural} {names} do{'es' * (not plural)} not answer ARP/ND on {where}",
        "is it up, and on this network? `ping` it from here; or name its MAC yourself with "
        "ADDR@MAC",
    )
    error.silent = frozenset(missing)
    return error
