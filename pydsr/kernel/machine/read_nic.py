"""Interfaces with their drivers and settings, as the doctor judges them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from pydsr.kernel.machine.facts import Bond, Machine, NicFacts, version_of
from pydsr.kernel.net.ethtool import Settings, driver_and_bus, interrupts, xdp_features
from pydsr.kernel.net.links import interface_from
from pydsr.kernel.net.netlink import netlink
from pydsr.model.interfaces import Interface

_BOND_MODES = (
    *("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad"),
    *("balance-tlb", "balance-alb"),
)
_HASH_POLICIES = ("layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac")
"""Numbers of linux/if_bonding.h as the kernel shows them."""


def this_machine() -> Machine:
    """Return what judgements of interfaces need of this machine."""
    return Machine(version_of(os.uname().release), os.cpu_count() or 1)


def read_nics(wanted: Iterable[Interface]) -> list[NicFacts]:
    """Return what is known of interfaces here; of those that have vanished, less."""
    with netlink() as ip:
        messages = {message["index"]: message for message in ip.get_links()}
    everything = {index: interface_from(message) for index, message in messages.items()}
    return [
        _read(messages, everything, one.index) if one.index in messages else NicFacts(one)
        for one in wanted
    ]


def _read(messages: dict[int, Any], everything: dict[int, Interface], index: int) -> NicFacts:
    message, interface = messages[index], everything[index]
    driver, bus = driver_and_bus(interface.name)
    below = everything.get(interface.parent)
    parts = [one.index for one in everything.values() if one.master == index]
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
            parts=tuple(_read(messages, everything, part) for part in parts)
            if interface.kind == "bond"
            else (),
            above=tuple(
                one.name for one in everything.values() if one.parent == index and one.xdp_program
            ),
            below=below.name if below else "",
        )


def _bond(message: Any) -> Bond | None:
    if message.get(("linkinfo", "kind")) != "bond":
        return None
    mode = message.get(("linkinfo", "data", "bond_mode"))
    policy = message.get(("linkinfo", "data", "bond_xmit_hash_policy"))
    return Bond(_word(_BOND_MODES, mode), _word(_HASH_POLICIES, policy))


def _word(words: tuple[str, ...], number: int | None) -> str:
    return words[number] if number is not None and number < len(words) else str(number)
