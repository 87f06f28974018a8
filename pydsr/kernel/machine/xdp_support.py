"""What stands against a program in the driver of an interface. Pure.

Both ``pydsr attach``, after a refusal, and ``pydsr doctor``, before one, say it by these words.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from pydsr.kernel.machine.drivers import DRIVERS, Driver, QueueRule
from pydsr.kernel.machine.facts import Machine, NicFacts
from pydsr.kernel.machine.finding import Finding
from pydsr.kernel.machine.finding_kinds import Kind
from pydsr.kernel.net.ethtool import XdpFeature

_UNFORESEEN = {
    errno.EOPNOTSUPP: "its driver has no native XDP, or not in this configuration",
    errno.ERANGE: "its MTU is too large for the driver's XDP: lower it, or use generic mode",
    errno.EINVAL: "the driver refuses it as configured: look at MTU and LRO (ethtool -k)",
    errno.ENOMEM: "the driver has too few queues or too little memory: see ethtool -L",
    errno.ENOSPC: "the driver has too few queues for one per CPU: see ethtool -L",
}
"""What each error of an attempt means mostly: dev_xdp_attach() and the drivers' sources."""

_BOND_MODES = ("balance-rr", "active-backup", "balance-xor", "802.3ad")
"""Those of bond_xdp_check(); the last two but for one hash, as it needs the frame's tag."""

_BOND_HASHED = ("balance-xor", "802.3ad")
_BOND_HASH_REFUSED = "vlan+srcmac"
_GENERIC = "or --mode generic, slowly"


def find_obstacles(facts: NicFacts, machine: Machine) -> list[Finding]:
    """Return what stands against native mode; nothing where the driver should take a program."""
    if facts.interface.kind == "bond":
        return list(_of_bond(facts, machine))
    if not has_native(facts, machine):
        return [_without(facts, machine)]
    driver = DRIVERS.get(facts.driver, Driver(machine.kernel))
    return [*_mtu(facts, driver, machine), *_joining(facts, driver), *_queues(facts, driver)]


def explain_refusal(number: int | None, facts: NicFacts, machine: Machine) -> str:
    """Return why an interface took no program in native mode, and what to do.

    Args:
        number: the errno of the attempt.
        facts: of the interface.
        machine: that it is in.
    """
    obstacles = find_obstacles(facts, machine)
    if obstacles:
        said = "; ".join(f"{one.what}: {one.remedy}" for one in obstacles)
        names = ", ".join(one.kind.id for one in obstacles)
        return f"{said} (pydsr doctor {facts.name}: {names})"
    hint = _UNFORESEEN.get(number or 0, "see the kernel's log: dmesg")
    if facts.interface.kind == "bond":
        hint = _bond_remedy(facts)
    return f"{hint}; pydsr doctor {facts.name} looks at it"


def has_native(facts: NicFacts, machine: Machine) -> bool:
    """Return whether a driver has native XDP: by the kernel's word, or else by the table."""
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


def _of_bond(facts: NicFacts, machine: Machine) -> Iterator[Finding]:
    bond = facts.bond
    if bond is not None:
        is_hashed_badly = bond.mode in _BOND_HASHED and bond.hash_policy == _BOND_HASH_REFUSED
        if bond.mode not in _BOND_MODES or is_hashed_badly:
            how = f"hashes by {bond.hash_policy}" if is_hashed_badly else f"is in mode {bond.mode}"
            yield Finding(
                Kind.BOND_UNSUITABLE,
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


def _without(facts: NicFacts, machine: Machine) -> Finding:
    name, driver = facts.name, facts.driver
    if facts.interface.kind in ("macvlan", "macvtap"):
        below = facts.below or "the device below it, in that one's network namespace,"
        return Finding(
            Kind.DRIVER_WITHOUT_XDP,
            name,
            f"{name} is a {facts.interface.kind}, which has no driver of its own",
            f"pydsr attach {below}" if facts.below else f"{below} may have one: attach that",
        )
    if driver == "veth":
        return Finding(
            Kind.QUEUES_FEW,
            name,
            f"{name} receives by fewer queues than its other end sends by",
            f"at its other end: ethtool -L PEER tx {facts.queues.present if facts.queues else 1}",
        )
    known = DRIVERS.get(driver)
    if known is not None and known.since > machine.kernel:
        major, minor = known.since
        return Finding(
            Kind.DRIVER_WITHOUT_XDP,
            name,
            f"the driver of {name}, {driver}, has native XDP since Linux {major}.{minor} only",
            f"boot a newer kernel, {_GENERIC}",
        )
    what = f"the driver of {name}, {driver}," if driver else f"{name}"
    return Finding(
        Kind.DRIVER_WITHOUT_XDP,
        name,
        f"{what} has no native XDP, or not as it is configured",
        f"use a NIC whose driver has (docs/doctor.md), {_GENERIC}",
    )


def _mtu(facts: NicFacts, driver: Driver, machine: Machine) -> Iterator[Finding]:
    limit, mtu = driver.largest_mtu, facts.interface.mtu
    if limit is None or mtu <= limit or takes_fragments(facts, machine):
        return
    yield Finding(
        Kind.MTU_LARGE,
        facts.name,
        f"{facts.name} has the MTU {mtu}, and {facts.driver} takes programs up to some {limit}",
        f"ip link set dev {facts.name} mtu {1500 if limit < 3000 else 3000}, {_GENERIC}",
    )


def _joining(facts: NicFacts, driver: Driver) -> Iterator[Finding]:
    name = facts.name
    if facts.lro.on and driver.refuses_lro:
        yield Finding(
            Kind.LRO_ON,
            name,
            f"{name} joins received packets (LRO), and {facts.driver} then takes no program",
            f"ethtool -K {name} lro off",
        )
    gro_hw = facts.gro_hw
    if gro_hw.on and (driver.refuses_gro_hw or (driver.refuses_fixed_gro_hw and gro_hw.fixed)):
        yield Finding(
            Kind.GRO_HW_ON,
            name,
            f"{name} joins received packets (rx-gro-hw), and {facts.driver} then takes no program",
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
    # Those that are attached have the other half in use.
    if queues.present > half:
        yield Finding(
            Kind.QUEUES_FEW,
            facts.name,
            f"{facts.name} receives by {queues.present} of {queues.maximum} queues, and "
            f"{facts.driver} needs as many more to send by",
            f"ethtool -L {facts.name} {queues.word} {half}",
        )
