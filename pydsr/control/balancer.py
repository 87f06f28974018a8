"""The use cases of one balancer: read it, and change it by edits."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydsr.control import snapshot as snapshots
from pydsr.control.attached_interfaces import Attached, AttachedInterfaces, attached
from pydsr.control.commit import commit, flows_moved, slots_moved
from pydsr.control.edits import (
    BackendEdit,
    Edit,
    RemoveRules,
    SetRules,
    SetVipPolicy,
    find_backends,
)
from pydsr.control.garbage_collection import Collected, collect_all
from pydsr.control.plan import find_service, live_rules, plan_backend_edits, plan_edit
from pydsr.control.program_upgrade import feature_use
from pydsr.control.trace import Tracer
from pydsr.control.transaction import transaction
from pydsr.kernel.bpf.live_state import LiveState
from pydsr.kernel.bpf.lock import not_attached
from pydsr.model.addresses import Endpoint, IPAddress
from pydsr.model.change import Impact
from pydsr.model.errors import PydsrError
from pydsr.model.features import FeatureUse
from pydsr.model.service import Service, Unserved
from pydsr.model.snapshot import Snapshot
from pydsr.model.source_rules import Rules

_COLLECT_SECONDS = 1.0
"""How often changes of several services collect all garbage: a dead host causes dozens of them."""


@dataclass(frozen=True)
class Vip:
    """A virtual IP, and what happens to packets for its ports without a service."""

    address: IPAddress
    unserved: Unserved
    services: tuple[Endpoint, ...]


class Balancer:
    """An open balancer: a client of the pinned maps in one directory.

    Raises:
        NotAttachedError: nothing is pinned there.
        EnvironmentCannotError: the pins are of another version of pydsr.
        PermissionDeniedError: not privileged.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._state = LiveState(directory)
        self._interfaces = AttachedInterfaces(directory)
        self._collect_due = 0.0

    def close(self) -> None:
        """Close the maps; the data plane continues."""
        self._state.close()

    def __enter__(self) -> Balancer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def follow_pins(self) -> None:
        """Open the maps that are pinned now; raises NotAttachedError if there are none."""
        self._state.follow_pins()

    # -- reading

    def services(self) -> tuple[Service, ...]:
        """Return every service with its backends."""
        return self._state.services.all()

    def service(self, endpoint: Endpoint) -> Service:
        """Return one service.

        Raises:
            InputError: there is none at that endpoint.
        """
        return find_service(self._state, endpoint)

    def rules(self) -> dict[Endpoint | None, Rules]:
        """Return the source rules by scope; None is the scope of all services."""
        return live_rules(self._state)

    def vips(self) -> list[Vip]:
        """Return every VIP that has a service."""
        services: dict[IPAddress, list[Endpoint]] = {}
        for service in self._state.services.configs():
            services.setdefault(service.endpoint.address, []).append(service.endpoint)
        policies = self._state.vip_policies.read()
        return [
            Vip(address, policies.get(address, Unserved.COUNT), tuple(endpoints))
            for address, endpoints in services.items()
        ]

    def interfaces(self) -> list[Attached]:
        """Return the interfaces the balancer is attached to."""
        return attached(self.directory)

    def features(self) -> FeatureUse:
        """Return the features of the loaded program, and which of them nothing uses."""
        return feature_use(self._state, {interface.ifindex for interface in self.interfaces()})

    def snapshot(self) -> Snapshot:
        """Return all counters of this moment, fast enough to be called every second.

        If the balancer was purged and attached again, the new pins are opened.

        Raises:
            NotAttachedError: it was purged.
        """
        self.follow_pins()
        try:
            return snapshots.take_snapshot(self._state, self._interfaces.read())
        except FileNotFoundError:
            if self._state.is_current():
                raise
            # A purge is under way.
            raise not_attached(self.directory) from None

    def remaining_flows(
        self, endpoint: Endpoint, addresses: Sequence[IPAddress]
    ) -> snapshots.RemainingFlows:
        """Return the flows that drained backends still have.

        Raises:
            InputError: no such service or backend.
        """
        service = self.service(endpoint)
        ids = {backend.id for backend in find_backends(service, addresses)}
        return snapshots.count_remaining(self._state, service, ids)

    def wait_until_drained(
        self, endpoint: Endpoint, addresses: Sequence[IPAddress], timeout: float | None, poll: float
    ) -> Iterator[snapshots.RemainingFlows]:
        """Wait until drained backends have no flows left, and yield the flows when they change.

        Args:
            endpoint: of the service.
            addresses: of the backends.
            timeout: seconds to wait; None waits forever.
            poll: seconds between two readings.

        Raises:
            InputError: no such service or backend.
            PydsrError: there are still flows after the timeout.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        recorded = None
        while not (left := self.remaining_flows(endpoint, addresses)).is_none:
            if left.recorded != recorded:
                yield left
                recorded = left.recorded
            if deadline is not None and time.monotonic() > deadline:
                raise PydsrError(
                    f"the backends still have flows, or may have some, after {timeout:g} s",
                    "they stay drained: wait again, or remove them and break these flows",
                )
            time.sleep(poll)
        self.collect_garbage()

    def tracer(self) -> Tracer:
        """Return a tracer of packets through the loaded program, to use with ``with``.

        Raises:
            EnvironmentCannotError: the program for traces cannot be compiled or loaded.
        """
        return Tracer(self._state, self.interfaces())

    # -- changing

    def change(self, edit: Edit, plan_only: bool = False) -> Impact:
        """Plan an edit, and commit it unless ``plan_only``.

        Raises:
            InputError: the edit makes no sense here.
            BackendUnresolvedError: a backend's MAC cannot be found.
        """
        state = self._state
        with transaction(self.directory, state, plan_only=plan_only) as change:
            plan = plan_edit(state, edit, change.network)
            flows = flows_moved(state, plan)
            moved = slots_moved(state, plan) if plan_only else commit(state, plan)
        if isinstance(edit, SetRules | RemoveRules | SetVipPolicy):
            return Impact(plan.changes)
        slots = sum(moved.values())
        return Impact(plan.changes, slots, state.settings.table_size, flows)

    def change_several(self, edits: Sequence[BackendEdit]) -> list[Service]:
        """Commit edits of several services at once; services that do not exist are left out.

        Returns:
            Those services as they were before.

        Raises:
            InputError: backends are invalid.
            BackendUnresolvedError: a backend's MAC cannot be found.
        """
        state, now = self._state, time.monotonic()
        collects_all = now >= self._collect_due
        collect = None if collects_all else [edit.endpoint for edit in edits]
        with transaction(self.directory, state, collect=collect) as change:
            if collects_all:
                self._collect_due = now + _COLLECT_SECONDS
            live = {service.endpoint: service for service in state.services.all()}
            commit(state, plan_backend_edits(state, live, edits, change.network))
        return [live[edit.endpoint] for edit in edits if edit.endpoint in live]

    def collect_garbage(self, plan_only: bool = False) -> Collected:
        """Bring slots to rest whose flows have ended; every change does this first."""
        with transaction(self.directory, self._state, plan_only=plan_only) as change:
            return collect_all(self._state, plan_only=True) if plan_only else change.collected
