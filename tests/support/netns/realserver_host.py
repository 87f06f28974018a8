"""A backend's host and a client on its wire, for ``pydsr realserver``.

The backend has 10.66.0.11 and fd66::11 on ``eth0``, the client 10.66.0.1 and fd66::1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path

from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet
from scapy.utils6 import in6_getnsma, in6_getnsmac

from pydsr.lab.network import enter_namespace
from tests.support.netns.command import Done, Pydsr
from tests.support.netns.namespaces import Host, connect, made_host

VIP4, VIP6 = "10.66.0.80", "fd66::80"
VIPS = (VIP4, VIP6)
OWN = {4: "10.66.0.11", 6: "fd66::11"}
CLIENT = {4: "10.66.0.1", 6: "fd66::1"}

_DUMPS = (
    "ip -json -details link show",
    "ip -json -details address show",
    "ip -json -4 route show table all",
    "ip -json -6 route show table all",
    "ip -json -4 rule show",
    "ip -json -6 rule show",
)


def version(address: str) -> int:
    """Return the IP version of an address."""
    return 6 if ":" in address else 4


@dataclass(frozen=True)
class Backend:
    """A host that is to be a backend.

    Attributes:
        host: it.
        client: the host at the other end of its wire.
        records: the directory of what setup remembers.
    """

    host: Host
    client: Host
    records: Path

    @property
    def pydsr(self) -> Pydsr:
        """The pydsr command on the backend, which needs no pins."""
        return Pydsr(self.host, Path("/nonexistent"))

    def does(self, verb: str, *arguments: str) -> Done:
        """Run ``pydsr realserver``, which may fail."""
        return self.pydsr("realserver", *self.arguments(verb, *arguments))

    def arguments(self, verb: str, *arguments: str) -> list[str]:
        """Return the arguments of a verb, with this backend's record directory."""
        records = [] if verb == "check" else ["--record-directory", str(self.records)]
        return [verb, *arguments, *records]

    def did(self, verb: str, *arguments: str) -> Done:
        """Run ``pydsr realserver``, which must succeed."""
        done = self.does(verb, *arguments)
        assert 0 == done.status, (verb, arguments, done)
        return done

    def snapshot(self) -> dict[str, list[str]]:
        """Return the whole state of the network: links, addresses, routes, rules, sysctls."""
        found = {dump: [self.host.run(*dump.split())] for dump in _DUMPS}
        with enter_namespace(self.host.name):
            return found | {"sysctls": list(_sysctls())}

    def claims(self, vip: str) -> bool:
        """Query a VIP and the host's own address; return whether the host answers for the VIP."""
        own = OWN[version(vip)]
        with self.client.listen() as listener:
            for request in (*self._questions(vip), *self._questions(own)):
                self.client.send(bytes(request))
            received = listener.until(_answers(own))
        return any(_answers(vip)(frame) for frame in received)

    def steer(self, vip: str, interface: str = "eth0") -> None:
        """Make the client send packets for a VIP here, as a balancer does."""
        mac = self.host.mac(interface)
        to_mac = ("lladdr", mac, "dev", interface, "nud", "permanent")
        self.client.run("ip", "neigh", "replace", vip, *to_mac)

    def _questions(self, address: str) -> Iterator[Packet]:
        mac, client = self.client.mac(), CLIENT[version(address)]
        if version(address) == 4:
            frame = Ether(src=mac, dst="ff:ff:ff:ff:ff:ff")
            yield frame / ARP(op="who-has", hwsrc=mac, psrc=client, pdst=address)
            return
        group = in6_getnsma(IPv6Address(address).packed)
        ask = ICMPv6ND_NS(tgt=address) / ICMPv6NDOptSrcLLAddr(lladdr=mac)
        # By multicast as hosts do, and past the filter of multicasts.
        many = IPv6(src=client, dst=str(IPv6Address(group)))
        yield Ether(src=mac, dst=in6_getnsmac(group)) / many / ask
        yield Ether(src=mac, dst=self.host.mac()) / IPv6(src=client, dst=OWN[6]) / ask


def _sysctls() -> Iterator[str]:
    """Read all sysctls of the calling thread's network namespace."""
    for path in sorted(Path("/proc/sys/net").rglob("*")):
        # Some are directories, some only to be written, and some have no value yet.
        with suppress(OSError):
            yield f"{path}: {path.read_text()}"


def _answers(address: str) -> Callable[[bytes], bool]:
    """Return a predicate for frames that announce an address."""

    def does(raw: bytes) -> bool:
        frame = Ether(raw)
        if ARP in frame:
            return bool(frame[ARP].op == 2 and frame[ARP].psrc == address)
        return ICMPv6ND_NA in frame and frame[ICMPv6ND_NA].tgt == address

    return does


@contextmanager
def made_backend(records: Path) -> Iterator[Backend]:
    """Create a backend's host and a client, connected by ``eth0``."""
    with made_host() as client, made_host() as host:
        pairs = [
            (f"{CLIENT[number]}/{length}", f"{OWN[number]}/{length}")
            for number, length in ((4, 24), (6, 64))
        ]
        connect(client, host, "eth0", pairs)
        yield Backend(host, client, records)
