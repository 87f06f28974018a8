"""pyroute2's netlink socket for asyncio; only the daemon imports it, as it takes long."""

from __future__ import annotations

from pydsr.kernel.net.netlink import parts_of_pyroute2

with parts_of_pyroute2():
    from pyroute2.iproute.linux import AsyncIPRoute

__all__ = ["AsyncIPRoute"]
