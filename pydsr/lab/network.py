"""Builds a lab's network in the kernel: namespaces, a bridge, links, addresses, counters.

Each host is set up the way a real one must be. On a backend that means what
``pydsr.realserver.arp`` says: sysctls before the VIP, so that it never claims it on the wire.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyroute2 import Ethtool, IPRoute, netns
from pyroute2.netlink.exceptions import NetlinkError

from pydsr.kernel.bpf import libbpf
from pydsr.lab.findings import Traffic
from pydsr.lab.interrupts import held
from pydsr.lab.topology import (
    NETWORK4,
    NETWORK6,
    VIP4,
    VIP6,
    Host,
    Role,
    Topology,
    belongs_to,
    namespace_of,
)
from pydsr.model.errors import EnvironmentCannotError, PermissionDeniedError, PydsrError
from pydsr.realserver.arp import ARP_RULES
from pydsr.realserver.values import EVERY_INTERFACE

INTERFACE = "eth0"
"""The name of every host's interface to the switch."""

_BRIDGE = "bridge"
_IFA_F_NODAD = 0x02

_QUIET_IPV6 = {
    f"net/ipv6/conf/{interface}/{setting}": "0"
    for interface in ("all", "default")
    for setting in ("accept_dad", "dad_transmits", "accept_ra", "router_solicitations")
}
"""Addresses are usable at once, and no router is looked for."""

_KEEP_VIP_OFF_THE_WIRE = {
    rule.setting(EVERY_INTERFACE).path: str(rule.wanted) for rule in ARP_RULES
}


@contextmanager
def entered(namespace: str) -> Iterator[None]:
    """Move the calling thread into a network namespace for the length of the block.

    Sockets, /proc/sys/net and child processes of the block belong to that namespace. Mounts stay
    as they are, unlike with ``ip netns exec``, which hides the bpffs.
    """
    with held(), Path("/proc/thread-self/ns/net").open("rb") as home:
        try:
            netns.setns(namespace, flags=0)
            yield
        finally:
            netns.setns(home.fileno())


@contextmanager
def explained(action: str) -> Iterator[None]:
    """Turn what the kernel answers into errors a user can act on.

    Args:
        action: what is being done, as it follows "cannot".

    Raises:
        PermissionDeniedError: the process lacks a privilege.
        EnvironmentCannotError: the kernel cannot do it.
    """
    try:
        yield
    except (OSError, NetlinkError) as error:
        code = error.code if isinstance(error, NetlinkError) else error.errno
        if code in (errno.EPERM, errno.EACCES):
            raise PermissionDeniedError(
                f"cannot {action}: not permitted", "run it as root: a lab is made of namespaces"
            ) from error
        raise EnvironmentCannotError(f"cannot {action}: {error}") from error


def build(topology: Topology, xdp_delivery: bool = True) -> None:
    """Build the switch and the hosts; what was made before a failure is left to the caller.

    Args:
        topology: what to build.
        xdp_delivery: whether the switch can take frames that a program of the balancer sends.

    Raises:
        PydsrError: a namespace or link could not be made.
    """
    _make_switch(topology)
    for host in topology.hosts:
        namespace = topology.namespace(host.name)
        with explained(f"build the host {host.name}"):
            _create_namespace(namespace)
            _set_up_kernel(host, namespace)
            _plug_in(host, topology)
            _set_up_interface(host, namespace)
    if xdp_delivery:
        _deliver_xdp_frames(topology)


def namespaces(lab: str) -> list[str]:
    """Return the namespaces that exist of a lab."""
    return sorted(name for name in netns.listnetns() if belongs_to(lab, name))


def remove_namespaces(lab: str) -> None:
    """Remove the namespaces of a lab, and with them its links.

    Raises:
        PydsrError: one could not be removed; the others were.
    """
    failure: PydsrError | None = None
    for namespace in namespaces(lab):
        try:
            with explained(f"remove the namespace {namespace}"):
                netns.remove(namespace)
        except PydsrError as error:
            failure = error
    if failure:
        raise failure


