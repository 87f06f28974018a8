"""What the kernel holds of a backend's MAC while checks fail, and having it ask anew.

Over IPv6, Linux leaves out routes by a neighbour that did not answer (``rt6_check_neigh`` of
net/ipv6/route.c): checks then fail at once, also when the backend is back, until the kernel asks
again by itself. That would be seconds.
"""

from __future__ import annotations

from typing import Any

from pydsr.health.steering_plan import family_of
from pydsr.health.targets import Target
from pydsr.kernel.net.netlink import AsyncIPRoute, NetlinkError, ndmsg

_SURE = ndmsg.NUD_REACHABLE | ndmsg.NUD_PERMANENT | ndmsg.NUD_NOARP
_BELIEVED = ndmsg.NUD_REACHABLE | ndmsg.NUD_STALE | ndmsg.NUD_DELAY
_ASKING = ndmsg.NUD_INCOMPLETE | ndmsg.NUD_PROBE | ndmsg.NUD_FAILED
_NTF_USE = 1


async def has_neighbour(target: Target) -> bool | None:
    """Return whether the kernel is sure of the backend's MAC; None where it does not know yet."""
    if target.route.mac is not None:
        return True
    entry = await _entry(target)
    if entry is None or not entry["state"] & (_SURE | _ASKING):
        return None
    return bool(entry["state"] & _SURE)


async def is_given_up(target: Target) -> bool:
    """Return whether the backend did not answer when the kernel last asked for its MAC."""
    entry = await _entry(target)
    return entry is not None and bool(entry["state"] & ndmsg.NUD_FAILED)


async def ask_again(target: Target) -> None:
    """Have the kernel ask for the backend's MAC, also where it believes that it knows."""
    entry = await _entry(target)
    if entry is None:
        return
    async with AsyncIPRoute() as ip:
        if entry["state"] & _BELIEVED:
            await ip.neigh("change", state=ndmsg.NUD_PROBE, **_key(target))
        # Whoever has the kernel keep the entry resolved goes on to; a change alone would end that.
        kept = {
            "flags_ext": entry.get("flags_ext") or 0,
            "protocol": entry.get("protocol") or 0,
        }
        await ip.neigh("replace", state=ndmsg.NUD_NONE, flags=_NTF_USE, **kept, **_key(target))


async def _entry(target: Target) -> Any | None:
    if target.route.mac is not None:
        # Set by hand, for good.
        return None
    try:
        async with AsyncIPRoute() as ip:
            (entry,) = await ip.neigh("get", **_key(target))
    except NetlinkError:
        return None
    return entry


def _key(target: Target) -> dict[str, Any]:
    route = target.route
    return {
        "family": family_of(route.backend),
        "dst": str(route.backend),
        "ifindex": route.ifindex,
    }
