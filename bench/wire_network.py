"""Wires to balancers: network namespaces, each with a veth to the outside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from pyroute2 import IPRoute

from pydsr.kernel.bpf import libbpf
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.lab.network import enter_namespace
from tests.support.netns.namespaces import Host, made_host

INTERFACE = "eth0"
"""A balancer's one interface."""

BALANCER_MAC = "02:00:00:00:00:01"
CLIENT_MAC = "02:c1:00:00:00:01"

_QUIET = (
    "net.ipv6.conf.all.disable_ipv6=1",
    "net.ipv6.conf.default.disable_ipv6=1",
)
"""Nothing is sent but what is measured: no neighbour discovery, no multicast reports."""


@dataclass(frozen=True)
class Wire:
    """A veth pair.

    Attributes:
        balancer: the namespace with the end called INTERFACE.
        far_end: the other end's index, outside.
    """

    balancer: Host
    far_end: int


@contextmanager
def made_outside() -> Iterator[Host]:
    """Make the namespace that frames come from and are sent to."""
    with made_host() as outside:
        outside.run("sysctl", "-qw", *_QUIET)
        yield outside


@contextmanager
def made_wire(outside: Host, number: int) -> Iterator[Wire]:
    """Make a balancer's namespace and the veth to it."""
    far_end = f"wire{number}"
    with made_host() as balancer:
        balancer.run("sysctl", "-qw", *_QUIET)
        peer = ["peer", "name", far_end, "address", CLIENT_MAC, "netns", outside.name]
        link = ["ip", "link", "add", INTERFACE, "address", BALANCER_MAC, "arp", "off"]
        balancer.run(*link, "type", "veth", *peer)
        balancer.run("ip", "link", "set", INTERFACE, "up")
        outside.run("ip", "link", "set", far_end, "arp", "off", "up")
        yield Wire(balancer, index_of(outside, far_end))


def index_of(host: Host, interface: str) -> int:
    """Return the index of an interface."""
    with enter_namespace(host.name), IPRoute() as route:
        return int(route.link_lookup(ifname=interface)[0])


@contextmanager
def attached(program: Descriptor, host: Host, interfaces: Sequence[int]) -> Iterator[None]:
    """Have an XDP program in the driver of some interfaces."""
    with enter_namespace(host.name), ExitStack() as links:
        for ifindex in interfaces:
            links.enter_context(libbpf.link_create(program, ifindex, libbpf.XDP_FLAG_NATIVE))
        yield


def take_frames_as_buffers(host: Host) -> None:
    """Have a veth without a program in its driver take frames that XDP sends, as sk_buffs.

    Without generic receive offload it has no NAPI, and refuses them.
    """
    host.run("ethtool", "-K", INTERFACE, "gro", "on")
