"""MAC addresses of backends, from the kernel's neighbour tables.

Only the kernel sends ARP and neighbour discovery: pydsr asks it to resolve missing and stale
entries, and polls the table until they are resolved or the deadline has passed.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address

from pydsr.kernel.net.links import all_interfaces, interface_names
from pydsr.kernel.net.netlink import (
    Netlink,
    NetlinkError,
    NetlinkMessage,
    mac_of,
    ndmsg,
    netlink,
    rt_type,
)
from pydsr.model.addresses import MAX_TAGS, IPAddress, MacAddress, Place, family_of
from pydsr.model.errors import BackendUnresolvedError
from pydsr.model.interfaces import Segment, lowest_parent, parts_of

RESOLVE_SECONDS = 3.5
"""The kernel asks three times, a second apart, before it gives up (RFC 4861, section 10)."""

_POLL_SECONDS = 0.01
_NEVER_PROBED = ndmsg.NUD_PERMANENT | ndmsg.NUD_NOARP
_CONFIRMED = ndmsg.NUD_REACHABLE | _NEVER_PROBED
_STALE = ndmsg.NUD_STALE | ndmsg.NUD_DELAY | ndmsg.NUD_PROBE
_NTF_USE = 1

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
"""The kernel reports ages of neighbours in clock ticks (struct nda_cacheinfo)."""

_Entries = Mapping[tuple[int, str], NetlinkMessage]
"""Neighbour entries by index of the device and address."""


def resolve(
    addresses: Sequence[IPAddress],
    segments: Mapping[int, Segment],
    seconds: float = RESOLVE_SECONDS,
) -> dict[IPAddress, Place]:
    """Return the MAC, VLAN and interface of backends, resolving all of them at once.

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
        devices = {address: device_of(ip, address, segments) for address in addresses}
        entries = _entries(ip, devices)
        for address, device in devices.items():
            _request_resolution(ip, address, device, entries.get((device, str(address))))
        deadline = time.monotonic() + seconds
        places: dict[IPAddress, Place] = {}
        while True:
            for address, device in devices.items():
                mac = _confirmed_mac(entries.get((device, str(address))))
                if mac is not None and mac.is_unicast:
                    places[address] = _place(mac, segments[device])
            missing = [address for address in devices if address not in places]
            if not missing:
                return places
            if time.monotonic() > deadline or _all_failed(entries, missing, devices):
                raise _no_answer(missing, devices)
            time.sleep(_POLL_SECONDS)
            entries = _entries(ip, missing)


def confirmed_places(
    addresses: Sequence[IPAddress], segments: Mapping[int, Segment]
) -> dict[IPAddress, list[Place]]:
    """Return the places of backends whose MAC is confirmed now, without sending anything.

    A backend that answers on several of the balancer's networks has several places.
    """
    wanted = {str(address): address for address in addresses}
    places: dict[IPAddress, list[Place]] = {}
    if not wanted:
        return places
    with netlink() as ip:
        entries = _entries(ip, addresses)
    for entry in entries.values():
        address = wanted.get(entry.get("dst"))
        segment = segments.get(entry["ifindex"])
        mac = _confirmed_mac(entry)
        if address and segment and mac:
            places.setdefault(address, []).append(_place(mac, segment))
    return places


def mac_ages() -> dict[tuple[IPAddress, MacAddress], float]:
    """Return the seconds since the kernel last confirmed each MAC."""
    ages: dict[tuple[IPAddress, MacAddress], float] = {}
    with netlink() as ip:
        for family in (socket.AF_INET, socket.AF_INET6):
            for entry in ip.neighbours(family):
                cache, mac = entry.get("cacheinfo"), mac_of(entry)
                if cache and mac and not entry["state"] & _NEVER_PROBED:
                    key = ip_address(entry.get("dst")), mac
                    age = cache["ndm_confirmed"] / _TICKS_PER_SECOND
                    ages[key] = min(age, ages.get(key, age))
    return ages


def bridge_ports() -> dict[tuple[int, MacAddress], int]:
    """Return the port that each host is behind, by index of its bridge and the host's MAC."""
    with netlink() as ip:
        entries = ip.neighbours(socket.AF_BRIDGE)
    return {
        (entry.get("master"), mac): entry["ifindex"]
        for entry in entries
        if entry.get("master") and (mac := mac_of(entry))
    }


