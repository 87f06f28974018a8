"""Check a backend: what is wrong, why it matters, and the commands that fix it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydsr.realserver.arp import ARP_RULES, REVERSE_PATH, remedies, violations
from pydsr.realserver.steps import SetSysctl, add_address, create_dummy, delete_address, set_link
from pydsr.realserver.values import Address, BackendSpec, Facts, Setting


@dataclass(frozen=True)
class Fault:
    """A fault of a backend.

    Attributes:
        is_miss: whether it breaks the service; otherwise it may, and a person must judge.
        subject: the VIP or interface it is about.
        what: what is wrong.
        why: why it matters.
        commands: that fix it, in order.
    """

    is_miss: bool
    subject: str
    what: str
    why: str
    commands: tuple[str, ...]


def check(spec: BackendSpec, facts: Facts) -> list[Fault]:
    """Return all faults of a host, in the order in which to fix them."""
    faults = list(_arp(facts)) if spec.of(4) else []
    # Before the addresses: they cannot be added while IPv6 is disabled.
    faults += _ipv6(spec, facts) if spec.of(6) else []
    faults += _device(spec, facts)
    for vip in spec.vips:
        faults += _address(vip, spec, facts)
    faults += _reverse_path(spec, facts) if spec.of(4) else []
    return faults + list(_firewall(facts))


def _arp(facts: Facts) -> Iterator[Fault]:
    for rule in ARP_RULES:
        settings = remedies(rule, facts)
        if settings:
            names = violations(rule, facts)
            value = rule.effective(facts, names[0]) if names else 0
            yield Fault(
                True,
                ", ".join(names) or "future interfaces",
                f"{rule.name} is {value}, but {rule.wanted} is needed",
                rule.why,
                tuple(SetSysctl(setting, rule.wanted).command for setting in settings),
            )


def _device(spec: BackendSpec, facts: Facts) -> Iterator[Fault]:
    if spec.device not in facts.interfaces and not all(map(facts.holders, spec.vips)):
        yield Fault(
            True,
            spec.device,
            "there is no such device",
            "it should have the VIPs, without announcing them",
            (create_dummy(spec.device).command, set_link(spec.device, "up").command),
        )


def _address(vip: Address, spec: BackendSpec, facts: Facts) -> Iterator[Fault]:
    holders = facts.holders(vip)
    if not holders:
        yield Fault(
            True,
            str(vip),
            "this host does not have the VIP",
            "it does not accept the packets that the balancer sends it",
            _commands_to_add(vip, spec, facts),
        )
    has_silent_device = any(not holder.announces for holder, _ in holders)
    for holder, assigned in holders:
        delete = delete_address(assigned, holder.name).command
        if holder.announces:
            protocol = "ARP" if vip.version == 4 else "neighbour discovery"
            yield Fault(
                True,
                str(vip),
                f"the VIP is on {holder.name}, and belongs on {spec.device}",
                f"{holder.name} answers {protocol} for it, so clients and routers may send to "
                "this host, past the balancer",
                (delete, *(() if has_silent_device else _commands_to_add(vip, spec, facts))),
            )
        elif assigned.length != vip.max_prefixlen:
            yield Fault(
                True,
                str(vip),
                f"its prefix length is {assigned.length} on {holder.name}, but "
                f"{vip.max_prefixlen} is needed",
                "the host treats that whole network as its own, so replies to clients in it are "
                "lost",
                (delete, add_address(vip, holder.name).command),
            )
        if not holder.is_up:
            yield Fault(
                True,
                str(vip),
                f"its device {holder.name} is down",
                "the kernel does not use addresses of a device that is down",
                (set_link(holder.name, "up").command,),
            )


def _commands_to_add(vip: Address, spec: BackendSpec, facts: Facts) -> tuple[str, ...]:
    device = facts.interfaces.get(spec.device)
    is_down = device is not None and not device.is_up
    set_up = (set_link(spec.device, "up").command,) if is_down else ()
    return (*set_up, add_address(vip, spec.device).command)


def _reverse_path(spec: BackendSpec, facts: Facts) -> Iterator[Fault]:
    for name in sorted(facts.filtering):
        yield Fault(
            name in spec.interfaces,
            name,
            f"rp_filter is {REVERSE_PATH.effective(facts, name)}, but "
            f"{REVERSE_PATH.wanted} is needed"
            + ("" if name in spec.interfaces else " if the balancer's packets come in here"),
            REVERSE_PATH.why,
            (SetSysctl(REVERSE_PATH.setting(name), REVERSE_PATH.wanted).command,),
        )


def _ipv6(spec: BackendSpec, facts: Facts) -> Iterator[Fault]:
    names = {holder.name for vip in spec.of(6) for holder, _ in facts.holders(vip)}
    for name in sorted({spec.device, *names, *spec.interfaces}):
        setting = Setting(6, name, "disable_ipv6")
        if facts.settings.get(setting, 0):
            yield Fault(
                True,
                name,
                "IPv6 is disabled",
                "it accepts no IPv6 packets, and keeps no IPv6 address",
                (SetSysctl(setting, 0).command,),
            )


def _firewall(facts: Facts) -> Iterator[Fault]:
    for chain in facts.dropping_chains:
        yield Fault(
            False,
            chain,
            "this nftables chain drops packets by default",
            "it has to accept packets from clients to the ports of the services",
            (f"nft list chain {chain}",),
        )
