"""From the backends a service has to those it is to have: a pure comparison."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from pydsr.hashing import slots
from pydsr.hashing.table import Table
from pydsr.model.addresses import Endpoint, IPAddress
from pydsr.model.desired import DesiredBackend, Edit, as_desired, check_specs, from_spec
from pydsr.model.errors import InputError
from pydsr.model.service import Backend, BackendSpec, BackendState, Service


def set_backends(endpoint: Endpoint, specs: Sequence[BackendSpec]) -> Edit:
    """Return the edit that replaces the whole set."""
    check_specs(endpoint, specs)
    desired = tuple(from_spec(spec) for spec in specs)
    return lambda _service: desired


def add_backends(endpoint: Endpoint, specs: Sequence[BackendSpec]) -> Edit:
    """Return the edit that adds backends, or changes the weight of those there are."""
    check_specs(endpoint, specs)

    def edit(service: Service) -> tuple[DesiredBackend, ...]:
        added = {spec.address: from_spec(spec, service.backend(spec.address)) for spec in specs}
        kept = tuple(
            added.pop(backend.address) if backend.address in added else as_desired(backend)
            for backend in service.backends
        )
        return (*kept, *added.values())

    return edit


def remove_backends(addresses: Sequence[IPAddress]) -> Edit:
    """Return the edit that removes backends."""

    def edit(service: Service) -> tuple[DesiredBackend, ...]:
        present_backends(service, addresses)
        return tuple(as_desired(b) for b in service.backends if b.address not in addresses)

    return edit


def change_state(addresses: Sequence[IPAddress], state: BackendState) -> Edit:
    """Return the edit that drains backends, brings them back, or marks them down."""

    def edit(service: Service) -> tuple[DesiredBackend, ...]:
        for backend in present_backends(service, addresses):
            if state is BackendState.UP and backend.weight == 0:
                raise InputError(
                    f"backend {backend.address} of {service.endpoint} has weight 0",
                    f"give it one: pydsr backends add {service.endpoint} {backend.address}=1",
                )
        return tuple(
            replace(as_desired(b), state=state) if b.address in addresses else as_desired(b)
            for b in service.backends
        )

    return edit


def present_backends(service: Service, addresses: Iterable[IPAddress]) -> list[Backend]:
    """Return the backends with some addresses; raises InputError for one that is not there."""
    found = []
    for address in addresses:
        backend = service.backend(address)
        if backend is None:
            raise InputError(
                f"{service.endpoint} has no backend {address}",
                f"pydsr backends list {service.endpoint} shows those it has",
            )
        found.append(backend)
    return found


def slots_moved(before: Table, after: Table) -> int:
    """Return how many slots give their new flows to another backend than before."""
    return slots.count_moved(before.current, after.current)