def device_of(ip: Netlink, address: IPAddress, segments: Mapping[int, Segment]) -> int:
    """Return the index of the device that leads to a backend: an attached one, or a VLAN on it.

    Raises:
        BackendUnresolvedError: routed, local, or behind another interface.
    """
    try:
        route = ip.route(address)
    except NetlinkError:
        route = None
    if route is None or route["type"] in (rt_type["unreachable"], rt_type["blackhole"]):
        raise BackendUnresolvedError(
            f"there is no route to backend {address}",
            "a DSR backend is on a network of this machine: give the interface an address in "
            f"the backend's network, or set the MAC yourself with {address}@MAC",
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
            f"(the route goes through the router {gateway})",
            "DSR changes MAC addresses only, so balancer and backend share a network: use the "
            f"backend's address there, or set the MAC yourself with {address}@MAC",
        )
    device = int(route.get("oif"))
    if device not in segments:
        raise _not_attached(address, device, segments)
    return device


def _not_attached(
    address: IPAddress, index: int, segments: Mapping[int, Segment]
) -> BackendUnresolvedError:
    by_index = {interface.index: interface for interface in all_interfaces()}
    if index not in by_index:
        return BackendUnresolvedError(
            f"the interface that leads to backend {address} has just been deleted", "try again"
        )
    device = by_index[index]
    lowest = lowest_parent(device, by_index)
    if lowest.index in segments:
        return BackendUnresolvedError(
            f"backend {address} is behind {device.name}, in more than {MAX_TAGS} nested VLANs",
            f"frames to backends carry up to {MAX_TAGS} VLAN tags",
        )
    ports = parts_of(lowest, by_index) if lowest.kind == "bridge" else []
    return BackendUnresolvedError(
        f"backend {address} is behind {device.name}, where pydsr is not attached",
        f"pydsr attach {' '.join(ports or [lowest.name])}",
    )


def _entries(ip: Netlink, addresses: Iterable[IPAddress]) -> _Entries:
    """Dump the neighbour tables of the IP versions of some addresses, each once."""
    return {
        (entry["ifindex"], entry.get("dst")): entry
        for family in {family_of(address) for address in addresses}
        for entry in ip.neighbours(family)
    }


def _confirmed_mac(entry: NetlinkMessage | None) -> MacAddress | None:
    return mac_of(entry) if entry is not None and entry["state"] & _CONFIRMED else None


def _place(mac: MacAddress, segment: Segment) -> Place:
    return Place(mac, segment.ifindex, segment.tags)


def _request_resolution(
    ip: Netlink, address: IPAddress, device: int, entry: NetlinkMessage | None
) -> None:
    """Make the kernel resolve an address that is not confirmed, without sending anything."""
    if entry is not None and entry["state"] & _CONFIRMED:
        return
    if entry is not None and entry["state"] & _STALE:
        # Otherwise the kernel would first probe the old MAC, perhaps of a replaced NIC.
        ip.delete_neighbour(address, device)
    ip.replace_neighbour(address, device, flags=_NTF_USE)


def _all_failed(
    entries: _Entries, addresses: Sequence[IPAddress], devices: Mapping[IPAddress, int]
) -> bool:
    """Return whether the kernel has given up on all of them."""
    wanted = [entries.get((devices[address], str(address))) for address in addresses]
    return all(entry is not None and entry["state"] & ndmsg.NUD_FAILED for entry in wanted)


def _no_answer(
    missing: Sequence[IPAddress], devices: Mapping[IPAddress, int]
) -> BackendUnresolvedError:
    names = ", ".join(str(address) for address in missing)
    indices = sorted({devices[address] for address in missing})
    interfaces = interface_names()
    where = ", ".join(interfaces.get(index, "a deleted interface") for index in indices)
    plural = len(missing) > 1
    error = BackendUnresolvedError(
        f"backend{'s' * plural} {names} do{'es' * (not plural)} not answer ARP/ND on {where}",
        "is it up, and on this network? `ping` it from here; or set the MAC yourself with ADDR@MAC",
    )
    error.silent = frozenset(missing)
    return error
