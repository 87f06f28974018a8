"""A backend's host in memory: what steps of ``pydsr.realserver`` do to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_interface

from pydsr.realserver.arp import ARP_RULES, REVERSE_PATH, violations
from pydsr.realserver.steps import Ip, SetSysctl, Step
from pydsr.realserver.values import Assigned, Facts, Interface, Setting

LOCALHOST = Assigned(ip_address("127.0.0.1"), 8)


def assigned(text: str) -> Assigned:
    """Return an address such as ``192.0.2.1/24``."""
    found = ip_interface(text)
    return Assigned(found.ip, found.network.prefixlen)


def interface(name: str, *addresses: str, is_up: bool = True, announces: bool = True) -> Interface:
    """Return an interface."""
    return Interface(name, is_up, announces, tuple(assigned(each) for each in addresses))


def loopback(*addresses: str, is_up: bool = True) -> Interface:
    """Return a loopback; without any address if it was never up."""
    return interface("lo", *addresses, is_up=is_up, announces=False)


def facts(
    *interfaces: Interface,
    settings: Mapping[str, int] | None = None,
    filtering: Iterable[str] = (),
    dropping_chains: tuple[str, ...] = (),
) -> Facts:
    """Return what is found on a host; settings that are not named are zero.

    Args:
        interfaces: all but the loopback, which is up where it is not named either.
        settings: values such as ``{"all.arp_ignore": 1}``.
        filtering: interfaces that drop by rp_filter.
        dropping_chains: chains of nftables.
    """
    known = {each.name: each for each in (loopback("127.0.0.1/8", "::1/128"), *interfaces)}
    values = {}
    for name in ("all", "default", *known):
        for rule in (*ARP_RULES, REVERSE_PATH):
            values[rule.setting(name)] = 0
        values[Setting(6, name, "disable_ipv6")] = 0
    for text, value in (settings or {}).items():
        name, _, key = text.rpartition(".")
        values[Setting(6 if key == "disable_ipv6" else 4, name, key)] = value
    return Facts(known, values, frozenset(filtering), dropping_chains)


@dataclass
class SimulatedHost:
    """A host that steps change.

    Attributes:
        facts: what it is now.
        leaks: VIPs of IPv4 that it had while it answered ARP for them, which must not be.
    """

    facts: Facts
    leaks: list[str] = field(default_factory=list)

    def execute(self, steps: Iterable[Step]) -> None:
        """Do steps; one that a kernel would refuse is an error."""
        for step in steps:
            if isinstance(step, SetSysctl):
                assert step.setting in self.facts.settings
                settings = {**self.facts.settings, step.setting: step.value}
                self.facts = replace(self.facts, settings=settings)
            else:
                self._ip(step)
            self._listen()

    def _ip(self, step: Ip) -> None:
        match step.arguments:
            case ("link", "add", name, "type", "dummy"):
                assert name not in self.facts.interfaces
                self._put(interface(name, is_up=False, announces=False))
                new = {
                    setting._replace(interface=name): value
                    for setting, value in self.facts.settings.items()
                    if setting.interface == "default"
                }
                self.facts = replace(self.facts, settings={**self.facts.settings, **new})
            case ("link", "delete", name):
                assert name in self.facts.interfaces
                self.facts = replace(
                    self.facts,
                    interfaces={k: v for k, v in self.facts.interfaces.items() if k != name},
                    settings={k: v for k, v in self.facts.settings.items() if k.interface != name},
                )
            case ("link", "set", name, "up"):
                self._set_up(self.facts.interfaces[name])
            case ("link", "set", name, "down"):
                # As the kernel does: addresses of IPv6 go, those of IPv4 stay.
                found = self.facts.interfaces[name]
                kept = tuple(each for each in found.addresses if each.address.version == 4)
                self._put(replace(found, is_up=False, addresses=kept))
            case ("address", "add", text, "dev", name, *_):
                found = self.facts.interfaces[name]
                assert assigned(text) not in found.addresses
                self._put(replace(found, addresses=(*found.addresses, assigned(text))))
            case ("address", "delete", text, "dev", name):
                found = self.facts.interfaces[name]
                assert assigned(text) in found.addresses
                kept = tuple(each for each in found.addresses if each != assigned(text))
                self._put(replace(found, addresses=kept))
            case _:
                raise AssertionError(step)

    def _set_up(self, found: Interface) -> None:
        addresses = found.addresses
        if found.name == "lo":
            if not any(each.address.version == 4 for each in addresses):
                addresses = (LOCALHOST, *addresses)
            addresses = (*addresses, assigned("::1/128"))
        self._put(replace(found, is_up=True, addresses=addresses))

    def _put(self, found: Interface) -> None:
        self.facts = replace(self.facts, interfaces={**self.facts.interfaces, found.name: found})

    def _listen(self) -> None:
        answers = any(violations(rule, self.facts) for rule in ARP_RULES)
        vips = [
            str(each)
            for found in self.facts.interfaces.values()
            if not found.announces
            for each in found.addresses
            if each.address.version == 4 and each != LOCALHOST
        ]
        if answers:
            self.leaks += vips
