"""What is wrong with an interface, or could be better. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydsr.kernel.machine.drivers import DRIVERS, QueueRule
from pydsr.kernel.machine.facts import Machine, NicFacts
from pydsr.kernel.machine.finding import Finding, Note, Remark
from pydsr.kernel.machine.finding_kinds import Kind
from pydsr.kernel.machine.refusals import mixed_modes, program_above, stripped_tags
from pydsr.kernel.machine.xdp_support import find_obstacles, has_native, takes_fragments
from pydsr.kernel.net.ethtool import XdpFeature

_GOOD_RING = 1024
"""Frames: what 64 bytes at 10 Gbit/s fill in 70 microseconds."""

_LARGE_RING = 4096


def judge_nics(nics: Sequence[NicFacts], machine: Machine) -> list[Remark]:
    """Return what is to be said of interfaces: those attached, or those to be."""
    remarks: list[Remark] = []
    for facts in nics:
        remarks += judge_nic(facts, machine)
    attached = [one for one in nics if one.is_attached]
    native = [one.name for one in attached if one.interface.xdp_mode == "native"]
    generic = [one.name for one in attached if one.interface.xdp_mode != "native"]
    if native and generic:
        remarks.append(mixed_modes(native, generic))
    if len(attached) > 1:
        remarks += [finding for facts in attached for finding in _redirecting(facts)]
    return remarks


def judge_nic(facts: NicFacts, machine: Machine) -> list[Remark]:
    """Return what is to be said of one interface."""
    if facts.refusal is not None:
        refusal = facts.refusal
        return [Finding(Kind.INTERFACE_UNSUITABLE, facts.name, refusal.message, refusal.hint)]
    return [
        *_programs(facts),
        *_wire(facts),
        *_mode(facts, machine),
        *_tags(facts),
        *_work(facts, machine),
        *_addresses(facts),
    ]


def _programs(facts: NicFacts) -> Iterator[Remark]:
    if facts.foreign is not None:
        yield Finding(Kind.XDP_FOREIGN, facts.name, facts.foreign.message, facts.foreign.hint)
    elif facts.above and not facts.is_attached:
        yield program_above(facts.name, facts.above)
    else:
        yield Note(facts.name, "attached" if facts.is_attached else "no XDP program in the way")


def _wire(facts: NicFacts) -> Iterator[Remark]:
    name = facts.name
    if not facts.interface.is_up:
        yield Finding(Kind.INTERFACE_DOWN, name, f"{name} is down", f"ip link set dev {name} up")
    elif facts.has_carrier is False:
        yield Finding(
            Kind.NO_CARRIER,
            name,
            f"{name} is up, but has no carrier",
            f"look at cable and switch port; of a veth, at its other end: ethtool {name}",
        )
    else:
        yield Note(name, f"up, MTU {facts.interface.mtu}")


def _mode(facts: NicFacts, machine: Machine) -> Iterator[Remark]:
    interface, name = facts.interface, facts.name
    driver = facts.driver or interface.kind or "unknown"
    if facts.is_attached and interface.xdp_mode == "native":
        yield Note(name, f"driver {driver}: in native mode")
        return
    obstacles = find_obstacles(facts, machine)
    yield from obstacles
    if facts.is_attached:
        yield Finding(
            Kind.GENERIC_MODE,
            name,
            f"{name} is attached in {interface.xdp_mode} mode, at a fraction of the native speed",
            f"{'mend the above, then ' if obstacles else ''}"
            f"pydsr detach {name}; pydsr attach {name} --mode native",
        )
    elif not obstacles:
        yield Note(name, f"driver {driver}: {_ability(facts, machine)}")


def _ability(facts: NicFacts, machine: Machine) -> str:
    abilities = ["native XDP is to be expected"]
    if has_native(facts, machine) and takes_fragments(facts, machine):
        abilities.append("at any MTU")
    if facts.xdp is None:
        abilities.append("by the table of drivers, as this kernel does not say it")
    return ", ".join(abilities)


def _tags(facts: NicFacts) -> Iterator[Remark]:
    if not facts.reads_vlans:
        return
    stripping = [one for one in (facts, *facts.parts) if one.rx_vlan.on]
    yield from (stripped_tags(one.interface) for one in stripping)
    if not stripping:
        yield Note(facts.name, "VLAN tags stay in frames")


def _redirecting(facts: NicFacts) -> Iterator[Finding]:
    """Say which drivers cannot redirect; a kernel that says nothing is asked nothing.

    Many can be sent out of only while they have a program, so that is judged when they have.
    """
    if facts.xdp is None or facts.interface.xdp_mode != "native":
        return
    needed = {XdpFeature.REDIRECT: "redirect", XdpFeature.REDIRECT_TARGET: "be redirected to"}
    lacking = [words for feature, words in needed.items() if feature not in facts.xdp]
    if lacking:
        yield Finding(
            Kind.REDIRECT_UNSUPPORTED,
            facts.name,
            f"the driver of {facts.name}, {facts.driver}, cannot {' nor '.join(lacking)}",
            "attach all interfaces with --mode generic, or have clients and backends behind one",
        )


def _work(facts: NicFacts, machine: Machine) -> Iterator[Remark]:
    for part in facts.parts:
        yield from _work(part, machine)
    if not facts.bus or facts.interface.kind:
        return
    yield from _queues(facts, machine)
    ring = facts.ring
    if ring is not None and ring.present < _GOOD_RING and ring.maximum >= 2 * ring.present:
        yield Finding(
            Kind.RING_SMALL,
            facts.name,
            f"rings of {facts.name} have room for {ring.present} frames, and could for "
            f"{ring.maximum}",
            f"ethtool -G {facts.name} {ring.word} {min(ring.maximum, _LARGE_RING)}",
        )
    elif ring is not None:
        yield Note(facts.name, f"rings of {ring.present} frames")
    yield from _interrupts(facts, machine)


def _queues(facts: NicFacts, machine: Machine) -> Iterator[Remark]:
    queues, driver = facts.queues, DRIVERS.get(facts.driver)
    if queues is None:
        return
    name, usable = facts.name, min(queues.maximum, machine.cpus)
    rule = driver.queue_rule if driver else QueueRule.NONE
    if rule is QueueRule.HALF:
        usable = min(max(queues.maximum // 2, 1), machine.cpus)
    if rule is QueueRule.SPARE:
        left = queues.maximum - machine.cpus
        usable = min(max(left, 1), usable)
        # With a program in the driver those for sending are among the present.
        is_inside = facts.is_attached and facts.interface.xdp_mode == "native"
        has_spare = queues.present > machine.cpus if is_inside else queues.present <= left
        if not has_spare:
            yield _shared(facts, queues.maximum, left, machine.cpus)
    if queues.present < usable:
        yield Finding(
            Kind.QUEUES_UNUSED,
            name,
            f"{name} receives by {_queues_of(queues.present)}, where {usable} would use more CPUs",
            f"ethtool -L {name} {queues.word} {usable}",
        )
    else:
        yield Note(name, f"{queues.present} of {_queues_of(queues.maximum)}")


def _queues_of(number: int) -> str:
    return f"{number} queue{'' if number == 1 else 's'}"


def _shared(facts: NicFacts, maximum: int, left: int, cpus: int) -> Finding:
    return Finding(
        Kind.QUEUES_SHARED,
        facts.name,
        f"{facts.name} has {_queues_of(maximum)}, too few for one more for each of {cpus} CPUs: "
        "they send under a lock",
        f"ethtool -L {facts.name} combined {left}"
        if left > 0
        else f"give the virtual machine's NIC {2 * cpus} queues (queues={2 * cpus} of qemu, "
        "libvirt's driver element)",
    )


def _interrupts(facts: NicFacts, machine: Machine) -> Iterator[Remark]:
    takers = frozenset().union(*facts.interrupts.values())
    if len(facts.interrupts) < 2 or facts.queues is None or facts.queues.present < 2:
        return
    if len(takers) == 1 and machine.cpus > 1:
        numbers = " ".join(str(number) for number in sorted(facts.interrupts))
        yield Finding(
            Kind.INTERRUPTS_TOGETHER,
            facts.name,
            f"all interrupts of {facts.name} are taken by CPU {min(takers)}",
            "systemctl enable --now irqbalance; or by hand, for each N of "
            f"{numbers}: echo CPU > /proc/irq/N/smp_affinity_list",
        )
    else:
        yield Note(facts.name, f"interrupts are taken by {len(takers)} CPUs")


def _addresses(facts: NicFacts) -> Iterator[Remark]:
    name = facts.name
    if facts.known_mac is not None and facts.known_mac != facts.interface.mac:
        yield Finding(
            Kind.MAC_CHANGED,
            name,
            f"the MAC of {name} is {facts.interface.mac} now, and the program takes packets for "
            f"{facts.known_mac} only",
            "pydsr tidy; the daemon (pydsr run) does it by itself",
        )
    if facts.unheard:
        vips = ", ".join(map(str, facts.unheard))
        yield Finding(
            Kind.ND_UNHEARD,
            name,
            f"{name} does not listen to the multicasts that ask for {vips}",
            f"pydsr attach {name}, which upgrades it in place and has it listen",
        )
