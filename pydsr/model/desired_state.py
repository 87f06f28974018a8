"""The desired state of a balancer, as a file describes it, and the changes that create it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from pydsr.model.addresses import Endpoint, IPAddress
from pydsr.model.change import Change, backend_changes
from pydsr.model.features import NO_FEATURES, Feature
from pydsr.model.health_policy import HealthPolicy
from pydsr.model.options import ServiceOptions
from pydsr.model.service import DesiredBackend, Service, Unserved
from pydsr.model.source_rules import Rules, rule_changes

AUTO = "auto"


@dataclass(frozen=True)
class DesiredInterface:
    """An interface to attach; the mode is auto, native or generic."""

    name: str
    mode: str = AUTO


@dataclass(frozen=True)
class DesiredService:
    """A service with its backends, source rules and health policy."""

    endpoint: Endpoint
    options: ServiceOptions = field(default_factory=ServiceOptions)
    backends: tuple[DesiredBackend, ...] = ()
    rules: Rules = field(default_factory=dict)
    health: HealthPolicy | None = None

    @property
    def without_backends(self) -> Service:
        """The service without an id or backends."""
        return Service(-1, self.endpoint, self.options)


@dataclass(frozen=True)
class DesiredState:
    """The desired state of a whole balancer.

    Attributes:
        interfaces: interfaces to attach; others that are attached stay attached.
        table_size, seed: None keeps the balancer's, or uses the defaults.
        policies: what VIPs do with ports without a service, where it is not COUNT.
        services: all services.
        rules: source rules of all services.
        answer_while: the VRRP address: only a machine that has it answers ARP/ND for VIPs; None
            always answers.
    """

    interfaces: tuple[DesiredInterface, ...] = ()
    table_size: int | None = None
    seed: int | None = None
    policies: Mapping[IPAddress, Unserved] = field(default_factory=dict)
    services: tuple[DesiredService, ...] = ()
    rules: Rules = field(default_factory=dict)
    answer_while: IPAddress | None = None

    def at(self, addresses: Collection[IPAddress]) -> DesiredState:
        """Return the state for a host with some addresses: without the VRRP address, no ARP."""
        if self.answer_while is None or self.answer_while in addresses:
            return self
        silent = (replace(each, options=replace(each.options, arp=False)) for each in self.services)
        return replace(self, services=tuple(silent))

    @cached_property
    def scoped_rules(self) -> dict[Endpoint | None, Rules]:
        """The source rules by scope, where it has any; the scope None is all services."""
        scoped: dict[Endpoint | None, Rules] = {None: self.rules}
        scoped |= {service.endpoint: service.rules for service in self.services}
        return {scope: rules for scope, rules in scoped.items() if rules}

    @property
    def features(self) -> Feature:
        """The features that the program needs, as far as known before resolving."""
        used = Feature.ACL if self.scoped_rules else NO_FEATURES
        for service in self.services:
            used |= service.without_backends.features
            if any(backend.tags for backend in service.backends):
                used |= Feature.VLAN
        return used

    def changes_from_nothing(self) -> tuple[Change, ...]:
        """Return the changes that create the state without a balancer."""
        changes = [attach_change(interface) for interface in self.interfaces]
        for service in self.services:
            changes.append(add_change(service.endpoint, service.options))
            places = [None] * len(service.backends)
            changes += backend_changes(service.without_backends, service.backends, places)
        changes += all_rule_changes({}, self.scoped_rules)
        changes += policy_changes({}, self.policies)
        return tuple(changes)


def attach_change(interface: DesiredInterface) -> Change:
    """Return the change that attaches an interface."""
    return Change("attach", interface.name, None, f"{interface.mode} mode")


def add_change(endpoint: Endpoint, options: ServiceOptions) -> Change:
    """Return the change that creates a service."""
    return Change("add service", str(endpoint), None, options.name or str(endpoint))


def all_rule_changes(
    before: Mapping[Endpoint | None, Rules], after: Mapping[Endpoint | None, Rules]
) -> tuple[Change, ...]:
    """Return the changes from the source rules of all scopes to others."""
    return tuple(
        change
        for scope in dict.fromkeys([*before, *after])
        for change in rule_changes(scope, before.get(scope, {}), after.get(scope, {}))
    )


def policy_changes(
    before: Mapping[IPAddress, Unserved], after: Mapping[IPAddress, Unserved]
) -> tuple[Change, ...]:
    """Return the changes of VIP policies; a VIP that is not named has COUNT."""
    return tuple(
        Change("set unserved ports", str(vip), *values)
        for vip in dict.fromkeys([*before, *after])
        for values in [(before.get(vip, Unserved.COUNT), after.get(vip, Unserved.COUNT))]
        if values[0] is not values[1]
    )
