"""The whole state of a balancer as one value: what a file says, and what export writes. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from pydsr.model.addresses import Endpoint, IPAddress
from pydsr.model.change import Change, backend_changes
from pydsr.model.features import NO_FEATURES, Feature, features_of
from pydsr.model.health_policy import HealthPolicy
from pydsr.model.options import ServiceOptions
from pydsr.model.service import DesiredBackend, Service, Unserved
from pydsr.model.source_rules import Rules, rule_changes

AUTO = "auto"


@dataclass(frozen=True)
class DesiredInterface:
    """An interface that the balancer is to be on; the mode is auto, native or generic."""

    name: str
    mode: str = AUTO


@dataclass(frozen=True)
class DesiredService:
    """A service with its backends and source rules, and how their health is judged, if it is."""

    endpoint: Endpoint
    options: ServiceOptions = field(default_factory=ServiceOptions)
    backends: tuple[DesiredBackend, ...] = ()
    rules: Rules = field(default_factory=dict)
    health: HealthPolicy | None = None

    @property
    def without_backends(self) -> Service:
        """The service that is to be, without an id."""
        return Service(-1, self.endpoint, self.options)


@dataclass(frozen=True)
class DesiredState:
    """Everything a balancer is told.

    Attributes:
        interfaces: those it is to be on; on others it stays.
        table_size, seed: those it is to be made with; None is what it has, or the default.
        policies: of VIPs that do not just count packets for ports without a service.
        services: all there are to be.
        rules: source rules of all services.
        answer_while: the address with which a machine answers ARP/ND for VIPs; None is always.
    """

    interfaces: tuple[DesiredInterface, ...] = ()
    table_size: int | None = None
    seed: int | None = None
    policies: Mapping[IPAddress, Unserved] = field(default_factory=dict)
    services: tuple[DesiredService, ...] = ()
    rules: Rules = field(default_factory=dict)
    answer_while: IPAddress | None = None

    def at(self, addresses: Collection[IPAddress]) -> DesiredState:
        """Return what it comes to on a machine of some addresses: who may answer for its VIPs."""
        if self.answer_while is None or self.answer_while in addresses:
            return self
        silent = (replace(one, options=replace(one.options, arp=False)) for one in self.services)
        return replace(self, services=tuple(silent))

    @cached_property
    def scoped_rules(self) -> dict[Endpoint | None, Rules]:
        """The source rules of each scope that has any; None is that of all services."""
        scoped: dict[Endpoint | None, Rules] = {None: self.rules}
        scoped |= {service.endpoint: service.rules for service in self.services}
        return {scope: rules for scope, rules in scoped.items() if rules}

    @property
    def features(self) -> Feature:
        """What it is known to take of the program before backends have been found."""
        used = Feature.ACL if self.scoped_rules else NO_FEATURES
        for service in self.services:
            used |= features_of(service.without_backends)
            if any(item.tags for item in service.backends):
                used |= Feature.VLAN
        return used

    def changes_from_nothing(self) -> tuple[Change, ...]:
        """Return what is done where no balancer is yet."""
        changes = [attach_change(one) for one in self.interfaces]
        for service in self.services:
            changes.append(add_change(service.endpoint, service.options))
            present, places = service.without_backends, [None] * len(service.backends)
            changes += backend_changes(present, service.backends, places)
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
    """Compare the source rules of all scopes."""
    return tuple(
        change
        for scope in dict.fromkeys([*before, *after])
        for change in rule_changes(scope, before.get(scope, {}), after.get(scope, {}))
    )


def policy_changes(
    before: Mapping[IPAddress, Unserved], after: Mapping[IPAddress, Unserved]
) -> tuple[Change, ...]:
    """Compare what VIPs do with ports without a service; those not named count."""
    return tuple(
        Change("set unserved ports", str(vip), *values)
        for vip in dict.fromkeys([*before, *after])
        for values in [(before.get(vip, Unserved.COUNT), after.get(vip, Unserved.COUNT))]
        if values[0] is not values[1]
    )
