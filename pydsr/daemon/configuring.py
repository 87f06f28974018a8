"""The file, applied: also where some of its backends do not answer yet.

Everything here blocks, and is called in a thread.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

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

Waiting = Mapping[Endpoint, tuple[DesiredBackend, ...]]
"""Backends that are to be in services as soon as they answer."""

_SHOWN_CHANGES = 20


@dataclass(frozen=True)
class Applied:
    """What came of a configuration."""

    impact: Impact
    waiting: Waiting


def load(file: Path) -> DesiredState:
    """Load the file.

    Raises:
        InputError: it is no configuration, or cannot be read.
    """
    from pydsr.config.load import load_file

    return load_file(str(file))


def apply_to_answering(directory: Path, wanted: DesiredState) -> Applied:
    """Make the state that of a configuration, but for new backends that do not answer.

    One backend that is down must not keep all others out of service when everything starts.

    Raises:
        PydsrError: as :func:`pydsr.control.apply.apply`.
    """
    silent: frozenset[IPAddress] = frozenset()
    while True:
        try:
            impact = apply(directory, without(wanted, silent))
        except BackendUnresolvedError as error:
            if error.silent <= silent:
                raise
            silent |= error.silent
        else:
            return Applied(impact, waiting_for(wanted, silent))


def without(wanted: DesiredState, silent: Collection[IPAddress]) -> DesiredState:
    """Return a configuration without the backends that would have to answer and do not."""
    if not silent:
        return wanted
    services = tuple(
        replace(service, backends=tuple(b for b in service.backends if not _waits(b, silent)))
        for service in wanted.services
    )
    return replace(wanted, services=services)


def waiting_for(wanted: DesiredState, silent: Collection[IPAddress]) -> Waiting:
    """Return what :func:`without` leaves out."""
    found = {
        service.endpoint: tuple(b for b in service.backends if _waits(b, silent))
        for service in wanted.services
    }
    return {endpoint: backends for endpoint, backends in found.items() if backends}


def _waits(backend: DesiredBackend, silent: Collection[IPAddress]) -> bool:
    return backend.mac is None and backend.address in silent


def answering(directory: Path, waiting: Waiting) -> set[IPAddress]:
    """Ask for backends that are waited for, without the lock; return those that answer."""
    addresses = {backend.address for backends in waiting.values() for backend in backends}
    network = Network(attached(directory))
    try:
        return {*network.resolve([*addresses])}
    except BackendUnresolvedError as error:
        rest = addresses - error.silent
        return {*network.resolve([*rest])} if error.silent and rest else set()


def add_answering(
    directory: Path, waiting: Waiting, answering_now: Collection[IPAddress]
) -> tuple[Waiting, tuple[Change, ...]]:
    """Add backends that answer to their services, as the file has them.

    A service that was removed by hand meanwhile stays so.

    Returns:
        What is waited for still, and what was done.

    Raises:
        PydsrError: it could not be done.
    """
    left: dict[Endpoint, tuple[DesiredBackend, ...]] = {}
    changes: list[Change] = []
    with Balancer(directory) as balancer:
        for endpoint, backends in waiting.items():
            ready = [one for one in backends if one.address in answering_now]
            rest = tuple(one for one in backends if one.address not in answering_now)
            if ready:
                try:
                    impact = balancer.change(AddMissingBackends(endpoint, ready))
                except InputError:
                    continue
                changes += impact.changes
            if rest:
                left[endpoint] = rest
    return left, tuple(changes)


def described(changes: Collection[Change]) -> list[dict[str, str | int | None]]:
    """Return the first of some changes as JSON has them."""
    return [
        {
            "action": change.action,
            "object": change.object,
            "from": change.before,
            "to": change.after,
        }
        for change in [*changes][:_SHOWN_CHANGES]
    ]


def in_words(changes: Collection[Change]) -> str:
    """Return how much was changed."""
    if not changes:
        return "nothing to change"
    return f"{len(changes)} change{'s' * (len(changes) > 1)}"
