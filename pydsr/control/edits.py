"""Edits: what a user asks for, as values. Pure.

The planner turns an edit into a plan, and a commit writes the plan.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from pydsr.model.addresses import Endpoint, IPAddress
from pydsr.model.errors import InputError
from pydsr.model.options import ServiceOptions
from pydsr.model.service import (
    Backend,
    BackendState,
    DesiredBackend,
    Service,
    Unserved,
    as_desired,
)
from pydsr.model.source_rules import Action, IPNetwork, Rules, with_rules, without_rules


@dataclass(frozen=True)
class AddService:
    """Create a service without backends."""

    endpoint: Endpoint
    options: ServiceOptions


@dataclass(frozen=True)
class RemoveService:
    """Delete a service with its backends."""

    endpoint: Endpoint


class BackendEdit(Protocol):
    """A change of the backends of one service."""

    @property
    def endpoint(self) -> Endpoint:
        """The service."""

    def desired_backends(self, service: Service) -> tuple[DesiredBackend, ...]:
        """Return the backends that a service has after the edit.

        Raises:
            InputError: the edit makes no sense for that service.
        """


@dataclass(frozen=True)
class _NamedBackends:
    endpoint: Endpoint
    backends: Sequence[DesiredBackend]

    def __post_init__(self) -> None:
        addresses: set[IPAddress] = set()
        for backend in self.backends:
            if backend.address in addresses:
                raise InputError(f"backend {backend.address} is named twice", "name it once")
            if backend.address == self.endpoint.address:
                raise InputError(
                    f"backend {backend.address} is the VIP itself",
                    "name the backend by an address of its own; the VIP stands on its loopback",
                )
            addresses.add(backend.address)


class SetBackends(_NamedBackends):
    """Replace the backends of a service; create the service if it does not exist.

    Raises:
        InputError: an address twice, or a backend whose address is the VIP.
    """

    def desired_backends(self, _: Service) -> tuple[DesiredBackend, ...]:
        """Return the new backends."""
        return tuple(self.backends)


class AddBackends(_NamedBackends):
    """Add backends to a service, or change the weights and MACs of those it has.

    Raises:
        InputError: an address twice, or a backend whose address is the VIP.
    """

    def desired_backends(self, service: Service) -> tuple[DesiredBackend, ...]:
        """Return the live backends with the edit's changes, and the new ones."""
        added = {b.address: _merge(b, service.backend(b.address)) for b in self.backends}
        kept = tuple(
            added.pop(backend.address) if backend.address in added else as_desired(backend)
            for backend in service.backends
        )
        return (*kept, *added.values())


class AddMissingBackends(_NamedBackends):
    """Add backends to a service; those it has already stay as they are."""

    def desired_backends(self, service: Service) -> tuple[DesiredBackend, ...]:
        """Return the live backends and the new ones."""
        new = (b for b in self.backends if service.backend(b.address) is None)
        return (*map(as_desired, service.backends), *new)


@dataclass(frozen=True)
class RemoveBackends:
    """Remove backends from a service."""

    endpoint: Endpoint
    addresses: Collection[IPAddress]

    def desired_backends(self, service: Service) -> tuple[DesiredBackend, ...]:
        """Return the backends that stay."""
        find_backends(service, self.addresses)
        return tuple(as_desired(b) for b in service.backends if b.address not in self.addresses)


@dataclass(frozen=True)
class ChangeState:
    """Drain backends, bring them back, or mark them down."""

    endpoint: Endpoint
    addresses: Collection[IPAddress]
    state: BackendState

    def desired_backends(self, service: Service) -> tuple[DesiredBackend, ...]:
        """Return the live backends; those that the edit names get its state."""
        for backend in find_backends(service, self.addresses):
            if self.state is BackendState.UP and backend.weight == 0:
                raise InputError(
                    f"backend {backend.address} of {service.endpoint} has weight 0",
                    f"give it one: pydsr backends add {service.endpoint} {backend.address}=1",
                )
        return tuple(
            replace(as_desired(b), state=self.state)
            if b.address in self.addresses
            else as_desired(b)
            for b in service.backends
        )


@dataclass(frozen=True)
class SetRules:
    """Allow or deny sources, for one service, or for all if ``scope`` is None."""

    scope: Endpoint | None
    networks: Sequence[IPNetwork]
    action: Action

    def desired_rules(self, rules: Rules) -> Rules:
        """Return the rules of the scope after the edit."""
        return with_rules(rules, self.networks, self.action)


@dataclass(frozen=True)
class RemoveRules:
    """Remove source rules of one service, or of all if ``scope`` is None."""

    scope: Endpoint | None
    networks: Sequence[IPNetwork]

    def desired_rules(self, rules: Rules) -> Rules:
        """Return the rules of the scope after the edit.

        Raises:
            InputError: the scope has no such rule.
        """
        return without_rules(rules, self.networks, self.scope)


@dataclass(frozen=True)
class SetVipPolicy:
    """Set what happens to packets for a VIP's ports without a service."""

    vip: IPAddress
    unserved: Unserved


Edit = AddService | RemoveService | SetRules | RemoveRules | SetVipPolicy | BackendEdit


def find_backends(service: Service, addresses: Iterable[IPAddress]) -> list[Backend]:
    """Return the backends of a service with some addresses.

    Raises:
        InputError: the service has no backend with one of them.
    """
    backends = []
    for address in addresses:
        backend = service.backend(address)
        if backend is None:
            raise InputError(
                f"{service.endpoint} has no backend {address}",
                f"pydsr backends list {service.endpoint} shows those it has",
            )
        backends.append(backend)
    return backends


def _merge(added: DesiredBackend, live: Backend | None) -> DesiredBackend:
    if live is None:
        return added
    if added.mac is None and live.mac_by_hand:
        added = replace(added, mac=live.mac, tags=live.tags)
    # A new weight does not end a drain that a user asked for, only one by weight 0.
    if added.weight and live.weight and live.state is not BackendState.UP:
        added = replace(added, state=live.state)
    return added
