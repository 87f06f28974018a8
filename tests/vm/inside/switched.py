"""A balancer on a trunk to a router, with a client and a backend in each of several VLANs.

The balancer ``lb`` and the ``router`` have one wire, ``eth0`` at both ends. On the router each VLAN
of it is a port of a bridge; another port leads to the VLAN's client, one to its backend, which see
no tags. The bridge has the VLAN's gateway, so that answers find their way from one to another.

In the network ``10.N.0.0/24`` and ``fd00:N::/64`` of a VLAN the balancer is number 1, the client 2,
the backend 11, and the gateway 254; 80 is a VIP for its clients, on the loopback of every backend.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.support.netns.namespaces import Host, connect, made_host

LB, CLIENT, BACKEND, VIP, GATEWAY = 1, 2, 11, 80, 254
TAGS_IN_THE_FRAME = (
    *("txvlan", "off", "rxvlan", "off"),
    *("tx-vlan-stag-hw-insert", "off", "rx-vlan-stag-hw-parse", "off"),
)
"""Options of ``ethtool -K`` at both ends, without which a veth carries tags beside the frame."""

SYSCTLS = ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")


@dataclass(frozen=True)
class Segment:
    """A network on the trunk.

    Attributes:
        name: of its client and backend too.
        number: what its addresses have.
        vlans: protocol and number of each tag, outermost first.
    """

    name: str
    number: int
    vlans: tuple[tuple[str, int], ...] = ()

    def address(self, host: int, version: int = 4) -> str:
        """Return the address of a host."""
        return f"10.{self.number}.0.{host}" if version == 4 else f"fd00:{self.number}::{host}"

    def device(self, trunk: str = "eth0") -> str:
        """Return the name of its device on the balancer and the router."""
        return ".".join([trunk, *(str(number) for _, number in self.vlans)])

    @property
    def tags(self) -> str:
        """What the command shows behind a MAC."""
        return ".".join(str(number) for _, number in self.vlans)


UNTAGGED = Segment("untagged", 1)
RED = Segment("red", 100, (("802.1Q", 100),))
BLUE = Segment("blue", 200, (("802.1Q", 200),))
STACKED = Segment("stacked", 40, (("802.1ad", 300), ("802.1Q", 40)))
SEGMENTS = (UNTAGGED, RED, BLUE, STACKED)


@dataclass(frozen=True)
class Switched:
    """The hosts; clients and backends by the name of their segment."""

    lb: Host
    router: Host
    clients: Mapping[str, Host]
    backends: Mapping[str, Host]


@contextmanager
def made_switched(segments: Sequence[Segment] = SEGMENTS) -> Iterator[Switched]:
    """Make and connect them; a web server of each backend answers the segment's name."""
    with ExitStack() as stack:
        made = Switched(stack.enter_context(made_host()), stack.enter_context(made_host()), {}, {})
        clients, backends = {}, {}
        connect(made.lb, made.router, "eth0", [])
        for host in (made.lb, made.router):
            host.run("ethtool", "-K", "eth0", *TAGS_IN_THE_FRAME)
        made.router.run("sysctl", "-qw", *SYSCTLS)
        for segment in segments:
            add_segment(made.router, segment)
            have_device(made.lb, segment)
            client = clients[segment.name] = stack.enter_context(made_host())
            backend = backends[segment.name] = stack.enter_context(made_host())
            connect_to(made.router, segment, client, CLIENT)
            connect_to(made.router, segment, backend, BACKEND)
            have_vips(backend, segments)
            stack.enter_context(backend.serving(segment.name))
        yield Switched(made.lb, made.router, clients, backends)


def have_device(host: Host, segment: Segment, number: int = LB, trunk: str = "eth0") -> None:
    """Give a host a device and addresses in a segment of its trunk."""
    add_device(host, segment, trunk)
    have_addresses(host, segment, number, segment.device(trunk))


def add_device(host: Host, segment: Segment, trunk: str = "eth0") -> None:
    """Give a host the VLAN devices that lead to a segment of its trunk."""
    below = trunk
    for protocol, number in segment.vlans:
        name = f"{below}.{number}"
        kind = ("type", "vlan", "protocol", protocol, "id", str(number))
        host.run("ip", "link", "add", "link", below, "name", name, *kind)
        host.run("ip", "link", "set", name, "up")
        below = name


def have_addresses(host: Host, segment: Segment, number: int, device: str) -> None:
    """Give a device of a host its addresses in a segment."""
    for version, length in ((4, 24), (6, 64)):
        host.run(
            "ip", "address", "add", f"{segment.address(number, version)}/{length}", "dev", device
        )


def add_segment(router: Host, segment: Segment, trunks: Sequence[str] = ("eth0",)) -> None:
    """Give the router a bridge for a segment, with the gateway's addresses."""
    router.run("ip", "link", "add", segment.name, "type", "bridge")
    for trunk in trunks:
        add_device(router, segment, trunk)
        router.run("ip", "link", "set", segment.device(trunk), "master", segment.name)
    router.run("ip", "link", "set", segment.name, "up")
    have_addresses(router, segment, GATEWAY, segment.name)


def connect_to(router: Host, segment: Segment, host: Host, number: int) -> None:
    """Connect a host to a segment of the router, which is its gateway."""
    wire = f"{segment.name}-{number}"
    connect(host, router, wire, [])
    router.run("ip", "link", "set", wire, "master", segment.name)
    have_addresses(host, segment, number, wire)
    for version in (4, 6):
        gateway = segment.address(GATEWAY, version)
        host.run("ip", f"-{version}", "route", "add", "default", "via", gateway)


def have_vips(backend: Host, segments: Sequence[Segment]) -> None:
    """Give a backend the VIPs of some segments as the documentation says."""
    backend.run("sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=1")
    backend.run("sysctl", "-qw", "net.ipv4.conf.all.arp_announce=2")
    for segment in segments:
        for version, length in ((4, 32), (6, 128)):
            vip = f"{segment.address(VIP, version)}/{length}"
            backend.run("ip", "address", "add", vip, "dev", "lo")
