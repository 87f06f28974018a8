"""From what is found and what is wished to ordered steps, and to what to remember of them. Pure.

The order is what matters on the wire: a host must have stopped answering ARP for a VIP before it
has it, and must have lost it before it answers again.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from pydsr.model.errors import EnvironmentCannotError, InputError
from pydsr.realserver.arp import ARP_RULES, REVERSE_PATH, remedies
from pydsr.realserver.record import Changed, Record
from pydsr.realserver.steps import (
    SetSysctl,
    Step,
    add_address,
    delete_address,
    delete_link,
    make_dummy,
    set_link,
)
from pydsr.realserver.values import LOOPBACK, Address, Assigned, Facts, Setting, Wish

_LOCALHOST = Assigned.parse("127.0.0.1/8")
"""What the kernel gives a loopback that is set up and has no address."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        steps: in the order in which they are safe.
        record: what is to be remembered: of setup before the first step, of undo after the last.
        notes: what a person should know.
    """

    steps: tuple[Step, ...]
    record: Record
    notes: tuple[str, ...] = ()


def plan_setup(wish: Wish, facts: Facts, record: Record) -> Plan:
    """Plan to make a host take packets for VIPs.

    Args:
        wish: what it is to be.
        facts: what it is.
        record: what earlier set-ups have changed, be it that they were killed half-way.

    Raises:
        InputError, EnvironmentCannotError: it cannot be, as things are; nothing is to be done.
    """
    refuse_wrong_interfaces(wish, facts)
    _refuse_what_cannot_be(wish, facts)
    sysctls = _sysctls(wish, facts)
    missing = [vip for vip in wish.vips if not facts.holders(vip)]
    links, created, raised = _links(wish, facts, record)
    added = {Assigned.alone(vip): wish.device for vip in missing}
    if LOOPBACK in raised and not facts.holders(_LOCALHOST.address):
        added[_LOCALHOST] = LOOPBACK
    addresses = [add_address(vip, wish.device) for vip in missing]
    found = {each.setting: Changed(facts.settings[each.setting], each.value) for each in sysctls}
    return Plan(
        (*sysctls, *links, *addresses),
        Record(
            vips=_joined(record.vips, wish.vips),
            settings={**record.settings, **found},
            addresses={**record.addresses, **added},
            created=_joined(record.created, created),
            raised=_joined(record.raised, raised),
        ),
        tuple(
            f"{vip}: is on {holder.name}, where it does as well"
            for vip in wish.vips
            for holder, _ in facts.holders(vip)
            if holder.name != wish.device
        ),
    )


def plan_undo(vips: Iterable[Address], facts: Facts, record: Record) -> Plan:
    """Plan to put back what setup has changed for VIPs, and nothing else.

    What several VIPs share is put back with the last of them.

    Args:
        vips: those that the host is no longer to have.
        facts: what the host is.
        record: what setup has changed.
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
    steps += _unmake(created, ours, facts, notes)
    if not kept:
        steps += _put_back(record, facts, notes)
        return Plan(tuple(steps), Record(), tuple(notes))
    done = replace(
        record,
        vips=kept,
        addresses=addresses,
        created=tuple(name for name in record.created if name not in created),
    )
    return Plan(tuple(steps), done, tuple(notes))


def refuse_wrong_interfaces(wish: Wish, facts: Facts) -> None:
    """Refuse a wish that no host with these interfaces can be.

    Raises:
        InputError: an interface is not there, or cannot have VIPs.
    """
    for interface in wish.interfaces:
        if interface not in facts.interfaces:
            raise InputError(f"there is no interface {interface!r}", "`ip link` lists them")
    device = facts.interfaces.get(wish.device)
    if device is not None and device.announces:
        raise InputError(
            f"{wish.device} cannot have a VIP: it answers ARP and neighbour discovery for its "
            "addresses",
            "use lo, or a name that no interface has for a dummy to be made",
        )


def _refuse_what_cannot_be(wish: Wish, facts: Facts) -> None:
    for vip in wish.vips:
        for holder, assigned in facts.holders(vip):
            mend = delete_address(assigned, holder.name).command
            if holder.announces:
                raise EnvironmentCannotError(
                    f"{vip} is an address of {holder.name}, which answers "
                    f"{'ARP' if vip.version == 4 else 'neighbour discovery'} for it",
                    mend,
                )
            if assigned.length != vip.max_prefixlen:
                raise EnvironmentCannotError(
                    f"{holder.name} has {assigned}: this host takes all of that network for its "
                    "own",
                    mend,
                )
    if wish.of(6):
        _refuse_without_ipv6(wish, facts)


def _refuse_without_ipv6(wish: Wish, facts: Facts) -> None:
    name = wish.device if wish.device in facts.interfaces else "default"
    setting = Setting(6, name, "disable_ipv6")
    disabled = facts.settings.get(setting)
    if disabled is None:
        raise EnvironmentCannotError("this kernel has no IPv6", "start it without ipv6.disable=1")
    if disabled:
        raise EnvironmentCannotError(
            f"IPv6 is disabled on {wish.device}", SetSysctl(setting, 0).command
        )


def _sysctls(wish: Wish, facts: Facts) -> list[SetSysctl]:
    """Return what is to be set; where the VIPs are all of IPv6, ARP is no matter."""
    steps = []
    if wish.of(4):
        for rule in ARP_RULES:
            steps += [SetSysctl(setting, rule.wanted) for setting in remedies(rule, facts)]
        steps += [
            SetSysctl(REVERSE_PATH.setting(interface), REVERSE_PATH.wanted)
            for interface in wish.interfaces
            if interface in facts.refusing
        ]
    return steps


def _links(wish: Wish, facts: Facts, record: Record) -> tuple[list[Step], list[str], list[str]]:
    """Return what is to be done to devices, and which are made and which set up by that."""
    steps: list[Step] = []
    created, raised = [], []
    for name in _devices(wish, facts):
        device = facts.interfaces.get(name)
        if device is None and name != LOOPBACK:
            created.append(name)
            steps.append(make_dummy(name))
        elif device is not None and not device.is_up and name not in record.created:
            raised.append(name)
        if device is None or not device.is_up:
            steps.append(set_link(name, "up"))
    return steps, created, raised


def _devices(wish: Wish, facts: Facts) -> list[str]:
    """Return what the VIPs are on, or will be."""
    names: list[str] = []
    for vip in wish.vips:
        names += [holder.name for holder, _ in facts.holders(vip)] or [wish.device]
    return list(dict.fromkeys(names))


def _unmake(
    created: Iterable[str], leaving: Container[Assigned], facts: Facts, notes: list[str]
) -> list[Step]:
    """Delete dummies that setup made, unless something else is on them now."""
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


def _put_back(record: Record, facts: Facts, notes: list[str]) -> list[Step]:
    """Put links and sysctls back that still are as setup left them."""
    steps: list[Step] = [
        set_link(name, "down")
        for name in record.raised
        if name in facts.interfaces and facts.interfaces[name].is_up
    ]
    for setting, changed in reversed(list(record.settings.items())):
        value = facts.settings.get(setting)
        if value == changed.set:
            steps.append(SetSysctl(setting, changed.found))
        elif value is not None and value != changed.found:
            notes.append(f"{setting} stays {value}: setup had set it to {changed.set}")
    return steps


def _joined(one: Iterable[_T], other: Iterable[_T]) -> tuple[_T, ...]:
    return tuple(dict.fromkeys((*one, *other)))
