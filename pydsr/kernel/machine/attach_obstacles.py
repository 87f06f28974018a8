"""Why an interface refuses an XDP program, as findings. Pure.

``pydsr attach`` names them after a refusal, ``pydsr doctor`` before one.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence

from pydsr.kernel.machine.drivers import DRIVERS, Driver, QueueRule
from pydsr.kernel.machine.findings import Finding, FindingKind
from pydsr.kernel.machine.nic import Machine, NicFacts
from pydsr.kernel.net.ethtool import XdpFeature
from pydsr.model.interfaces import Interface

_LIKELY_CAUSES = {
    errno.EOPNOTSUPP: "its driver has no native XDP, or not in this configuration",
    errno.ERANGE: "its MTU is too large for the driver's XDP: lower it, or use generic mode",
    errno.EINVAL: "the driver refuses its configuration: check MTU and LRO (ethtool -k)",
    errno.ENOMEM: "the driver has too few queues or too little memory: check ethtool -L",
    errno.ENOSPC: "the driver has too few queues for one per CPU: check ethtool -L",
}
"""The usual cause of each error: dev_xdp_attach() and the drivers' sources."""

_BOND_MODES = ("balance-rr", "active-backup", "balance-xor", "802.3ad")
"""The modes that bond_xdp_check() accepts; hashed modes only without vlan+srcmac."""

_BOND_HASHED = ("balance-xor", "802.3ad")
_BOND_HASH_REFUSED = "vlan+srcmac"
_GENERIC = "or --mode generic, slowly"


def find_obstacles(facts: NicFacts, machine: Machine) -> list[Finding]:
    """Return the obstacles to native mode; none if the driver should accept a program."""
    if facts.interface.kind == "bond":
        return list(_bond(facts, machine))
    if not has_native(facts, machine):
        return [_without_native(facts, machine)]
    driver = DRIVERS.get(facts.driver, Driver(machine.kernel))
    return [*_mtu(facts, driver, machine), *_merging(facts, driver), *_queues(facts, driver)]


def explain_refusal(number: int | None, facts: NicFacts, machine: Machine) -> str:
    """Return why an interface refused a program in native mode, given the errno, and what to do."""
    obstacles = find_obstacles(facts, machine)
    if obstacles:
        reasons = "; ".join(f"{finding.what}: {finding.remedy}" for finding in obstacles)
        names = ", ".join(finding.kind.id for finding in obstacles)
        return f"{reasons} (pydsr doctor {facts.name}: {names})"
    hint = _LIKELY_CAUSES.get(number or 0, "see the kernel's log: dmesg")
    if facts.interface.kind == "bond":
        hint = _bond_remedy(facts)
    return f"{hint}; for details: pydsr doctor {facts.name}"


def has_native(facts: NicFacts, machine: Machine) -> bool:
    """Return whether a driver has native XDP, by the kernel's report or by the table."""
    if facts.xdp is not None:
        return XdpFeature.BASIC in facts.xdp
    driver = DRIVERS.get(facts.driver)
    return driver is not None and driver.since <= machine.kernel


def takes_fragments(facts: NicFacts, machine: Machine) -> bool:
    """Return whether a driver takes frames in several buffers, and so any MTU."""
    if facts.xdp is not None:
        return XdpFeature.FRAGMENTS in facts.xdp
    driver = DRIVERS.get(facts.driver)
    return driver is not None and driver.frags is not None and driver.frags <= machine.kernel


def stripped_tags(interface: Interface) -> Finding:
    """Return the finding for an interface that strips VLAN tags before the program runs."""
    command = f"ethtool -K {interface.name} rxvlan off"
    is_veth = interface.kind == "veth"
    return Finding(
        FindingKind.VLAN_STRIPPED,
        interface.name,
        f"{interface.name} may strip VLAN tags before the program sees them, which then takes "
        "tagged packets for untagged ones",
        f"at its other end: ethtool -K PEER txvlan off; then here: {command}"
        if is_veth
        else command,
    )


def mixed_modes(native: Sequence[str], generic: Sequence[str]) -> Finding:
    """Return the finding for a balancer that is attached in both modes."""
    return Finding(
        FindingKind.MODES_MIXED,
        ", ".join(generic),
        f"packets that come in by {', '.join(native)}, in native mode, cannot be sent out of "
        f"{', '.join(generic)}, in generic mode: they are dropped and counted as other_interface",
        "if backends are behind another interface than their clients, attach all in one mode",
    )


def program_above(name: str, above: Sequence[str]) -> Finding:
    """Return the finding for an interface below a device that has a program."""
    where = f" on {', '.join(above)}" if above else ""
    return Finding(
        FindingKind.XDP_ABOVE,
        name,
        f"{name} takes no program: another XDP program{where} prevents it",
        "a program on a device above it (macvlan, VLAN, bond) excludes one on it: take that off "
        f"first, with ip link set dev {' '.join(above) or 'NAME'} xdp off",
    )


