"""What is not as it has to be on a backend, why that matters, and what mends it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydsr.realserver.arp import ARP_RULES, REVERSE_PATH, leaking, remedies
from pydsr.realserver.steps import SetSysctl, add_address, delete_address, make_dummy, set_link
from pydsr.realserver.values import Address, Facts, Setting, Wish


@dataclass(frozen=True)
class Finding:
    """Something that is not as it has to be.

    Attributes:
        is_miss: whether it keeps the service from working; otherwise it may, and a person has
            to judge.
        subject: the VIP or interface that it is about.
        what: is the case.
        why: that matters.
        commands: that mend it, in their order.
    """

    is_miss: bool
    subject: str
    what: str
    why: str
    commands: tuple[str, ...]


def check(wish: Wish, facts: Facts) -> list[Finding]:
    """Return all that is not as wished, in an order in which it can be mended."""
    findings = list(_arp(facts)) if wish.of(4) else []
    # Before the addresses: where it is disabled, none can be added.
    findings += _ipv6(wish, facts) if wish.of(6) else []
    findings += _device(wish, facts)
    for vip in wish.vips:
        findings += _address(vip, wish, facts)
    findings += _reverse_path(wish, facts) if wish.of(4) else []
    return findings + list(_firewall(facts))


def _arp(facts: Facts) -> Iterator[Finding]:
    for rule in ARP_RULES:
        settings = remedies(rule, facts)
        if settings:
            names = leaking(rule, facts)
            value = rule.effective(facts, names[0]) if names else 0
            yield Finding(
                True,
                ", ".join(names) or "interfaces to come",
                f"{rule.name} is {value} there, {rule.wanted} is needed",
                rule.leak,
                tuple(SetSysctl(setting, rule.wanted).command for setting in settings),
            )


def _device(wish: Wish, facts: Facts) -> Iterator[Finding]:
    if wish.device not in facts.interfaces and not all(map(facts.holders, wish.vips)):
        yield Finding(
            True,
            wish.device,
            "is no device of this host",
            "it is to have the VIPs, without announcing them",
            (make_dummy(wish.device).command, set_link(wish.device, "up").command),
        )


def _address(vip: Address, wish: Wish, facts: Facts) -> Iterator[Finding]:
    holders = facts.holders(vip)
    if not holders:
        yield Finding(
            True,
            str(vip),
            "is no address of this host",
            "the host does not take what the balancer sends it for the VIP",
            _commands_to_add(vip, wish, facts),
        )
    is_kept = any(not holder.announces for holder, _ in holders)
    for holder, assigned in holders:
        delete = delete_address(assigned, holder.name).command
        if holder.announces:
            protocol = "ARP" if vip.version == 4 else "neighbour discovery"
            yield Finding(
                True,
                str(vip),
                f"is an address of {holder.name}, not of {wish.device}",
                f"{holder.name} answers {protocol} for it, so clients and routers may send to "
                "this host past the balancer",
                (delete, *(() if is_kept else _commands_to_add(vip, wish, facts))),
            )
        elif assigned.length != vip.max_prefixlen:
            yield Finding(
                True,
                str(vip),
                f"has prefix length {assigned.length} on {holder.name}, "
                f"{vip.max_prefixlen} is needed",
                "the host looks for all of that network on itself, so its answers to clients "
                "there go nowhere",
                (delete, add_address(vip, holder.name).command),
            )
        if not holder.is_up:
            yield Finding(
                True,
                str(vip),
                f"its device {holder.name} is down",
                "addresses of devices that are down are not in use",
                (set_link(holder.name, "up").command,),
            )


def _commands_to_add(vip: Address, wish: Wish, facts: Facts) -> tuple[str, ...]:
    device = facts.interfaces.get(wish.device)
    is_down = device is not None and not device.is_up
    set_up = (set_link(wish.device, "up").command,) if is_down else ()
    return (*set_up, add_address(vip, wish.device).command)


def _reverse_path(wish: Wish, facts: Facts) -> Iterator[Finding]:
    """What strict filtering drops; a miss where it is known that packets come in there."""
    for name in sorted(facts.refusing):
        yield Finding(
            name in wish.interfaces,
            name,
            f"rp_filter is {REVERSE_PATH.effective(facts, name)} there, "
            f"{REVERSE_PATH.wanted} is needed"
            + ("" if name in wish.interfaces else " if the balancer's packets come in there"),
            REVERSE_PATH.leak,
            (SetSysctl(REVERSE_PATH.setting(name), REVERSE_PATH.wanted).command,),
        )


def _ipv6(wish: Wish, facts: Facts) -> Iterator[Finding]:
    names = {holder.name for vip in wish.of(6) for holder, _ in facts.holders(vip)}
    for name in sorted({wish.device, *names, *wish.interfaces}):
        setting = Setting(6, name, "disable_ipv6")
        if facts.settings.get(setting, 0):
            yield Finding(
                True,
                name,
                "IPv6 is disabled there",
                "the host takes no IPv6 packet that comes in by it, and keeps no address on it",
                (SetSysctl(setting, 0).command,),
            )


def _firewall(facts: Facts) -> Iterator[Finding]:
    for chain in facts.dropping_chains:
        yield Finding(
            False,
            chain,
            "this chain of nftables drops what it does not accept",
            "packets for a VIP come from clients, to the ports of its services",
            (f"nft list chain {chain}",),
        )
