"""Apply the file even if some of its backends do not answer ARP or ND yet.

All functions block and run in a thread.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydsr.config.load import load_file
from pydsr.control.apply import apply
from pydsr.control.attached_interfaces import attached
from pydsr.control.balancer import Balancer
from pydsr.control.edits import AddMissingBackends
from pydsr.control.resolve import Network
from pydsr.model.addresses import Endpoint, IPAddress
from pydsr.model.change import Impact
from pydsr.model.desired_state import DesiredState
from pydsr.model.errors import BackendUnresolvedError
from pydsr.model.service import DesiredBackend

WaitingBackends = Mapping[Endpoint, tuple[DesiredBackend, ...]]
"""Backends to add to each service as soon as they answer."""


@dataclass(frozen=True)
class Applied:
    """The result of applying a desired state."""

    impact: Impact
    waiting: WaitingBackends


def load(file: Path) -> DesiredState:
    """Load the file.

    Raises:
        InputError: it is invalid or cannot be read.
    """
    return load_file(str(file))


def apply_without_silent(directory: Path, desired: DesiredState) -> Applied:
    """Apply a desired state except for new backends that do not answer.

    One backend that is down must not keep all others out of service when everything starts.

    Raises:
        PydsrError: as :func:`pydsr.control.apply.apply`.
    """
    silent: frozenset[IPAddress] = frozenset()
    while True:
        try:
            impact = apply(directory, without(desired, silent))
        except BackendUnresolvedError as error:
            if error.silent <= silent:
                raise
            silent |= error.silent
        else:
            return Applied(impact, waiting_backends(desired, silent))


def without(desired: DesiredState, silent: Collection[IPAddress]) -> DesiredState:
    """Return a desired state without the backends that must be resolved but do not answer."""
    if not silent:
        return desired
    services = tuple(
        replace(service, backends=tuple(b for b in service.backends if not _waits(b, silent)))
        for service in desired.services
    )
    return replace(desired, services=services)


def waiting_backends(desired: DesiredState, silent: Collection[IPAddress]) -> WaitingBackends:
    """Return the backends that :func:`without` leaves out."""
    waiting = {
        service.endpoint: tuple(b for b in service.backends if _waits(b, silent))
        for service in desired.services
    }
    return {endpoint: backends for endpoint, backends in waiting.items() if backends}


def _waits(backend: DesiredBackend, silent: Collection[IPAddress]) -> bool:
    return backend.mac is None and backend.address in silent


def find_answering(directory: Path, waiting: WaitingBackends) -> set[IPAddress]:
    """Return the waiting backends that answer now, without taking the lock."""
    addresses = {backend.address for backends in waiting.values() for backend in backends}
    network = Network(attached(directory))
    try:
        return {*network.resolve([*addresses])}
    except BackendUnresolvedError as error:
        rest = addresses - error.silent
        return {*network.resolve([*rest])} if error.silent and rest else set()


def select(waiting: WaitingBackends, addresses: Collection[IPAddress]) -> WaitingBackends:
    """Return those waiting backends that have one of the addresses."""
    selected = {
        endpoint: tuple(backend for backend in backends if backend.address in addresses)
        for endpoint, backends in waiting.items()
    }
    return {endpoint: backends for endpoint, backends in selected.items() if backends}


def add_backends(directory: Path, backends: WaitingBackends) -> list[tuple[Endpoint, IPAddress]]:
    """Add backends to their services in one transaction, except to services removed meanwhile.

    Returns:
        The backends added; a command may have added others before.

    Raises:
        PydsrError: as :meth:`pydsr.control.balancer.Balancer.change_several`; none was added.
    """
    edits = [AddMissingBackends(endpoint, items) for endpoint, items in backends.items()]
    with Balancer(directory) as balancer:
        before = balancer.change_several(edits)
    return [
        (service.endpoint, item.address)
        for service in before
        for item in backends[service.endpoint]
        if service.backend(item.address) is None
    ]
