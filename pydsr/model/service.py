"""What a balancer is made of: endpoints, services, backends. Values only, no kernel.

Everything here is immutable; text forms are those of the command line
(``ADDR:PORT[/tcp|/udp]`` for an endpoint, ``ADDR[=WEIGHT][@MAC]`` for a backend).
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass, field
from enum import StrEnum
from functools import total_ordering
from typing import NamedTuple

from pydsr.model.errors import InputError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_WEIGHT = 65535
"""The largest weight of a backend, as in IPVS."""

MAX_NAME_BYTES = 63
"""The longest service name, in UTF-8 bytes."""

DEFAULT_LEARN_SECONDS = {"tcp": 900, "udp": 120, "sctp": 900}
"""How long a service learns flows after a change, by protocol."""

MAX_LEARN_SECONDS = 7 * 24 * 3600

MAX_NEW_FLOWS = 10_000_000
"""The highest limit of new flows a second."""

EVERY_PORT = 0
"""The port of a service that takes every port its VIP has no other service for."""

VLAN_8021Q, VLAN_8021AD = 0x8100, 0x88A8
"""The EtherTypes of a tag: of customers, and around it of service providers (IEEE 802.1Q)."""

MAX_VLAN = 4094
MAX_TAGS = 2

_MAC = re.compile("[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}")


class Protocol(StrEnum):
    """A transport protocol that can be balanced."""

    TCP = "tcp"
    UDP = "udp"
    SCTP = "sctp"

    @property
    def tells_new_flows(self) -> bool:
        """Whether a packet says that it opens a flow: a SYN, an INIT."""
        return self is not Protocol.UDP


class Affinity(StrEnum):
    """What the balancer hashes to choose a backend."""

    FLOW = "flow"
    SOURCE = "source"
    DESTINATION = "destination"


class Unserved(StrEnum):
    """What becomes of packets for a VIP's port that no service has.

    Dropped and counted as something to look at, passed to this machine's kernel, or dropped
    and counted as intended.
    """

    COUNT = "count"
    PASS = "pass"  # noqa: S105
    DROP = "drop"


class BackendState(StrEnum):
    """Whether a backend gets new flows (up), keeps only old ones (drain) or none (down)."""

    UP = "up"
    DRAIN = "drain"
    DOWN = "down"


def parse_address(text: str) -> IPAddress:
    """Parse an IP address, refusing those that no host can have.

    Raises:
        InputError: not an address, or unspecified, loopback, multicast or broadcast,
            or an IPv4-mapped IPv6 address.
    """
    try:
        # In C, which counts in files of many thousands; what it refuses is read at leisure.
        address: IPAddress = ipaddress.IPv4Address(socket.inet_pton(socket.AF_INET, text))
    except (OSError, ValueError):
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            raise InputError(
                f"{text!r} is not an IP address", "write it as 192.0.2.10 or 2001:db8::10"
            ) from None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise InputError(f"{text!r} carries a zone", "name the address without %zone")
        if address.ipv4_mapped is not None:
            raise InputError(f"{text!r} is an IPv4-mapped address", f"write {address.ipv4_mapped}")
    kind = _not_a_hosts(address)
    if kind:
        raise InputError(f"{text!r} is {kind}", "a host's own unicast address is needed")
    return address


def _not_a_hosts(address: IPAddress) -> str:
    """Return what an address is that no host can have; empty for one that a host can."""
    # By the number, which is several times faster than by the properties of ipaddress.
    number = int(address)
    if address.version == 4:
        loopback, multicast = number >> 24 == 127, number >> 28 == 0xE
    else:
        loopback, multicast = number == 1, number >> 120 == 0xFF
    if number == 0:
        return "the unspecified address"
    if loopback:
        return "a loopback address"
    if multicast:
        return "a multicast address"
    return "the broadcast address" if number == 0xFFFFFFFF and address.version == 4 else ""


def parse_seed(text: str) -> int:
    """Parse the 64-bit key of the flow hash.

    Raises:
        InputError: it is no hexadecimal number of up to 16 digits.
    """
    if not re.fullmatch(r"(0x)?[0-9A-Fa-f]{1,16}", text):
        raise InputError(
            f"the seed {text!r} is not a hexadecimal number of up to 16 digits",
            "make one: openssl rand -hex 8",
        )
    return int(text, 16)


@total_ordering
@dataclass(frozen=True)
class Endpoint:
    """A virtual IP, port and protocol: what a service listens on."""

    address: IPAddress
    port: int
    protocol: Protocol = Protocol.TCP

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Parse ``ADDR:PORT[/tcp|/udp|/sctp]``, ``[V6]:PORT…``; PORT ``*`` is every port.

        Raises:
            InputError: the text is no endpoint; the message says which part is wrong.
        """
        form = "write it as 198.51.100.10:80, 198.51.100.10:53/udp or [2001:db8::10]:80"
        place, _, protocol_text = text.partition("/")
        host, colon, port_text = place.rpartition(":")
        if not colon or not host:
            raise InputError(f"{text!r} is not an endpoint: no port", form)
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
            if ":" not in host:
                raise InputError(f"{text!r}: brackets are for IPv6 addresses", form)
        elif ":" in host:
            raise InputError(f"{text!r}: an IPv6 address needs brackets", form)
        try:
            protocol = Protocol(protocol_text) if "/" in text else Protocol.TCP
        except ValueError:
            raise InputError(
                f"{text!r}: {protocol_text!r} is no protocol pydsr balances", "use tcp, udp or sctp"
            ) from None
        if port_text == "*":
            return cls(parse_address(host), EVERY_PORT, protocol)
        if not re.fullmatch(r"[0-9]{1,5}", port_text) or not 1 <= int(port_text) <= 65535:
            raise InputError(
                f"{text!r}: the port must be a number from 1 to 65535, or * for every port", form
            )
        return cls(parse_address(host), int(port_text), protocol)

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port or '*'}/{self.protocol}"

    def __lt__(self, other: Endpoint) -> bool:
        return self.order < other.order

    @property
    def order(self) -> tuple[int, int, int, str]:
        """What endpoints are sorted by; as the key of many, faster than to compare those."""
        return (self.address.version, int(self.address), self.port, self.protocol)


