"""Build a lab's network: namespaces, a bridge, links and addresses; read its counters.

Each host is set up like a real one. A backend gets the sysctls of ``pydsr.realserver.arp``
before the VIP, so that it never announces the VIP on the wire.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyroute2 import Ethtool, IPRoute, netns
from pyroute2.netlink.exceptions import NetlinkError

from pydsr.kernel.bpf import libbpf
from pydsr.lab.demo_results import Traffic
from pydsr.lab.interrupts import signals_deferred
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
"""Every host's interface to the switch."""

_BRIDGE = "bridge"
_IFA_F_NODAD = 0x02

_QUIET_IPV6 = {
    f"net/ipv6/conf/{interface}/{setting}": "0"
    for interface in ("all", "default")
    for setting in ("accept_dad", "dad_transmits", "accept_ra", "router_solicitations")
}
"""Makes addresses usable at once, without looking for a router."""

_SILENT_ARP = {rule.setting(EVERY_INTERFACE).path: str(rule.wanted) for rule in ARP_RULES}


@contextmanager
def enter_namespace(namespace: str) -> Iterator[None]:
    """Move the calling thread into a network namespace for the length of the block.

    Sockets, /proc/sys/net and child processes of the block belong to that namespace. Mounts do not
    change: ``ip netns exec`` would hide the bpffs.
    """
    with signals_deferred(), Path("/proc/thread-self/ns/net").open("rb") as home:
        try:
            netns.setns(namespace, flags=0)
            yield
        finally:
            netns.setns(home.fileno())


@contextmanager
def kernel_errors(action: str) -> Iterator[None]:
    """Turn kernel errors into "cannot ACTION", with a hint for the user."""
    try:
        yield
    except (OSError, NetlinkError) as error:
        code = error.code if isinstance(error, NetlinkError) else error.errno
        if code in (errno.EPERM, errno.EACCES):
            raise PermissionDeniedError(
                f"cannot {action}: not permitted",
                "run as root (sudo): a lab consists of network namespaces",
            ) from error
        raise EnvironmentCannotError(f"cannot {action}: {error}") from error


def build(topology: Topology, xdp_delivery: bool = True) -> None:
    """Build the switch and the hosts; after a failure, the caller removes what was built."""
    _build_switch(topology)
    for host in topology.hosts:
        namespace = topology.namespace(host.name)
        with kernel_errors(f"build the host {host.name}"):
            _create_namespace(namespace)
            _set_up_kernel(host, namespace)
            _plug_in(host, topology)
            _set_up_interface(host, namespace)
    if xdp_delivery:
        _deliver_xdp_frames(topology)


def namespaces(lab: str) -> list[str]:
    """Return the existing namespaces of a lab."""
    return sorted(name for name in netns.listnetns() if belongs_to(lab, name))


def remove_namespaces(lab: str) -> None:
    """Remove the namespaces of a lab and their links; continue if one fails."""
    failure: PydsrError | None = None
    for namespace in namespaces(lab):
        try:
            with kernel_errors(f"remove the namespace {namespace}"):
                netns.remove(namespace)
        except PydsrError as error:
            failure = error
    if failure:
        raise failure


def traffic(lab: str, host: str) -> Traffic:
    """Return the counters of a host's interface, including frames of XDP programs."""
    with (
        kernel_errors(f"read the counters of {host}"),
        enter_namespace(namespace_of(lab, host)),
        IPRoute() as route,
    ):
        counters = route.get_links(ifname=INTERFACE)[0].get("stats64")
    return Traffic(
        received_packets=counters["rx_packets"],
        received_bytes=counters["rx_bytes"],
        sent_packets=counters["tx_packets"],
        sent_bytes=counters["tx_bytes"],
    )


def _build_switch(topology: Topology) -> None:
    with kernel_errors("build the switch"):
        _create_namespace(topology.switch)
        with enter_namespace(topology.switch), IPRoute() as route:
            _write_sysctls({"net/ipv6/conf/default/disable_ipv6": "1"})
            route.link("add", ifname=_BRIDGE, kind="bridge", br_mcast_snooping=0)
            route.link("set", index=_index(route, _BRIDGE), state="up")


def _create_namespace(namespace: str) -> None:
    with signals_deferred():
        netns.create(namespace)


def _set_up_kernel(host: Host, namespace: str) -> None:
    """Set the sysctls before an interface or address appears."""
    with enter_namespace(namespace), IPRoute() as route:
        _write_sysctls(_QUIET_IPV6)
        loopback = _index(route, "lo")
        route.link("set", index=loopback, state="up")
        if host.role is Role.BACKEND:
            _write_sysctls(_SILENT_ARP)
            route.addr("add", index=loopback, address=str(VIP4), prefixlen=32)
            route.addr("add", index=loopback, address=str(VIP6), prefixlen=128, flags=_IFA_F_NODAD)


def _plug_in(host: Host, topology: Topology) -> None:
    """Create the host's link; its port at the switch has the host's name."""
    with enter_namespace(topology.switch), IPRoute() as route:
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
    with enter_namespace(namespace), IPRoute() as route:
        _disable_checksum_offload()
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


def _disable_checksum_offload() -> None:
    """Make the kernel compute checksums: a veth would send frames with partial ones."""
    ethtool = Ethtool()
    try:
        features = ethtool.get_features(INTERFACE)
        features.features["tx-checksum-ip-generic"].enable = False
        ethtool.set_features(INTERFACE, features)
    finally:
        ethtool.close()


def _deliver_xdp_frames(topology: Topology) -> None:
    """Attach a program to the balancers' ports: a veth without one drops frames that XDP sends."""
    with (
        kernel_errors("attach XDP_PASS to the balancers' ports of the switch"),
        libbpf.program_load("pydsr_lab_pass", libbpf.RETURN_XDP_PASS, 0, "GPL") as program,
        enter_namespace(topology.switch),
        IPRoute() as route,
    ):
        for host in topology.hosts_of(Role.BALANCER):
            route.link("set", index=_index(route, host.name), xdp_fd=program.number)


def _index(route: IPRoute, interface: str) -> int:
    return int(route.link_lookup(ifname=str(interface))[0])


def _write_sysctls(settings: dict[str, str]) -> None:
    for path, value in settings.items():
        Path("/proc/sys", path).write_text(value)
