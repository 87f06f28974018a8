"""The sysctls that keep a backend from claiming a VIP by ARP, and where they hold. Pure.

For these settings the kernel takes the larger of the value for all interfaces and of the
interface's own (ip-sysctl of the kernel's documentation, arp_ignore() and arp_solicit() in
net/ipv4/arp.c). IPv6 has no such settings and needs none: a neighbour solicitation is answered
for addresses of the very interface it comes in by (ndisc_recv_ns() in net/ipv6/ndisc.c), and the
source of one that is sent is an address of the interface it leaves by.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydsr.realserver.values import EVERY_INTERFACE, Facts, Setting


@dataclass(frozen=True)
class Rule:
    """What a setting has to be.

    Attributes:
        name: of the setting.
        wanted: the value that is set where another does not do.
        accepted: values that do as well.
        leak: what happens otherwise.
    """

    name: str
    wanted: int
    accepted: frozenset[int]
    leak: str

    def setting(self, interface: str) -> Setting:
        """Return the setting of an interface, or of all."""
        return Setting(4, interface, self.name)

    def effective(self, facts: Facts, interface: str) -> int:
        """Return the value that counts for an interface."""
        names = {EVERY_INTERFACE, interface}
        return max(facts.settings.get(self.setting(name), 0) for name in names)


ARP_RULES = (
    Rule(
        "arp_ignore",
        1,
        frozenset({1, 2, 8}),
        "it answers ARP requests for addresses of other interfaces, so clients and routers may "
        "send to this host past the balancer",
    ),
    Rule(
        "arp_announce",
        2,
        frozenset({2}),
        "its own ARP requests may carry a VIP as their source, by which others learn this host's "
        "MAC for it, past the balancer",
    ),
)
"""In the order in which they are set, before the address."""

REVERSE_PATH = Rule(
    "rp_filter",
    2,
    frozenset({0, 2}),
    "it drops packets of clients to which this host's routes lead by another interface",
)
"""Loose is enough: the source has a route, whichever way."""


def leaking(rule: Rule, facts: Facts) -> list[str]:
    """Return the interfaces for which a rule does not hold."""
    return [name for name in facts.announcing if rule.effective(facts, name) not in rule.accepted]


def remedies(rule: Rule, facts: Facts) -> list[Setting]:
    """Return the settings that have to get the wanted value for the rule to hold.

    It shall hold for interfaces that are not there yet, too; where it holds for all that are
    there by their own values, that is somebody's decision, and is left.
    """
    if facts.announcing and not leaking(rule, facts):
        return []
    settings = []
    everywhere = rule.setting(EVERY_INTERFACE)
    value = facts.settings.get(everywhere, 0)
    if value not in rule.accepted:
        settings.append(everywhere)
        value = rule.wanted
    for name in facts.announcing:
        own = rule.setting(name)
        if max(value, facts.settings.get(own, 0)) not in rule.accepted:
            settings.append(own)
    return settings
