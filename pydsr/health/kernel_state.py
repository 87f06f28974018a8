"""The kernel's neighbour entries and reverse path filter, which can make checks fail.

Neighbours: over IPv6, Linux skips routes by a neighbour that did not answer (``rt6_check_neigh`` of
net/ipv6/route.c). Checks then fail at once, even after the backend is back, until the kernel tries
again by itself seconds later. So a failing check makes it try at once.

The reverse path filter (``rp_filter``) is the only setting of this host that answers from a VIP
depend on. Strict (1), it drops them if the route back to the VIP is by another interface; loose
(2), if there is no route at all. A VIP in the backends' network has such a route; a VIP that is
routed to the balancer may have none.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from pydsr.health.targets import Route
from pydsr.kernel.net.async_netlink import AsyncIPRoute
from pydsr.kernel.net.netlink import NetlinkError, ndmsg, rt_type
from pydsr.model.addresses import IPAddress, family_of

_KNOWN = ndmsg.NUD_REACHABLE | ndmsg.NUD_PERMANENT | ndmsg.NUD_NOARP
_ASSUMED = ndmsg.NUD_REACHABLE | ndmsg.NUD_STALE | ndmsg.NUD_DELAY
_PROBING = ndmsg.NUD_INCOMPLETE | ndmsg.NUD_PROBE | ndmsg.NUD_FAILED
_NTF_USE = 1


async def has_neighbour(route: Route) -> bool | None:
    """Return whether the kernel has a confirmed MAC of a backend; None if it cannot tell yet."""
    if route.mac is not None:
        return True
    entry = await _neighbour(route)
    if entry is None or not entry["state"] & (_KNOWN | _PROBING):
        return None
    return bool(entry["state"] & _KNOWN)


async def has_failed_neighbour(route: Route) -> bool:
    """Return whether a backend did not answer when the kernel last asked for its MAC."""
    entry = await _neighbour(route)
    return entry is not None and bool(entry["state"] & ndmsg.NUD_FAILED)


async def probe_neighbour(route: Route) -> None:
    """Make the kernel ask for a backend's MAC again, even if it has one."""
    entry = await _neighbour(route)
    if entry is None:
        return
    async with AsyncIPRoute() as ip:
        if entry["state"] & _ASSUMED:
            await ip.neigh("change", state=ndmsg.NUD_PROBE, **_key(route))
        # A replacement without these would end "managed" entries, which the kernel keeps resolved.
        kept = {
            "flags_ext": entry.get("flags_ext") or 0,
            "protocol": entry.get("protocol") or 0,
        }
        await ip.neigh("replace", state=ndmsg.NUD_NONE, flags=_NTF_USE, **kept, **_key(route))


async def _neighbour(route: Route) -> Any | None:
    if route.mac is not None:
        # Its entry is permanent.
        return None
    try:
        async with AsyncIPRoute() as ip:
            (entry,) = await ip.neigh("get", **_key(route))
    except NetlinkError:
        return None
    return entry


def _key(route: Route) -> dict[str, Any]:
    return {
        "family": family_of(route.backend),
        "dst": str(route.backend),
        "ifindex": route.ifindex,
    }


async def filter_remedy(vip: IPAddress, ifindex: int) -> str:
    """Return which setting stops a device's reverse path filter from dropping a VIP's answers.

    Empty if the filter drops none. IPv6 has no such filter except in nftables.
    """
    if vip.version == 6:
        return ""
    try:
        name = socket.if_indextoname(ifindex)
        settings = Path("/proc/sys/net/ipv4/conf")
        # The larger of the two holds (ip-sysctl of the kernel's documentation).
        mode = max(int((settings / of / "rp_filter").read_text()) for of in ("all", name))
    except OSError:
        return ""
    if not mode:
        return ""
    back = await _output_device(vip)
    if back == ifindex or (mode == 2 and back):
        return ""
    if back:
        return f"sysctl -w net.ipv4.conf.{name}.rp_filter=2"
    return (
        f"sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{name}.rp_filter=0, or give this "
        "machine a default route and use 2"
    )


async def _output_device(address: IPAddress) -> int:
    """Return the index of the device by which the kernel routes to an address; 0 for none."""
    try:
        async with AsyncIPRoute() as ip:
            (route,) = await ip.route("get", dst=str(address), family=family_of(address))
    except NetlinkError:
        return 0
    return int(route.get("oif") or 0) if route["type"] == rt_type["unicast"] else 0