@dataclass(frozen=True, order=True)
class MacAddress:
    """A 48-bit Ethernet address; ``octets`` is in transmission order."""

    octets: bytes

    @classmethod
    def parse(cls, text: str) -> MacAddress:
        """Parse ``aa:bb:cc:dd:ee:ff`` (or with dashes).

        Raises:
            InputError: malformed, zero, or multicast: no backend can have it.
        """
        if not _MAC.fullmatch(text):
            raise InputError(f"{text!r} is not a MAC address", "write it as 02:00:00:00:00:01")
        mac = cls(bytes.fromhex(text.replace(":", "").replace("-", "")))
        if not mac.is_unicast:
            raise InputError(
                f"{text!r} is a {'multicast' if any(mac.octets) else 'zero'} MAC address",
                "a backend has a unicast one; `ip link` on the backend shows it",
            )
        return mac

    @property
    def is_unicast(self) -> bool:
        """Whether a single host can have this address."""
        return any(self.octets) and not self.octets[0] & 1

    def __str__(self) -> str:
        return self.octets.hex(":")


@dataclass(frozen=True, order=True)
class Tag:
    """A VLAN tag: the EtherType that announces it, and the VLAN."""

    protocol: int
    vlan: int


def parse_tags(text: str) -> tuple[Tag, ...]:
    """Parse ``200``, or ``100.200`` with the outer VLAN (of a provider, 802.1ad) first.

    Raises:
        InputError: no VLANs, or more than a frame carries.
    """
    numbers = text.split(".")
    if len(numbers) > MAX_TAGS or not all(
        re.fullmatch(r"[0-9]{1,4}", number) and 1 <= int(number) <= MAX_VLAN for number in numbers
    ):
        raise InputError(
            f"{text!r} names no VLAN", f"write it as 200, or as 100.200; each from 1 to {MAX_VLAN}"
        )
    protocols = (VLAN_8021Q,) if len(numbers) == 1 else (VLAN_8021AD, VLAN_8021Q)
    return tuple(Tag(p, int(number)) for p, number in zip(protocols, numbers, strict=True))


