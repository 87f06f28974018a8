"""Source rules, and the policies of VIPs for ports without a service, in their maps.

The program reads both only if the service index says so: write the index after them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from ctypes import c_uint32

from pydsr.kernel.bpf import layout, libbpf
from pydsr.kernel.bpf.layout import AclAction, UnservedNumber
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.kernel.bpf.maps import HashMap, create_acl_map
from pydsr.model.addresses import IPAddress
from pydsr.model.service import Unserved
from pydsr.model.source_rules import Action, IPNetwork, Rules

_SCOPE_BITS, _MAPPED_BITS = 32, 96
_ALL = {4: layout.ACL_SCOPE_ALL4, 6: layout.ACL_SCOPE_ALL6}
_ACTION_NUMBERS = {Action.ALLOW: AclAction.ALLOW, Action.DENY: AclAction.DENY}
_ACTIONS = {number: action for action, number in _ACTION_NUMBERS.items()}
_POLICY_NUMBERS = {
    Unserved.COUNT: UnservedNumber.COUNT,
    Unserved.PASS: UnservedNumber.PASS,
    Unserved.DROP: UnservedNumber.DROP,
}
_POLICIES = {number: policy for policy, number in _POLICY_NUMBERS.items()}


class SourceRuleStore:
    """The map ``acl``, whose one element is a map of the rules of all scopes."""

    def __init__(self, fd: Descriptor) -> None:
        self._fd = fd

    def read(self) -> dict[int | None, Rules]:
        """Return the rules of each scope that has any: a service id, or None for all services."""
        inner = c_uint32()
        scoped: dict[int | None, dict[IPNetwork, Action]] = {}
        if libbpf.map_lookup(self._fd, c_uint32(0), inner):
            with libbpf.map_by_id(inner.value) as fd:
                rules = HashMap(fd, layout.AclKey, layout.AclRule)
                for key in rules.all_keys():
                    value = rules.get(key)
                    if value is not None:
                        scope = None if key.scope in _ALL.values() else key.scope
                        scoped.setdefault(scope, {})[_unpack_network(key)] = _ACTIONS[value.action]
        return dict(scoped)

    def write(self, scoped: Mapping[int | None, Rules]) -> None:
        """Replace the rules of all scopes by one map update."""
        with create_acl_map() as inner:
            for scope, rules in scoped.items():
                for network, action in rules.items():
                    value = layout.AclRule(action=_ACTION_NUMBERS[action])
                    libbpf.map_update(inner, _pack_network(scope, network), value)
            libbpf.map_update(self._fd, c_uint32(0), c_uint32(inner.number))


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


class VipPolicyStore:
    """The map ``vips``, which has the VIPs with another policy than the default."""

    def __init__(self, fd: Descriptor) -> None:
        self._vips = HashMap(fd, layout.Address, layout.VipConfig)

    def read(self) -> dict[IPAddress, Unserved]:
        """Return the policy of each VIP with another policy than the default."""
        return {
            layout.unpack_address(bytes(key)): _POLICIES[value.unserved]
            for key in self._vips.all_keys()
            if (value := self._vips.get(key)) is not None
        }

    def write(self, vip: IPAddress, policy: Unserved) -> None:
        """Set the policy of a VIP."""
        key = layout.Address(*layout.pack_address(vip))
        if policy is Unserved.COUNT:
            self._vips.delete(key)
        else:
            self._vips.put(key, layout.VipConfig(unserved=_POLICY_NUMBERS[policy]))
