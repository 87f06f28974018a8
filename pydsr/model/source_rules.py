"""Source rules: the sources that may send to a service, or to all services. Pure.

In each scope the longest prefix that contains the source decides; without one the source is
allowed. A packet must be allowed by the rules for all services and by its service's rules.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from pydsr.model.addresses import Endpoint
from pydsr.model.change import Change
from pydsr.model.errors import InputError

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
Rules = Mapping[IPNetwork, "Action"]
"""The rules of one scope."""

ANY4, ANY6 = ipaddress.IPv4Network("0.0.0.0/0"), ipaddress.IPv6Network("::/0")
ALL_SERVICES = "all"


class Action(StrEnum):
    """What a rule does with packets of its sources."""

    ALLOW = "allow"
    DENY = "deny"


def scope_name(scope: Endpoint | None) -> str:
    """Return the text of a scope: an endpoint, or ``all`` for None."""
    return ALL_SERVICES if scope is None else str(scope)


def parse_scope(text: str) -> Endpoint | None:
    """Parse an endpoint, or ``all`` as None.

    Raises:
        InputError: the text is neither.
    """
    return None if text == ALL_SERVICES else Endpoint.parse(text)


def parse_networks(texts: Iterable[str], scope: Endpoint | None) -> tuple[IPNetwork, ...]:
    """Parse prefixes: ``192.0.2.0/24``, a bare address, or ``any``.

    ``any`` is every source of the VIP's IP version; for all services, of both versions.

    Raises:
        InputError: malformed, with host bits, or of another IP version than the scope's VIP.
    """
    version = scope.address.version if scope else None
    networks: list[IPNetwork] = []
    for text in texts:
        if text == "any":
            networks += [net for net in (ANY4, ANY6) if version in (None, net.version)]
            continue
        network = _parse_network(text)
        if version not in (None, network.version):
            raise InputError(
                f"{text!r} cannot send to {scope}", f"name sources of IPv{version}, or any"
            )
        networks.append(network)
    return tuple(dict.fromkeys(networks))


def _parse_network(text: str) -> IPNetwork:
    try:
        if "%" in text:
            raise ValueError(text)  # A network has no zone.
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InputError(
            f"{text!r} is no source", "write it as 192.0.2.0/24, 192.0.2.7, 2001:db8::/32 or any"
        ) from None
    address = ipaddress.ip_interface(text).ip
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        raise InputError(f"{text!r} is IPv4-mapped", "write the IPv4 network")
    if address != network.network_address:
        raise InputError(f"{text!r} has bits set behind its prefix", f"did you mean {network}?")
    return network


def with_rules(rules: Rules, networks: Sequence[IPNetwork], action: Action) -> Rules:
    """Return rules with some added or changed."""
    return {**rules, **dict.fromkeys(networks, action)}


def without_rules(
    rules: Rules, networks: Sequence[IPNetwork], scope: Endpoint | None = None
) -> Rules:
    """Return rules without some.

    Raises:
        InputError: the scope has no such rule.
    """
    for network in networks:
        if network not in rules:
            raise InputError(
                f"there is no rule of {scope_name(scope)} for {network}",
                f"pydsr acl list {scope_name(scope)} shows those there are",
            )
    return {network: action for network, action in rules.items() if network not in networks}


def rule_changes(scope: Endpoint | None, before: Rules, after: Rules) -> tuple[Change, ...]:
    """Return the changes from the rules of a scope to others."""
    name = scope_name(scope)
    return tuple(
        Change(
            "remove rule" if network not in after else "set rule",
            f"{name} from {network}",
            before.get(network),
            after.get(network),
        )
        for network in sorted({*before, *after}, key=sort_key)
        if before.get(network) != after.get(network)
    )


def sort_key(network: IPNetwork) -> tuple[int, int, int]:
    """Return the key that sorts networks by version, address and prefix length."""
    return network.version, int(network.network_address), network.prefixlen
