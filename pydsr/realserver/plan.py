"""Plan setup and undo: ordered steps, and the record of their changes. Pure.

The order matters: a host stops answering ARP for a VIP before it gets the VIP, and loses the VIP
before it answers again.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from pydsr.model.errors import EnvironmentCannotError, InputError
from pydsr.realserver.arp import ARP_RULES, REVERSE_PATH, remedies
from pydsr.realserver.record import Change, Record
from pydsr.realserver.steps import (
    SetSysctl,
    Step,
    add_address,
    create_dummy,
    delete_address,
    delete_link,
    set_link,
)
from pydsr.realserver.values import LOOPBACK, Address, Assigned, BackendSpec, Facts, Setting

_LOCALHOST = Assigned.parse("127.0.0.1/8")
"""The address that the kernel adds to a loopback when it is brought up without one."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Plan:
    """Steps, and the record of their changes.

    Attributes:
        steps: in a safe order.
        record: written before the first step of setup, and after the last of undo.
        notes: for the operator.
    """

    steps: tuple[Step, ...]
    record: Record
    notes: tuple[str, ...] = ()


def plan_setup(spec: BackendSpec, facts: Facts, record: Record) -> Plan:
    """Return the plan that makes a host accept packets for VIPs.

    The record may come from earlier setups that were killed half-way.

    Raises:
        InputError, EnvironmentCannotError: the host cannot be set up as it is.
    """
    refuse_wrong_interfaces(spec, facts)
    _refuse_conflicts(spec, facts)
    sysctls = _sysctls(spec, facts)
    missing = [vip for vip in spec.vips if not facts.holders(vip)]
    links, created, raised = _links(spec, facts, record)
    added = {Assigned.alone(vip): spec.device for vip in missing}
    if LOOPBACK in raised and not facts.holders(_LOCALHOST.address):
        added[_LOCALHOST] = LOOPBACK
    addresses = [add_address(vip, spec.device) for vip in missing]
    changes = {step.setting: Change(facts.settings[step.setting], step.value) for step in sysctls}
    return Plan(
        (*sysctls, *links, *addresses),
        Record(
            vips=_union(record.vips, spec.vips),
            settings={**record.settings, **changes},
            addresses={**record.addresses, **added},
            created=_union(record.created, created),
            raised=_union(record.raised, raised),
        ),
        tuple(
            f"{vip}: is already on {holder.name}, and stays there"
            for vip in spec.vips
            for holder, _ in facts.holders(vip)
            if holder.name != spec.device
        ),
    )


def plan_undo(vips: Iterable[Address], facts: Facts, record: Record) -> Plan:
    """Return the plan that undoes what setup has changed for VIPs, and nothing else.

    Changes that several VIPs share are undone with the last of them.
    """
    leaving = tuple(dict.fromkeys(vips))
    kept = tuple(vip for vip in record.vips if vip not in leaving)
    notes = [f"{vip}: was not set up here" for vip in leaving if vip not in record.vips]
    ours = {
        assigned: device
        for assigned, device in record.addresses.items()
        if assigned.address in leaving or not kept
    }
    addresses = {
        assigned: device for assigned, device in record.addresses.items() if assigned not in ours
    }
    steps: list[Step] = [
        delete_address(assigned, device)
        for assigned, device in ours.items()
        if device in facts.interfaces and assigned in facts.interfaces[device].addresses
    ]
    created = [name for name in record.created if name not in addresses.values()]
    steps += _delete_dummies(created, ours, facts, notes)
    if not kept:
        steps += _restore(record, facts, notes)
        return Plan(tuple(steps), Record(), tuple(notes))
    done = replace(
        record,
        vips=kept,
        addresses=addresses,
        created=tuple(name for name in record.created if name not in created),
    )
    return Plan(tuple(steps), done, tuple(notes))


def refuse_wrong_interfaces(spec: BackendSpec, facts: Facts) -> None:
    """Refuse a spec whose interfaces are missing or cannot have VIPs."""
    for interface in spec.interfaces:
        if interface not in facts.interfaces:
            raise InputError(f"there is no interface {interface!r}", "`ip link` lists them")
    device = facts.interfaces.get(spec.device)
    if device is not None and device.announces:
        raise InputError(
            f"{spec.device} cannot have a VIP: it answers ARP and neighbour discovery for its "
            "addresses",
            "use lo, or a name that no interface has: setup creates a dummy of that name",
        )