def traffic(lab: str, host: str) -> Traffic:
    """Read the counters of a host's interface, XDP's frames included."""
    with (
        explained(f"read the counters of {host}"),
        entered(namespace_of(lab, host)),
        IPRoute() as route,
    ):
        counters = route.get_links(ifname=INTERFACE)[0].get("stats64")
    return Traffic(
        received_packets=counters["rx_packets"],
        received_bytes=counters["rx_bytes"],
        sent_packets=counters["tx_packets"],
        sent_bytes=counters["tx_bytes"],
    )


def _make_switch(topology: Topology) -> None:
    with explained("build the switch"):
        _create_namespace(topology.switch)
        with entered(topology.switch), IPRoute() as route:
            _write_sysctls({"net/ipv6/conf/default/disable_ipv6": "1"})
            route.link("add", ifname=_BRIDGE, kind="bridge", br_mcast_snooping=0)
            route.link("set", index=_index(route, _BRIDGE), state="up")


def _create_namespace(namespace: str) -> None:
    with held():
        netns.create(namespace)


def _set_up_kernel(host: Host, namespace: str) -> None:
    """Set what must be set before an interface or address appears."""
    with entered(namespace), IPRoute() as route:
        _write_sysctls(_QUIET_IPV6)
        loopback = _index(route, "lo")
        route.link("set", index=loopback, state="up")
        if host.role is Role.BACKEND:
            _write_sysctls(_KEEP_VIP_OFF_THE_WIRE)
            route.addr("add", index=loopback, address=str(VIP4), prefixlen=32)
            route.addr("add", index=loopback, address=str(VIP6), prefixlen=128, flags=_IFA_F_NODAD)


def _plug_in(host: Host, topology: Topology) -> None:
    """Make the host's link; the switch's port is named like the host."""
    with entered(topology.switch), IPRoute() as route:
        route.link(
            "add",
            ifname=host.name,
            kind="veth",
            state="up",
            master=_index(route, _BRIDGE),
            peer={
                "ifname": INTERFACE,
                "address": str(host.mac),
                "net_ns_fd": topology.namespace(host.name),
            },
        )


def _set_up_interface(host: Host, namespace: str) -> None:
    with entered(namespace), IPRoute() as route:
        _complete_checksums_in_software()
        index = _index(route, INTERFACE)
        route.link("set", index=index, state="up")
        for address, network in ((host.address4, NETWORK4), (host.address6, NETWORK6)):
            flags = _IFA_F_NODAD if address.version == 6 else 0
            route.addr(
                "add",
                index=index,
                address=str(address),
                prefixlen=network.prefixlen,
                flags=flags,
            )


def _complete_checksums_in_software() -> None:
    """Turn transmit checksum offload off: a veth would send frames with half a checksum."""
    ethtool = Ethtool()
    try:
        features = ethtool.get_features(INTERFACE)
        features.features["tx-checksum-ip-generic"].enable = False
        ethtool.set_features(INTERFACE, features)
    finally:
        ethtool.close()


def _deliver_xdp_frames(topology: Topology) -> None:
    """Give balancers' ports a program: without one, a veth holds frames that XDP sends."""
    with (
        explained("attach XDP_PASS to the balancers' ports of the switch"),
        libbpf.program_load("pydsr_lab_pass", libbpf.RETURN_XDP_PASS, 0, "GPL") as program,
        entered(topology.switch),
        IPRoute() as route,
    ):
        for host in topology.hosts_of(Role.BALANCER):
            route.link("set", index=_index(route, host.name), xdp_fd=program.number)


def _index(route: IPRoute, interface: str) -> int:
    return int(route.link_lookup(ifname=str(interface))[0])


def _write_sysctls(settings: dict[str, str]) -> None:
    for path, value in settings.items():
        Path("/proc/sys", path).write_text(value)
