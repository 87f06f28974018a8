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
from pydsr.model.change import Change, Impact
from pydsr.model.desired_state import DesiredState
from pydsr.model.errors import BackendUnresolvedError, InputError
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


def add_answering(
    directory: Path, waiting: WaitingBackends, answering: Collection[IPAddress]
) -> tuple[WaitingBackends, tuple[Change, ...]]:
    """Add the backends that answer to their services, except to services removed meanwhile.

    Returns:
        The backends that still wait, and the changes made.

    Raises:
        PydsrError: as :meth:`pydsr.control.balancer.Balancer.change`.
    """
    left: dict[Endpoint, tuple[DesiredBackend, ...]] = {}
    changes: list[Change] = []
    with Balancer(directory) as balancer:
        for endpoint, backends in waiting.items():
            ready = [backend for backend in backends if backend.address in answering]
            rest = tuple(backend for backend in backends if backend.address not in answering)
            if ready:
                try:
                    impact = balancer.change(AddMissingBackends(endpoint, ready))
                except InputError:
                    continue
                changes += impact.changes
            if rest:
                left[endpoint] = rest
    return left, tuple(changes)
