"""Netlink sockets, and the parts of pyroute2 that pydsr uses.

``pyroute2/__init__.py`` imports every protocol that the library knows. That takes 42 ms of CPU
time; everything else that a command imports takes 88 ms (pyroute2 0.9.7, Python 3.11). Its
submodules work without it, but importing one runs the package's ``__init__`` first, and importlib's
LazyLoader runs it as soon as the import system reads the package's ``__path__``. So
:func:`parts_of_pyroute2` puts an empty package in its place for the length of one block. Other
modules import pyroute2's names from here; ethtool.py alone imports more.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec
from typing import Any

from pydsr.model.addresses import MacAddress
from pydsr.model.errors import EnvironmentCannotError, PermissionDeniedError


@contextmanager
def parts_of_pyroute2() -> Iterator[None]:
    """Import submodules of pyroute2 in the block, without its ``__init__``.

    Importing pyroute2 later runs its ``__init__``, and reuses the submodules that are there.
    """
    spec = find_spec("pyroute2") if "pyroute2" not in sys.modules else None
    if spec is None:
        yield
        return
    sys.modules["pyroute2"] = module_from_spec(spec)
    try:
        yield
    finally:
        del sys.modules["pyroute2"]


with parts_of_pyroute2():
    from pyroute2.iproute.linux import AsyncIPRoute, IPRoute
    from pyroute2.netlink import rtnl
    from pyroute2.netlink.exceptions import NetlinkError
    from pyroute2.netlink.rtnl import ndmsg, rt_type
    from pyroute2.netlink.rtnl.marshal import MarshalRtnl

__all__ = [
    "AsyncIPRoute",
    "IPRoute",
    "MarshalRtnl",
    "NetlinkError",
    "NetlinkMessage",
    "error_text",
    "mac_of",
    "ndmsg",
    "netlink",
    "parts_of_pyroute2",
    "rt_type",
    "rtnl",
]

NetlinkMessage = Any
"""A decoded message; pyroute2 has no types."""


@contextmanager
def netlink() -> Iterator[IPRoute]:
    """Open a netlink socket in the network namespace of this process.

    Raises:
        PermissionDeniedError: a request in the block needs a privilege that the process lacks.
        EnvironmentCannotError: the kernel refused a request in the block.
    """
    ip = IPRoute()
    try:
        yield ip
    except NetlinkError as error:
        if error.code in (errno.EPERM, errno.EACCES):
            raise PermissionDeniedError(
                "reading neighbours and links from the kernel is not permitted",
                "run as root (sudo); a container needs the capability NET_ADMIN",
            ) from None
        raise EnvironmentCannotError(
            f"the kernel refused a netlink request: {error_text(error)}"
        ) from None
    finally:
        ip.close()


def error_text(error: NetlinkError) -> str:
    """Return the kernel's words for a netlink error."""
    return str(error.args[1] if len(error.args) > 1 else error)


def mac_of(message: NetlinkMessage) -> MacAddress | None:
    """Return the MAC in a neighbour message; None where it has none.

    The link-layer address of a tunnel's neighbour is an IP address.
    """
    try:
        octets = bytes.fromhex((message.get("lladdr") or "").replace(":", ""))
    except ValueError:
        return None
    return MacAddress(octets) if len(octets) == 6 else None
