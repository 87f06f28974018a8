"""The sysctls that keep a backend from announcing a VIP by ARP. Pure.

The kernel applies the larger of the value for all interfaces and the interface's own (ip-sysctl in
the kernel's documentation, arp_ignore() and arp_solicit() in net/ipv4/arp.c). IPv6 has no such
settings and needs none: an interface answers neighbour solicitations for its own addresses only
(ndisc_recv_ns() in net/ipv6/ndisc.c), and solicits with an address of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydsr.realserver.values import EVERY_INTERFACE, Facts, Setting


@dataclass(frozen=True)
class Rule:
    """The values that a sysctl may have on a backend.

    Attributes:
        wanted: the value that setup sets.
        accepted: all correct values.
        why: the effect of another value.
    """

    name: str
    wanted: int
    accepted: frozenset[int]
    why: str

    def setting(self, interface: str) -> Setting:
        """Return the setting of an interface, or of all interfaces."""
        return Setting(4, interface, self.name)

    def effective(self, facts: Facts, interface: str) -> int:
        """Return the value that the kernel applies to an interface."""
        names = {EVERY_INTERFACE, interface}
        return max(facts.settings.get(self.setting(name), 0) for name in names)


ARP_RULES = (
    Rule(
        "arp_ignore",
        1,
        frozenset({1, 2, 8}),
        "it answers ARP requests for addresses of other interfaces, so clients and routers may "
        "send to this host, past the balancer",
    ),
    Rule(
        "arp_announce",
        2,
        frozenset({2}),
        "its ARP requests may carry a VIP as their source, from which others learn this host's MAC "
        "for the VIP and bypass the balancer",
    ),
)
"""In the order in which setup sets them, before it adds the VIP."""

REVERSE_PATH = Rule(
    "rp_filter",
    2,
    frozenset({0, 2}),
    "it drops packets of clients whose route leads out of another interface",
)
"""Loose mode is enough: it accepts a source that any interface has a route to."""


def violations(rule: Rule, facts: Facts) -> list[str]:
    """Return the interfaces whose value is wrong."""
    return [name for name in facts.announcing if rule.effective(facts, name) not in rule.accepted]


def remedies(rule: Rule, facts: Facts) -> list[Setting]:
    """Return the settings to change to the wanted value.

    They include the setting for all interfaces, which later interfaces get too. If the
    values of all present interfaces are correct, nothing is changed.
    """
    if facts.announcing and not violations(rule, facts):
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