def format_tags(tags: tuple[Tag, ...]) -> str:
    """Return tags in the form that :func:`parse_tags` reads; empty for none."""
    return ".".join(str(tag.vlan) for tag in tags)


@dataclass(frozen=True)
class Place:
    """Where a backend's frames go: its MAC, the interface it is behind, the tags it takes."""

    mac: MacAddress
    ifindex: int
    tags: tuple[Tag, ...] = ()


@dataclass(frozen=True)
class BackendSpec:
    """A backend as a user names it: the MAC is None where it is to be resolved."""

    address: IPAddress
    weight: int = 1
    mac: MacAddress | None = None
    tags: tuple[Tag, ...] = ()

    @classmethod
    def parse(cls, text: str) -> BackendSpec:
        """Parse ``ADDR[=WEIGHT][@MAC[%VLAN]]``; the weight is 1 where none is said.

        Raises:
            InputError: malformed address, weight, MAC or VLAN; names the text.
        """
        rest, at, place = text.partition("@")
        mac_text, percent, vlan_text = place.partition("%")
        address_text, equals, weight_text = rest.partition("=")
        mac = MacAddress.parse(mac_text) if at else None
        tags = parse_tags(vlan_text) if percent else ()
        address = parse_address(address_text.removeprefix("[").removesuffix("]"))
        weight = 1
        if equals:
            if not re.fullmatch(r"[0-9]{1,9}", weight_text) or int(weight_text) > MAX_WEIGHT:
                raise InputError(
                    f"{text!r}: the weight must be a whole number from 0 to {MAX_WEIGHT}",
                    "weight 2 gets twice the flows of weight 1; 0 drains",
                )
            weight = int(weight_text)
        return cls(address, weight, mac, tags)


@dataclass(frozen=True)
class ServiceOptions:
    """How a service behaves; what is not said takes the default.

    Attributes:
        netmask4, netmask6: prefix lengths kept of the address by source or destination affinity.
        learn: seconds that flows are learnt after a change; None is the protocol's default.
        one_packet: every packet is a flow of its own (DNS-like): a change moves flows at once.
        arp: whether the balancer answers ARP/ND for the VIP and announces it.
        max_new_flows: most new flows a second of one source network; 0 is no limit.
        guard_netmask4, guard_netmask6: prefix lengths of those networks.
    """

    name: str = ""
    affinity: Affinity = Affinity.FLOW
    netmask4: int = 32
    netmask6: int = 128
    one_packet: bool = False
    learn: int | None = None
    arp: bool = True
    max_new_flows: int = 0
    guard_netmask4: int = 32
    guard_netmask6: int = 64

    def __post_init__(self) -> None:
        if len(self.name.encode()) > MAX_NAME_BYTES or not self.name.isprintable():
            raise InputError(
                f"the name {self.name!r} cannot be used",
                f"at most {MAX_NAME_BYTES} bytes of printable text",
            )
        for what, value, longest in (
            ("netmask4", self.netmask4, 32),
            ("netmask6", self.netmask6, 128),
            ("guard-netmask4", self.guard_netmask4, 32),
            ("guard-netmask6", self.guard_netmask6, 128),
        ):
            if not 1 <= value <= longest:
                raise InputError(f"{what} {value} is no prefix length", f"use 1 to {longest}")
        if self.affinity is Affinity.FLOW and (self.netmask4, self.netmask6) != (32, 128):
            raise InputError(
                "a netmask has no meaning with affinity by flow", "add --affinity source"
            )
        if not 0 <= self.max_new_flows <= MAX_NEW_FLOWS:
            raise InputError(
                f"max-new-flows {self.max_new_flows} is out of range",
                f"0 (no limit) to {MAX_NEW_FLOWS} a second",
            )
        if self.learn is not None and not 0 <= self.learn <= MAX_LEARN_SECONDS:
            raise InputError(
                f"learn {self.learn} is out of range", f"0 to {MAX_LEARN_SECONDS} seconds"
            )


