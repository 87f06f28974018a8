"""Derive findings about network interfaces from facts. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydsr.doctor.facts import ExaminedNic
from pydsr.kernel.machine.attach_obstacles import (
    find_obstacles,
    has_native,
    mixed_modes,
    program_above,
    stripped_tags,
    takes_fragments,
)
from pydsr.kernel.machine.drivers import DRIVERS, QueueRule
from pydsr.kernel.machine.findings import Finding, FindingKind, Note, Remark
from pydsr.kernel.machine.nic import Machine, NicFacts
from pydsr.kernel.net.ethtool import XdpFeature

_GOOD_RING = 1024
"""Frames: 64-byte packets at 10 Gbit/s fill such a ring in 70 microseconds."""

_LARGE_RING = 4096


def judge_nics(nics: Sequence[ExaminedNic], machine: Machine) -> list[Remark]:
    """Return the remarks on interfaces that are attached or will be."""
    remarks: list[Remark] = []
    for facts in nics:
        remarks += judge_nic(facts, machine)
    attached = [nic for nic in nics if nic.is_attached]
    native = [nic.name for nic in attached if nic.interface.xdp_mode == "native"]
    generic = [nic.name for nic in attached if nic.interface.xdp_mode != "native"]
    if native and generic:
        remarks.append(mixed_modes(native, generic))
    if len(attached) > 1:
        remarks += [finding for facts in attached for finding in _redirection(facts)]
    return remarks


def judge_nic(facts: ExaminedNic, machine: Machine) -> list[Remark]:
    """Return the remarks on one interface."""
    if facts.refusal is not None:
        return [facts.refusal.finding(FindingKind.INTERFACE_UNSUITABLE, facts.name)]
    is_native = facts.is_attached and facts.interface.xdp_mode == "native"
    return [
        *_programs(facts),
        *_link(facts),
        *_mode(facts, machine),
        *_tags(facts),
        *_load(facts, machine, is_native),
        *(remark for part in facts.parts for remark in _load(part, machine, False)),
        *_macs(facts),
    ]


def _programs(facts: ExaminedNic) -> Iterator[Remark]:
    if facts.foreign is not None:
        yield facts.foreign.finding(FindingKind.XDP_FOREIGN, facts.name)
    elif facts.above and not facts.is_attached:
        yield program_above(facts.name, facts.above)
    else:
        yield Note(facts.name, "attached" if facts.is_attached else "no XDP program in the way")


def _link(facts: ExaminedNic) -> Iterator[Remark]:
    name = facts.name
    if not facts.interface.is_up:
        yield Finding(
            FindingKind.INTERFACE_DOWN, name, f"{name} is down", f"ip link set dev {name} up"
        )
    elif facts.has_carrier is False:
        yield Finding(
            FindingKind.NO_CARRIER,
            name,
            f"{name} is up, but has no carrier",
            f"check cable and switch port, or the other end of a veth: ethtool {name}",
        )
    else:
        yield Note(name, f"up, MTU {facts.interface.mtu}")


def _mode(facts: ExaminedNic, machine: Machine) -> Iterator[Remark]:
    interface, name = facts.interface, facts.name
    driver = facts.driver or interface.kind or "unknown"
    if facts.is_attached and interface.xdp_mode == "native":
        yield Note(name, f"driver {driver}: attached in native mode")
        return
    obstacles = find_obstacles(facts, machine)
    yield from obstacles
    if facts.is_attached:
        yield Finding(
            FindingKind.GENERIC_MODE,
            name,
            f"{name} is attached in {interface.xdp_mode} mode, at a fraction of native speed",
            f"{'mend the above, then ' if obstacles else ''}"
            f"pydsr detach {name}; pydsr attach {name} --mode native",
        )
    elif not obstacles:
        yield Note(name, f"driver {driver}: {_expectation(facts, machine)}")


def _expectation(facts: NicFacts, machine: Machine) -> str:
    words = ["native XDP should work"]
    if has_native(facts, machine) and takes_fragments(facts, machine):
        words.append("at any MTU")
    if facts.xdp is None:
        words.append("by pydsr's table of drivers, as this kernel does not report it")
    return ", ".join(words)


def _tags(facts: ExaminedNic) -> Iterator[Remark]:
    if not facts.reads_vlans:
        return
    stripping = [nic for nic in (facts, *facts.parts) if nic.rx_vlan.on]
    yield from (stripped_tags(nic.interface) for nic in stripping)
    if not stripping:
        yield Note(facts.name, "VLAN tags reach the program")


def _redirection(facts: ExaminedNic) -> Iterator[Finding]:
    """Judge redirection, if the kernel reports it.

    Many drivers are targets of redirection only while they have a program themselves.
    """
    if facts.xdp is None or facts.interface.xdp_mode != "native":
        return
    needed = {XdpFeature.REDIRECT: "redirect", XdpFeature.REDIRECT_TARGET: "be redirected to"}
    lacking = [words for feature, words in needed.items() if feature not in facts.xdp]
    if lacking:
        yield Finding(
            FindingKind.REDIRECT_UNSUPPORTED,
            facts.name,
            f"the driver of {facts.name}, {facts.driver}, cannot {' nor '.join(lacking)}",
            "attach all interfaces with --mode generic, or move clients and backends behind one",
        )


def _load(facts: NicFacts, machine: Machine, is_native: bool) -> Iterator[Remark]:
    """Judge queues, rings and interrupts of hardware, with a program in native mode or without."""
    if not facts.bus or facts.interface.kind:
        return
    yield from _queues(facts, machine, is_native)
    ring = facts.ring
    if ring is not None and ring.present < _GOOD_RING and ring.maximum >= 2 * ring.present:
        yield Finding(
            FindingKind.RING_SMALL,
            facts.name,
            f"receive rings of {facts.name} hold {ring.present} frames; they could hold "
            f"{ring.maximum}",
            f"ethtool -G {facts.name} {ring.word} {min(ring.maximum, _LARGE_RING)}",
        )
    elif ring is not None:
        yield Note(facts.name, f"receive rings of {ring.present} frames")
    yield from _interrupts(facts, machine)


def _queues(facts: NicFacts, machine: Machine, is_native: bool) -> Iterator[Remark]:
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
        # A program in native mode has its transmit queues among the present ones.
        has_spare = queues.present > machine.cpus if is_native else queues.present <= left
        if not has_spare:
            yield _shared_queues(facts, queues.maximum, left, machine.cpus)
    if queues.present < usable:
        yield Finding(
            FindingKind.QUEUES_UNUSED,
            name,
            f"{name} receives by {_queue_count(queues.present)}; {usable} would use more CPUs",
            f"ethtool -L {name} {queues.word} {usable}",
        )
    else:
        yield Note(name, f"{queues.present} of {_queue_count(queues.maximum)} in use")


def _queue_count(number: int) -> str:
    return f"{number} queue{'' if number == 1 else 's'}"


def _shared_queues(facts: NicFacts, maximum: int, left: int, cpus: int) -> Finding:
    return Finding(
        FindingKind.QUEUES_SHARED,
        facts.name,
        f"{facts.name} has {_queue_count(maximum)}, too few for a transmit queue for each of "
        f"{cpus} CPUs: they send under a lock",
        f"ethtool -L {facts.name} combined {left}"
        if left > 0
        else f"give the virtual machine's NIC {2 * cpus} queues (queues={2 * cpus} of qemu, "
        "libvirt's driver element)",
    )


def _interrupts(facts: NicFacts, machine: Machine) -> Iterator[Remark]:
    cpus = frozenset().union(*facts.interrupts.values())
    if len(facts.interrupts) < 2 or facts.queues is None or facts.queues.present < 2:
        return
    if len(cpus) == 1 and machine.cpus > 1:
        numbers = " ".join(str(number) for number in sorted(facts.interrupts))
        yield Finding(
            FindingKind.INTERRUPTS_TOGETHER,
            facts.name,
            f"CPU {min(cpus)} handles all interrupts of {facts.name}",
            "systemctl enable --now irqbalance; or by hand, for each N of "
            f"{numbers}: echo CPU > /proc/irq/N/smp_affinity_list",
        )
    else:
        yield Note(facts.name, f"{len(cpus)} CPUs handle its interrupts")


def _macs(facts: ExaminedNic) -> Iterator[Remark]:
    name = facts.name
    if facts.program_mac is not None and facts.program_mac != facts.interface.mac:
        yield Finding(
            FindingKind.MAC_CHANGED,
            name,
            f"the MAC of {name} is {facts.interface.mac} now, but the program accepts packets for "
            f"{facts.program_mac} only",
            "pydsr tidy; the daemon (pydsr run) does so by itself",
        )
    if facts.unheard:
        vips = ", ".join(map(str, facts.unheard))
        yield Finding(
            FindingKind.ND_UNHEARD,
            name,
            f"{name} has not joined the multicast groups of neighbour solicitations for {vips}",
            f"pydsr attach {name}, which joins them without interrupting traffic",
        )
