"""Source rules and policies of VIPs: how they are changed, and what is left of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydsr.control.program_upgrade import fit, missing_features
from pydsr.kernel.bpf.maps import ACL_RULES_MAX
from pydsr.kernel.bpf.store import State
from pydsr.model.addresses import Endpoint, IPAddress
from pydsr.model.change import Change
from pydsr.model.errors import InputError
from pydsr.model.features import Feature
from pydsr.model.service import Service, Unserved
from pydsr.model.source_rules import Rules, rule_changes


@dataclass(frozen=True)
class Vip:
    """A virtual IP with what it does with ports that no service has."""

    address: IPAddress
    unserved: Unserved
    services: tuple[Endpoint, ...]


def list_rules(state: State) -> dict[Endpoint | None, Rules]:
    """Return the source rules by scope, those of all services first."""
    scoped = state.rules()
    found: dict[Endpoint | None, Rules] = {None: scoped[None]} if None in scoped else {}
    for service in state.configs():
        if service.id in scoped:
            found[service.endpoint] = scoped[service.id]
    return found


def change_rules(
    state: State,
    directory: Path,
    service: Service | None,
    edit: Callable[[Rules], Rules],
    plan_only: bool,
) -> tuple[Change, ...]:
    """Change the rules of one scope: a service's, or those of all services where it is None.

    Raises:
        InputError: what the edit raises; too many rules; a program attached without them.
    """
    scope_id = service.id if service else None
    scoped = state.rules()
    before = scoped.get(scope_id, {})
    after = edit(before)
    changes = rule_changes(service.endpoint if service else None, before, after)
    scoped[scope_id] = after
    check_rules_fit(scoped.values())
    if changes:
        missing_features(state, Feature.ACL)
    if changes and not plan_only:
        fit(state, directory, Feature.ACL)
        state.write_rules({scope: rules for scope, rules in scoped.items() if rules})
        if bool(before) != bool(after):
            state.write_index(state.configs())
    return changes


def check_rules_fit(scopes: Iterable[Rules]) -> None:
    """Refuse more source rules than the map of them holds.

    Raises:
        InputError: the rules of all scopes together are more.
    """
    total = sum(map(len, scopes))
    if total > ACL_RULES_MAX:
        raise InputError(
            f"{total} source rules are more than the {ACL_RULES_MAX} that fit",
            "join neighbouring networks into larger ones, or filter further out",
        )


def list_vips(state: State) -> list[Vip]:
    """Return every VIP that has a service."""
    services: dict[IPAddress, list[Endpoint]] = {}
    for service in state.configs():
        services.setdefault(service.endpoint.address, []).append(service.endpoint)
    policies = state.policies()
    return [
        Vip(address, policies.get(address, Unserved.COUNT), tuple(endpoints))
        for address, endpoints in services.items()
    ]


def set_policy(
    state: State, address: IPAddress, unserved: Unserved, plan_only: bool
) -> tuple[Change, ...]:
    """Say what becomes of a VIP's ports without a service.

    Raises:
        InputError: no service has that VIP.
    """
    vip = next((vip for vip in list_vips(state) if vip.address == address), None)
    if vip is None:
        raise InputError(
            f"{address} is the VIP of no service", "pydsr vips list shows those there are"
        )
    if vip.unserved is unserved:
        return ()
    if not plan_only:
        state.write_policy(address, unserved)
        state.write_index(state.configs())
    return (Change("set unserved ports", str(address), vip.unserved, unserved),)


def forget_removed(state: State, services: Sequence[Service]) -> None:
    """Delete the rules of services, and the policies of VIPs, that are not among all there are."""
    ids = {None, *(service.id for service in services)}
    scoped = state.rules()
    left = {scope: rules for scope, rules in scoped.items() if scope in ids}
    if left != scoped:
        state.write_rules(left)
    vips = {service.endpoint.address for service in services}
    for address in state.policies():
        if address not in vips:
            state.write_policy(address, Unserved.COUNT)