def _bond(facts: NicFacts, machine: Machine) -> Iterator[Finding]:
    bond = facts.bond
    if bond is not None:
        has_bad_hash = bond.mode in _BOND_HASHED and bond.hash_policy == _BOND_HASH_REFUSED
        if bond.mode not in _BOND_MODES or has_bad_hash:
            how = f"hashes by {bond.hash_policy}" if has_bad_hash else f"is in mode {bond.mode}"
            yield Finding(
                FindingKind.BOND_UNSUITABLE,
                facts.name,
                f"the bond {facts.name} {how}, in which it takes no program",
                _bond_remedy(facts),
            )
    for part in facts.parts:
        yield from find_obstacles(part, machine)


def _bond_remedy(facts: NicFacts) -> str:
    names = ", ".join(part.name for part in facts.parts) or "it has none"
    return (
        f"a bond takes one if the driver of each of its parts does ({names}), none of them has a "
        "program of its own, and its mode is balance-rr, active-backup, or balance-xor or "
        "802.3ad with another hash than vlan+srcmac"
    )


def _without_native(facts: NicFacts, machine: Machine) -> Finding:
    name, driver = facts.name, facts.driver
    if facts.interface.kind in ("macvlan", "macvtap"):
        return Finding(
            FindingKind.DRIVER_WITHOUT_XDP,
            name,
            f"{name} is a {facts.interface.kind}, which has no driver of its own",
            f"pydsr attach {facts.below}"
            if facts.below
            else "attach the device below it, in that device's network namespace",
        )
    if driver == "veth":
        return Finding(
            FindingKind.QUEUES_FEW,
            name,
            f"{name} has fewer receive queues than its other end has transmit queues",
            f"at its other end: ethtool -L PEER tx {facts.queues.present if facts.queues else 1}",
        )
    known = DRIVERS.get(driver)
    if known is not None and known.since > machine.kernel:
        major, minor = known.since
        return Finding(
            FindingKind.DRIVER_WITHOUT_XDP,
            name,
            f"the driver of {name}, {driver}, has native XDP only since Linux {major}.{minor}",
            f"boot a newer kernel, {_GENERIC}",
        )
    what = f"the driver of {name}, {driver}," if driver else f"{name}"
    return Finding(
        FindingKind.DRIVER_WITHOUT_XDP,
        name,
        f"{what} has no native XDP, or not as it is configured",
        f"use a NIC whose driver has it (docs/doctor.md), {_GENERIC}",
    )


def _mtu(facts: NicFacts, driver: Driver, machine: Machine) -> Iterator[Finding]:
    limit, mtu = driver.largest_mtu, facts.interface.mtu
    if limit is None or mtu <= limit or takes_fragments(facts, machine):
        return
    yield Finding(
        FindingKind.MTU_LARGE,
        facts.name,
        f"{facts.name} has MTU {mtu}, and {facts.driver} takes programs up to about {limit}",
        f"ip link set dev {facts.name} mtu {1500 if limit < 3000 else 3000}, {_GENERIC}",
    )


def _merging(facts: NicFacts, driver: Driver) -> Iterator[Finding]:
    name = facts.name
    if facts.lro.on and driver.refuses_lro:
        yield Finding(
            FindingKind.LRO_ON,
            name,
            f"{name} merges received packets (LRO), and {facts.driver} then takes no program",
            f"ethtool -K {name} lro off",
        )
    gro_hw = facts.gro_hw
    if gro_hw.on and (driver.refuses_gro_hw or (driver.refuses_fixed_gro_hw and gro_hw.fixed)):
        yield Finding(
            FindingKind.GRO_HW_ON,
            name,
            f"{name} merges received packets (rx-gro-hw), and {facts.driver} then takes no program",
            "it cannot be switched off here: give the virtual machine's NIC guest_tso4=off,"
            "guest_tso6=off,guest_ecn=off,guest_ufo=off, or ctrl_guest_offloads=on"
            if gro_hw.fixed
            else f"ethtool -K {name} rx-gro-hw off",
        )


def _queues(facts: NicFacts, driver: Driver) -> Iterator[Finding]:
    queues = facts.queues
    if queues is None or driver.queue_rule is not QueueRule.HALF:
        return
    half = max(queues.maximum // 2, 1)
    if queues.present > half:
        yield Finding(
            FindingKind.QUEUES_FEW,
            facts.name,
            f"{facts.name} receives by {queues.present} of {queues.maximum} queues, and "
            f"{facts.driver} needs as many more to transmit",
            f"ethtool -L {facts.name} {queues.word} {half}",
        )
