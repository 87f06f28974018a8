"""What is known of a host, an interface, a VIP and a backend. Values only; None is "not known"."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pydsr.kernel.net.arp_query import Claim
from pydsr.kernel.net.ethtool import Amount, Offload, XdpFeature
from pydsr.model.addresses import Endpoint, IPAddress, MacAddress
from pydsr.model.check_result import Result
from pydsr.model.errors import PydsrError
from pydsr.model.interfaces import Interface

Version = tuple[int, int]
"""Of a kernel: its first two numbers."""


def version_of(release: str) -> Version:
    """Return the version of a kernel by its release, such as ``6.1.0-18-amd64``."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


@dataclass(frozen=True)
class Trouble:
    """What an error would say: ``message`` what is wrong, ``hint`` what to do."""

    message: str
    hint: str

    @classmethod
    def of(cls, check: Callable[[], object]) -> Trouble | None:
        """Return what the error says that a check raises; None where it raises none."""
        try:
            check()
        except PydsrError as error:
            return cls(error.message, error.hint)
        return None


@dataclass(frozen=True)
class HostFacts:
    """The machine.

    Attributes:
        release: of its kernel.
        missing_capabilities: those that this process would need and lacks.
        bpf: why no BPF program can be loaded; None where one can, and where nobody may try.
        jit: whether programs are compiled to machine code.
        pins: why the directory of pins cannot be there.
        directory: of the pins.
        memlock: bytes that this process may lock; None without a limit.
        bcc, libbpf, headers: why each cannot be used.
        has_native: whether the loop that fills tables was compiled.
    """

    release: str
    missing_capabilities: frozenset[str] = frozenset()
    bpf: Trouble | None = None
    jit: bool | None = None
    pins: Trouble | None = None
    directory: str = ""
    memlock: int | None = None
    bcc: Trouble | None = None
    libbpf: Trouble | None = None
    headers: Trouble | None = None
    has_native: bool = True

    @property
    def version(self) -> Version:
        """The version of its kernel."""
        return version_of(self.release)


@dataclass(frozen=True)
class Machine:
    """What judgements of an interface need of its machine."""

    kernel: Version
    cpus: int


@dataclass(frozen=True)
class Bond:
    """How a bond was made: its mode, and what it chooses a part by, in the kernel's words."""

    mode: str
    hash_policy: str = ""


@dataclass(frozen=True)
class NicFacts:
    """An interface, with its driver and settings.

    Attributes:
        interface: what netlink says of it.
        driver: the name of its driver; empty where it says none.
        bus: where its hardware is, such as a PCI address; empty without hardware.
        has_carrier: whether its wire is connected.
        xdp: what its driver can do; since Linux 6.3 the kernel says it.
        lro, gro_hw, rx_vlan: offloads by which a device joins packets, and takes off VLAN tags.
        queues: for receiving.
        ring: of each of those, in frames.
        interrupts: of each by its number, the CPUs that take it.
        bond: where it is one.
        parts: those of a bond.
        is_attached: whether the balancer is on it.
        known_mac: the MAC that the program takes for its own, where it is attached.
        reads_vlans: whether the program is to see VLAN tags here.
        unheard: IPv6 VIPs whose solicitations it does not listen to.
        refusal: why attach would refuse it.
        foreign: whose program is in the way.
        above: names of devices above it that have a program.
        below: the name of the device it stands on, where it has no driver itself.
    """

    interface: Interface
    driver: str = ""
    bus: str = ""
    has_carrier: bool | None = None
    xdp: XdpFeature | None = None
    lro: Offload = field(default_factory=Offload)
    gro_hw: Offload = field(default_factory=Offload)
    rx_vlan: Offload = field(default_factory=Offload)
    queues: Amount | None = None
    ring: Amount | None = None
    interrupts: Mapping[int, frozenset[int]] = field(default_factory=dict)
    bond: Bond | None = None
    parts: tuple[NicFacts, ...] = ()
    is_attached: bool = False
    known_mac: MacAddress | None = None
    reads_vlans: bool = False
    unheard: tuple[IPAddress, ...] = ()
    refusal: Trouble | None = None
    foreign: Trouble | None = None
    above: tuple[str, ...] = ()
    below: str = ""

    @property
    def name(self) -> str:
        """The name of the interface."""
        return self.interface.name


@dataclass(frozen=True)
class VipFacts:
    """A virtual IP.

    Attributes:
        asked: names of the devices by which hosts were asked for it.
        unasked: why it was not asked for by some device.
        claims: who answered.
        local: where it is an address of this machine, as ``ip address del`` takes it.
        answered: whether the program answers for it.
    """

    vip: IPAddress
    asked: tuple[str, ...] = ()
    unasked: tuple[str, ...] = ()
    claims: frozenset[Claim] = frozenset()
    local: str = ""
    answered: bool = True


@dataclass(frozen=True)
class BackendFacts:
    """A backend of a service.

    Attributes:
        mac: where its packets go.
        weight: its share of new flows.
        seen_macs: those that the kernel is sure of; empty where it is of none.
        result: of a check of the VIP on it; None where none was made.
        unchecked: why none was made.
    """

    service: Endpoint
    address: IPAddress
    mac: MacAddress | None
    weight: int = 1
    seen_macs: frozenset[MacAddress] = frozenset()
    result: Result | None = None
    unchecked: str = ""


@dataclass(frozen=True)
class NetworkFacts:
    """What the balancer serves.

    Attributes:
        vips: each once.
        backends: of all services, but for those that are down.
        names: of the backends with each MAC.
        own_macs: of the attached interfaces.
        empty: services of which no backend takes new flows.
        is_attached: whether the balancer is on any interface of this network namespace.
        is_elsewhere: whether it is on one of another.
    """

    vips: tuple[VipFacts, ...] = ()
    backends: tuple[BackendFacts, ...] = ()
    names: Mapping[MacAddress, tuple[str, ...]] = field(default_factory=dict)
    own_macs: frozenset[MacAddress] = frozenset()
    empty: tuple[Endpoint, ...] = ()
    is_attached: bool = True
    is_elsewhere: bool = False