def _refuse_conflicts(spec: BackendSpec, facts: Facts) -> None:
    for vip in spec.vips:
        for holder, assigned in facts.holders(vip):
            remedy = delete_address(assigned, holder.name).command
            if holder.announces:
                raise EnvironmentCannotError(
                    f"{vip} is an address of {holder.name}, which answers "
                    f"{'ARP' if vip.version == 4 else 'neighbour discovery'} for it",
                    remedy,
                )
            if assigned.length != vip.max_prefixlen:
                raise EnvironmentCannotError(
                    f"{holder.name} has {assigned}: this host treats that whole network as its own",
                    remedy,
                )
    if spec.of(6):
        _refuse_without_ipv6(spec, facts)


def _refuse_without_ipv6(spec: BackendSpec, facts: Facts) -> None:
    name = spec.device if spec.device in facts.interfaces else "default"
    setting = Setting(6, name, "disable_ipv6")
    disabled = facts.settings.get(setting)
    if disabled is None:
        raise EnvironmentCannotError("this kernel has no IPv6", "boot it without ipv6.disable=1")
    if disabled:
        raise EnvironmentCannotError(
            f"IPv6 is disabled on {spec.device}", SetSysctl(setting, 0).command
        )


def _sysctls(spec: BackendSpec, facts: Facts) -> list[SetSysctl]:
    steps = []
    if spec.of(4):
        for rule in ARP_RULES:
            steps += [SetSysctl(setting, rule.wanted) for setting in remedies(rule, facts)]
        steps += [
            SetSysctl(REVERSE_PATH.setting(interface), REVERSE_PATH.wanted)
            for interface in spec.interfaces
            if interface in facts.filtering
        ]
    return steps


def _links(
    spec: BackendSpec, facts: Facts, record: Record
) -> tuple[list[Step], list[str], list[str]]:
    """Return the steps for devices, and which devices they create and which they bring up."""
    steps: list[Step] = []
    created, raised = [], []
    for name in _devices(spec, facts):
        device = facts.interfaces.get(name)
        if device is None and name != LOOPBACK:
            created.append(name)
            steps.append(create_dummy(name))
        elif device is not None and not device.is_up and name not in record.created:
            raised.append(name)
        if device is None or not device.is_up:
            steps.append(set_link(name, "up"))
    return steps, created, raised


def _devices(spec: BackendSpec, facts: Facts) -> list[str]:
    """Return the devices that the VIPs are on, or will be."""
    names: list[str] = []
    for vip in spec.vips:
        names += [holder.name for holder, _ in facts.holders(vip)] or [spec.device]
    return list(dict.fromkeys(names))


def _delete_dummies(
    created: Iterable[str], leaving: Container[Assigned], facts: Facts, notes: list[str]
) -> list[Step]:
    """Delete dummies that setup created, unless they have other addresses now."""
    steps: list[Step] = []
    for name in created:
        if name not in facts.interfaces:
            continue
        others = [
            str(assigned)
            for assigned in facts.interfaces[name].addresses
            if assigned not in leaving and not assigned.address.is_link_local
        ]
        if others:
            notes.append(f"{name} stays: it has {', '.join(others)}, which setup did not add")
        else:
            steps.append(delete_link(name))
    return steps


def _restore(record: Record, facts: Facts, notes: list[str]) -> list[Step]:
    """Restore links and sysctls that are unchanged since setup."""
    steps: list[Step] = [
        set_link(name, "down")
        for name in record.raised
        if name in facts.interfaces and facts.interfaces[name].is_up
    ]
    for setting, change in reversed(list(record.settings.items())):
        value = facts.settings.get(setting)
        if value == change.set:
            steps.append(SetSysctl(setting, change.before))
        elif value is not None and value != change.before:
            notes.append(f"{setting} stays {value}: setup had set it to {change.set}")
    return steps


def _union(first: Iterable[_T], second: Iterable[_T]) -> tuple[_T, ...]:
    return tuple(dict.fromkeys((*first, *second)))