@dataclass(frozen=True)
class Backend:
    """A backend of one service as the data plane has it.

    Attributes:
        id: stable number in the data plane, unique over all services.
        mac: where frames go; None before it was resolved.
        mac_by_hand: the MAC was given by ``@MAC`` and is not resolved.
        ifindex: the interface the backend is behind.
        slots: how many slots of the service's table it owns.
        tags: the VLAN tags on its frames, outermost first.
    """

    id: int
    address: IPAddress
    weight: int
    mac: MacAddress | None
    mac_by_hand: bool
    state: BackendState
    ifindex: int
    slots: int = 0
    tags: tuple[Tag, ...] = ()

    @property
    def place(self) -> Place | None:
        """Where its frames go; None before that was found."""
        return Place(self.mac, self.ifindex, self.tags) if self.mac else None


@dataclass(frozen=True)
class Service:
    """A service as the data plane has it.

    Attributes:
        table_size: the number of its slots.
        slots_changing: how many of them are not at rest.
        learn_until: nanoseconds of CLOCK_MONOTONIC until which changing slots learn flows.
    """

    id: int
    endpoint: Endpoint
    options: ServiceOptions
    backends: tuple[Backend, ...] = ()
    table_size: int = 0
    slots_changing: int = 0
    learn_until: int = 0

    @property
    def learn_seconds(self) -> int:
        """Return how long flows are learnt after a change, the default included."""
        if self.options.learn is not None:
            return self.options.learn
        return DEFAULT_LEARN_SECONDS[self.endpoint.protocol]

    def backend(self, address: IPAddress) -> Backend | None:
        """Return the backend with that address, if the service has it."""
        return next((b for b in self.backends if b.address == address), None)


class Counters(NamedTuple):
    """Totals since a backend or service was created; bytes count whole Ethernet frames.

    ``new_flows`` counts TCP SYNs and is None where the protocol does not tell. A tuple, since a
    view makes thousands of them every second.
    """

    packets: int = 0
    bytes: int = 0
    new_flows: int | None = 0

    def __add__(self, other: Counters) -> Counters:  # type: ignore[override]
        known = self.new_flows is not None and other.new_flows is not None
        return Counters(
            self.packets + other.packets,
            self.bytes + other.bytes,
            (self.new_flows or 0) + (other.new_flows or 0) if known else None,
        )


@dataclass(frozen=True)
class ProgramRun:
    """What a loaded program has cost since it was loaded, as far as the kernel timed it.

    Attributes:
        interfaces: names of those that it is on.
        seconds_total: of CPU time.
        runs_total: how many packets that was.
    """

    program_id: int
    interfaces: tuple[str, ...]
    seconds_total: float
    runs_total: int


@dataclass(frozen=True)
class Snapshot:
    """All counters at one moment.

    Attributes:
        time: monotonic seconds.
        services: every service with its backends.
        counters: totals by backend id.
        verdicts: packets by reason, in the order of ``xdp/reasons.h``.
        interfaces: names of the attached interfaces with the mode of each.
        records: how many flow records each service id has; none at rest.
        pending: the same of flows of which no more than the SYN has come.
        programs: the programs on those interfaces, by id.
        programs_timed: whether the kernel times programs (sysctl kernel.bpf_stats_enabled).
    """

    time: float
    services: tuple[Service, ...] = ()
    counters: dict[int, Counters] = field(default_factory=dict)
    verdicts: dict[str, int] = field(default_factory=dict)
    interfaces: tuple[tuple[str, str], ...] = ()
    records: dict[int, int] = field(default_factory=dict)
    pending: dict[int, int] = field(default_factory=dict)
    programs: tuple[ProgramRun, ...] = ()
    programs_timed: bool = False
