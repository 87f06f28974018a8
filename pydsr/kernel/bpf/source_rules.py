"""The maps of what VIPs and sources may: source rules, and policies for ports without service."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from ctypes import c_uint32

from pydsr.kernel.bpf import layout, libbpf
from pydsr.kernel.bpf.layout import AclAction, UnservedNumber
from pydsr.kernel.bpf.maps import HashMap, Pins, create_acl_map
from pydsr.model.addresses import IPAddress
from pydsr.model.service import Unserved
from pydsr.model.source_rules import Action, IPNetwork, Rules

ScopedRules = Mapping[int | None, Rules]
"""The rules of each scope that has any: a service's id, or None for all services."""

_SCOPE_BITS, _MAPPED_BITS = 32, 96
_ALL = {4: layout.ACL_SCOPE_ALL4, 6: layout.ACL_SCOPE_ALL6}
_ACTIONS = {Action.ALLOW: AclAction.ALLOW, Action.DENY: AclAction.DENY}
_POLICIES = {
    Unserved.COUNT: UnservedNumber.COUNT,
    Unserved.PASS: UnservedNumber.PASS,
    Unserved.DROP: UnservedNumber.DROP,
}


def read_rules(pins: Pins) -> dict[int | None, dict[IPNetwork, Action]]:
    """Return all source rules."""
    inner = c_uint32()
    found: dict[int | None, dict[IPNetwork, Action]] = {}
    if not libbpf.map_lookup(pins["acl"], c_uint32(0), inner):
        return found
    actions = {number: action for action, number in _ACTIONS.items()}
    with libbpf.map_by_id(inner.value) as fd:
        rules = HashMap(fd, layout.AclKey, layout.AclRule)
        for key in rules.all_keys():
            value = rules.get(key)
            if value is not None:
                scope = None if key.scope in _ALL.values() else key.scope
                found.setdefault(scope, {})[_unpack_network(key)] = actions[value.action]
    return found


def write_rules(pins: Pins, scoped: ScopedRules) -> None:
    """Replace all source rules by one map update."""
    with create_acl_map() as inner:
        for scope, rules in scoped.items():
            for network, action in rules.items():
                value = layout.AclRule(action=_ACTIONS[action])
                libbpf.map_update(inner, _pack_network(scope, network), value)
        libbpf.map_update(pins["acl"], c_uint32(0), c_uint32(inner.number))


def _pack_network(scope: int | None, network: IPNetwork) -> layout.AclKey:
    bits = network.prefixlen + (_MAPPED_BITS if network.version == 4 else 0)
    return layout.AclKey(
        prefix=_SCOPE_BITS + bits,
        scope=_ALL[network.version] if scope is None else scope,
        source=layout.Address(*layout.pack_address(network.network_address)),
    )


def _unpack_network(key: layout.AclKey) -> IPNetwork:
    octets, bits = bytes(key.source), key.prefix - _SCOPE_BITS
    address = layout.unpack_address(octets)
    if address.version == 4:
        return ipaddress.IPv4Network((int(address), bits - _MAPPED_BITS))
    return ipaddress.IPv6Network((int.from_bytes(octets, "big"), bits))


def _policies(pins: Pins) -> HashMap:
    return HashMap(pins["vips"], layout.Address, layout.VipConfig)


def read_policies(pins: Pins) -> dict[IPAddress, Unserved]:
    """Return the policies of those VIPs that have another than the default."""
    numbers = {number: policy for policy, number in _POLICIES.items()}
    policies = _policies(pins)
    return {
        layout.unpack_address(bytes(key)): numbers[value.unserved]
        for key in policies.all_keys()
        if (value := policies.get(key)) is not None
    }


def write_policy(pins: Pins, vip: IPAddress, policy: Unserved) -> None:
    """Set the policy of a VIP; packets follow it when the index is written."""
    key = layout.Address(*layout.pack_address(vip))
    if policy is Unserved.COUNT:
        _policies(pins).delete(key)
    else:
        _policies(pins).put(key, layout.VipConfig(unserved=_POLICIES[policy]))
