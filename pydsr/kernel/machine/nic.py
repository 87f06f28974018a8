"""Facts about a NIC: its driver, offloads, queues, interrupts and related devices."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydsr.kernel.machine.drivers import Version, version_of
from pydsr.kernel.net.ethtool import (
    Amount,
    Offload,
    Settings,
    XdpFeature,
    driver_and_bus,
    interrupts,
    xdp_features,
)
from pydsr.kernel.net.links import interface_from
from pydsr.kernel.net.netlink import NetlinkMessage, netlink
from pydsr.model.interfaces import Interface

_BOND_MODES = (
    *("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad"),
    *("balance-tlb", "balance-alb"),
)
_HASH_POLICIES = ("layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac")
"""The kernel's names for the numbers of linux/if_bonding.h."""


@dataclass(frozen=True)
class Machine:
    """The facts about a machine that findings about its NICs depend on."""

    kernel: Version
    cpus: int


@dataclass(frozen=True)
class Bond:
    """A bond's mode and hash policy, in the kernel's words."""

    mode: str
    hash_policy: str = ""


@dataclass(frozen=True)
class NicFacts:
    """Facts about an interface; None means unknown.

    Attributes:
        interface: what netlink reports of it.
        driver: the name of its driver; empty where there is none.
        bus: where its hardware is, such as a PCI address; empty without hardware.
        has_carrier: whether its link is up.
        xdp: what its driver supports; the kernel reports it since Linux 6.3.
        lro, gro_hw, rx_vlan: offloads that merge received packets, and that strip VLAN tags.
        queues: receive queues.
        ring: frames that each receive queue holds.
        interrupts: the CPUs that handle each interrupt, by its number.
        bond: its mode, where it is a bond.
        parts: the interfaces of a bond.
        above: names of devices above it that have an XDP program.
        below: the name of the device it is on, such as a macvlan's.
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
    above: tuple[str, ...] = ()
    below: str = ""

    @property
    def name(self) -> str:
        """The name of the interface."""
        return self.interface.name


def this_machine() -> Machine:
    """Return the kernel's version and the number of CPUs."""
    return Machine(version_of(os.uname().release), os.cpu_count() or 1)


def read_nics(wanted: Iterable[Interface]) -> list[NicFacts]:
    """Return facts about interfaces; fewer about interfaces that have vanished."""
    with netlink() as ip:
        messages = {message["index"]: message for message in ip.links()}
    interfaces = {index: interface_from(message) for index, message in messages.items()}
    return [
        _read(messages, interfaces, interface.index)
        if interface.index in messages
        else NicFacts(interface)
        for interface in wanted
    ]


def _read(
    messages: dict[int, NetlinkMessage], interfaces: dict[int, Interface], index: int
) -> NicFacts:
    message, interface = messages[index], interfaces[index]
    others = interfaces.values()
    driver, bus = driver_and_bus(interface.name)
    below = interfaces.get(interface.parent)
    parts = [other.index for other in others if other.master == index]
    with Settings(interface.name) as settings:
        lro, gro_hw, rx_vlan = settings.offloads("rx-lro", "rx-gro-hw", "rx-vlan-hw-parse")
        return NicFacts(
            interface,
            driver=driver,
            bus=bus,
            has_carrier=None if message.get("carrier") is None else bool(message.get("carrier")),
            xdp=xdp_features(index),
            lro=lro,
            gro_hw=gro_hw,
            rx_vlan=rx_vlan,
            queues=settings.queues(),
            ring=settings.ring(),
            interrupts=interrupts(bus),
            bond=_bond(message),
            parts=tuple(_read(messages, interfaces, part) for part in parts)
            if interface.kind == "bond"
            else (),
            above=tuple(
                other.name for other in others if other.parent == index and other.xdp_program
            ),
            below=below.name if below else "",
        )


def _bond(message: NetlinkMessage) -> Bond | None:
    if message.get(("linkinfo", "kind")) != "bond":
        return None
    mode = message.get(("linkinfo", "data", "bond_mode"))
    policy = message.get(("linkinfo", "data", "bond_xmit_hash_policy"))
    return Bond(_name(_BOND_MODES, mode), _name(_HASH_POLICIES, policy))


def _name(names: tuple[str, ...], number: int | None) -> str:
    return names[number] if number is not None and number < len(names) else str(number)
