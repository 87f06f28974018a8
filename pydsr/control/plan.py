"""Plans: what will be written, as values. Planning writes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import or_

from pydsr.control.edits import (
    AddService,
    BackendEdit,
    Edit,
    RemoveRules,
    RemoveService,
    SetBackends,
    SetRules,
    SetVipPolicy,
)
from pydsr.control.program_upgrade import refuse_left_out
from pydsr.control.resolve import Network
from pydsr.control.service_plan import ServicePlan, plan_services
from pydsr.kernel.bpf.live_state import LiveState
from pydsr.kernel.bpf.maps import ACL_RULES_MAX
from pydsr.kernel.net import links
from pydsr.model.addresses import Endpoint, IPAddress
from pydsr.model.change import (
    Change,
    removal_changes,
)
from pydsr.model.desired_state import DesiredService
from pydsr.model.errors import InputError
from pydsr.model.features import NO_FEATURES, Feature
from pydsr.model.options import ServiceOptions, check_options
from pydsr.model.service import Service, Unserved
from pydsr.model.source_rules import Rules, rule_changes

ScopedRules = Mapping[Endpoint | None, Rules]
"""The source rules by scope; None is the scope of all services."""


@dataclass(frozen=True)
class Plan:
    """Everything that one commit writes.

    Attributes:
        services: those that will be created or changed.
        removed: the live services that will be deleted.
        rules: all source rules there will be; None leaves them as they are.
        policies: the policies of VIPs that will be set.
        changes: the differences, for the user.
    """

    services: tuple[ServicePlan, ...] = ()
    removed: tuple[Service, ...] = ()
    rules: ScopedRules | None = None
    policies: Mapping[IPAddress, Unserved] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()

    @property
    def features(self) -> Feature:
        """The program features that it needs."""
        has_rules = any((self.rules or {}).values())
        used = Feature.ACL if has_rules else NO_FEATURES
        return reduce(or_, (service.features for service in self.services), used)


def plan_edit(state: LiveState, edit: Edit, network: Network) -> Plan:
    """Return the plan of one edit.

    Raises:
        InputError: the edit makes no sense here, or exceeds a limit.
        BackendUnresolvedError: the MAC of a backend cannot be found.
    """
    match edit:
        case AddService(endpoint, options):
            if endpoint in state.services.endpoints():
                raise InputError(
                    f"the service {endpoint} exists",
                    "to change its options, edit a file of pydsr export and apply it; or remove it "
                    f"first: pydsr services remove {endpoint}",
                )
            check_options(endpoint, options)
            plan = _plan_one(state, None, DesiredService(endpoint, options), network)
        case RemoveService(endpoint):
            service = find_service(state, endpoint)
            plan = Plan(removed=(service,), changes=removal_changes(service))
        case SetRules(scope) | RemoveRules(scope):
            plan = _plan_rules(state, scope, edit)
        case SetVipPolicy(vip, unserved):
            plan = _plan_policy(state, vip, unserved)
        case _:
            before = _service_of(state, edit)
            options = before.options if before else ServiceOptions()
            service = before or Service(-1, edit.endpoint, options)
            desired = DesiredService(edit.endpoint, options, edit.desired_backends(service))
            plan = _plan_one(state, before, desired, network)
    refuse_left_out(state, plan.features)
    return plan


def plan_backend_edits(
    state: LiveState,
    live: Mapping[Endpoint, Service],
    edits: Iterable[BackendEdit],
    network: Network,
) -> Plan:
    """Return the plan of edits of several services; a service that does not exist is left out.

    Each service may have one edit at most. ``live`` are all services.

    Raises:
        InputError: an edit makes no sense here, or exceeds a limit.
        BackendUnresolvedError: the MAC of a backend cannot be found.
    """
    before_after = [
        (service, DesiredService(edit.endpoint, service.options, edit.desired_backends(service)))
        for edit in edits
        if (service := live.get(edit.endpoint)) is not None
    ]
    services = plan_services(state, before_after, network, {endpoint.address for endpoint in live})
    plan = Plan(services, changes=tuple(c for service in services for c in service.changes))
    refuse_left_out(state, plan.features)
    return plan


def find_service(state: LiveState, endpoint: Endpoint) -> Service:
    """Return one service with its backends.

    Raises:
        InputError: there is none at that endpoint.
    """
    service = state.services.get(endpoint)
    if service is None:
        raise InputError(
            f"there is no service {endpoint}", "pydsr services list shows those there are"
        )
    return service


def _service_of(state: LiveState, edit: BackendEdit) -> Service | None:
    if isinstance(edit, SetBackends):
        return state.services.get(edit.endpoint)
    return find_service(state, edit.endpoint)


def _plan_one(
    state: LiveState, before: Service | None, desired: DesiredService, network: Network
) -> Plan:
    if before is None:
        _check_new_vip(state, desired.endpoint)
    vips = {endpoint.address for endpoint in state.services.endpoints()}
    services = plan_services(state, [(before, desired)], network, vips)
    return Plan(services, changes=tuple(c for service in services for c in service.changes))


def _check_new_vip(state: LiveState, endpoint: Endpoint) -> None:
    refuse_local_vips([endpoint])
    service_id = state.backends.service_of(endpoint.address)
    for service in state.services.configs():
        if service.id == service_id:
            raise InputError(
                f"{endpoint.address} is a backend's address (of {service.endpoint})",
                "a VIP is an address of its own, on the loopback of every backend",
            )


def refuse_local_vips(endpoints: Collection[Endpoint]) -> None:
    """Refuse VIPs that are addresses of this machine.

    Raises:
        InputError: one is.
    """
    vips = {endpoint.address for endpoint in endpoints}
    for vip in sorted(vips & links.local_addresses().keys() if vips else (), key=str):
        raise InputError(
            f"the VIP {vip} is an address of this machine",
            "all its other ports would be cut off: take it off here (ip address del) and have "
            "it on the loopback of the backends; the balancer answers for it all the same",
        )


def _plan_rules(state: LiveState, scope: Endpoint | None, edit: SetRules | RemoveRules) -> Plan:
    if scope is not None:
        find_service(state, scope)
    rules = live_rules(state)
    before = rules.get(scope, {})
    rules[scope] = edit.desired_rules(before)
    check_rules_fit(rules.values())
    changes = rule_changes(scope, before, rules[scope])
    return Plan(rules=rules, changes=changes) if changes else Plan()


def live_rules(state: LiveState) -> dict[Endpoint | None, Rules]:
    """Return the source rules of each scope that has any, the scope of all services first."""
    by_id = state.source_rules.read()
    rules: dict[Endpoint | None, Rules] = {None: by_id[None]} if None in by_id else {}
    return rules | {
        service.endpoint: by_id[service.id]
        for service in state.services.configs()
        if service.id in by_id
    }


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


def _plan_policy(state: LiveState, vip: IPAddress, unserved: Unserved) -> Plan:
    if vip not in {endpoint.address for endpoint in state.services.endpoints()}:
        raise InputError(f"{vip} is the VIP of no service", "pydsr vips list shows those there are")
    before = state.vip_policies.read().get(vip, Unserved.COUNT)
    if before is unserved:
        return Plan()
    change = Change("set unserved ports", str(vip), before, unserved)
    return Plan(policies={vip: unserved}, changes=(change,))
