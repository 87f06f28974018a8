"""What can be done to a balancer and asked of it: read, plan, apply.

Every change holds the lock, and is one map update for the packets that pass meanwhile. The
order of the other writes is such that a process killed between two of them leaves the old or
the new state, and something for the next change to tidy up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydsr.control import edits as planner
from pydsr.control import garbage_collection, vip_policies
from pydsr.control import snapshot as observation
from pydsr.control.attached_interfaces import Attached, AttachedInterfaces, attached
from pydsr.control.commit import Plan, carry_out
from pydsr.control.plan import Revision, Target, plan_revisions, refuse_local_vips
from pydsr.control.program_upgrade import feature_use, follow_interfaces, missing_features
from pydsr.control.resolve import Network
from pydsr.control.trace import Explainer, Explanation, find_ingress
from pydsr.kernel.bpf.lock import locked, not_attached
from pydsr.kernel.bpf.store import State
from pydsr.model.addresses import Endpoint, IPAddress
from pydsr.model.change import Impact
from pydsr.model.desired import Edit, check_options, removal_changes
from pydsr.model.errors import InputError
from pydsr.model.features import FeatureUse
from pydsr.model.options import ServiceOptions
from pydsr.model.service import Service, Unserved
from pydsr.model.snapshot import Snapshot
from pydsr.model.source_rules import Rules

_TIDY_SECONDS = 1.0
"""How often changes of several services tidy up all: when a host dies, dozens of them follow."""


class Balancer:
    """A client of the pinned maps in one directory.

    Raises:
        NotAttachedError: there is no balancer's state there.
        EnvironmentCannotError: it is of another version of pydsr.
        PermissionDeniedError: not privileged.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._state = State(directory)
        self._interfaces = AttachedInterfaces(directory)
        self._tidy_due = 0.0

    def close(self) -> None:
        """Close what is open; the data plane goes on."""
        self._state.close()

    def __enter__(self) -> Balancer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def follow_pins(self) -> None:
        """Turn to what is pinned now, where it was purged and attached anew since it was opened.

        Raises:
            NotAttachedError: it was purged.
        """
        if not self._state.is_current():
            state = State(self.directory)
            self._state.close()
            self._state = state
            self._tidy_due = 0.0

    # -- asking

    def services(self) -> tuple[Service, ...]:
        """Return every service with its backends."""
        return self._state.services()

    def service(self, endpoint: Endpoint) -> Service:
        """Return one service.

        Raises:
            InputError: there is none at that endpoint.
        """
        service = self._state.service(endpoint)
        if service is None:
            raise InputError(
                f"there is no service {endpoint}", "pydsr services list shows those there are"
            )
        return service

    def interfaces(self) -> list[Attached]:
        """Return the interfaces the balancer is attached to."""
        return attached(self.directory)

    def features(self) -> FeatureUse:
        """Return the features of the loaded program, and which of them nothing uses."""
        return feature_use(self._state, {one.ifindex for one in self.interfaces()})

    def snapshot(self) -> Snapshot:
        """Return all counters of this moment; to be asked for again and again.

        What is pinned then is read, also where it was purged and attached anew since.

        Raises:
            NotAttachedError: it was purged.
        """
        self.follow_pins()
        try:
            return observation.take_snapshot(self._state, self._interfaces.read())
        except FileNotFoundError:
            if self._state.is_current():
                raise
            # It is purged in this very moment.
            raise not_attached(self.directory) from None

    def remaining_flows(
        self, endpoint: Endpoint, addresses: Sequence[IPAddress]
    ) -> observation.RemainingFlows:
        """Return what keeps drained backends from being removed without harm.

        Raises:
            InputError: no such service or backend.
        """
        service = self.service(endpoint)
        ids = {backend.id for backend in planner.present_backends(service, addresses)}
        return observation.count_remaining(self._state, service, ids)

    def explain(
        self,
        endpoint: Endpoint,
        source: IPAddress,
        source_port: int,
        syn: bool = False,
        ingress: str | None = None,
    ) -> Explanation:
        """Ask the loaded program where a packet would go; nothing is counted or recorded.

        Args:
            endpoint: where it is sent.
            source: the client's address.
            source_port: the client's port.
            syn: whether it opens a connection.
            ingress: the interface it comes in by; None for that of its backend.

        Raises:
            InputError: the source is of the other IP version than the endpoint; the interface
                is not attached.
        """
        here = self.interfaces()
        by = find_ingress(here, ingress) if ingress else None
        with Explainer(self._state, here) as explainer:
            return explainer.explain_flow(endpoint, source, source_port, syn, by)

    @contextmanager
    def explainer(self) -> Iterator[Explainer]:
        """Have what asks the loaded program about whole frames."""
        with Explainer(self._state, self.interfaces()) as explainer:
            yield explainer

    # -- changing services

    def add_service(
        self, endpoint: Endpoint, options: ServiceOptions, plan_only: bool = False
    ) -> Impact:
        """Create a service without backends.

        Raises:
            InputError: it exists, or its VIP is a backend's address.
        """
        with self._change(plan_only) as network:
            if endpoint in self._state.endpoints():
                raise InputError(
                    f"the service {endpoint} exists",
                    "to change its options, edit a file of pydsr export and apply it; or remove it "
                    f"first: pydsr services remove {endpoint}",
                )
            self._check_vip(endpoint)
            check_options(endpoint, options)
            target = Target(None, Service(-1, endpoint, options), ())
            return self._revise_one(target, network, plan_only)

    def remove_service(self, endpoint: Endpoint, plan_only: bool = False) -> Impact:
        """Delete a service with its backends.

        Raises:
            InputError: there is none at that endpoint.
        """
        with self._change(plan_only):
            service = self.service(endpoint)
            if not plan_only:
                carry_out(self._state, self.directory, Plan(removed=[service]))
        slots_moved = sum(backend.slots for backend in service.backends)
        return Impact(removal_changes(service), slots_moved, service.table_size)

    # -- changing backends

    def change_backends(
        self,
        endpoint: Endpoint,
        edit: Edit,
        plan_only: bool = False,
        create: bool = False,
    ) -> Impact:
        """Change the backends of a service in one step.

        Args:
            endpoint: the service.
            edit: from the service to the backends it is to have (see planner).
            plan_only: say what would change, and change nothing.
            create: make the service, with default options, where there is none.

        Raises:
            InputError: no such service, or backends that cannot be.
            BackendUnresolvedError: a backend's MAC cannot be found.
        """
        with self._change(plan_only) as network:
            present = self._state.service(endpoint)
            if present is None and not create:
                present = self.service(endpoint)
            if present is None:
                self._check_vip(endpoint)
            service = present or Service(-1, endpoint, ServiceOptions())
            return self._revise_one(Target(present, service, edit(service)), network, plan_only)

    def change_several(self, edits: Mapping[Endpoint, Edit]) -> list[Service]:
        """Change the backends of several services under one lock; those not there are left out.

        What it means for traffic is not said: to count the slots that move takes as long as to
        make the tables.

        Returns:
            The services as they were before.

        Raises:
            InputError: backends that cannot be.
            BackendUnresolvedError: a backend's MAC cannot be found.
        """
        with self._change(plan_only=False, changed=edits) as network:
            services = self._state.services()
            before = [service for service in services if service.endpoint in edits]
            targets = [
                Target(service, service, edits[service.endpoint](service)) for service in before
            ]
            vips = {service.endpoint.address for service in services}
            self._revise(targets, network, vips, plan_only=False, counts_moves=False)
        return before

    def _revise(
        self,
        targets: Sequence[Target],
        network: Network,
        vips: Collection[IPAddress],
        plan_only: bool,
        *,
        counts_moves: bool = True,
    ) -> list[Revision]:
        revisions = plan_revisions(self._state, targets, network, vips, counts_moves=counts_moves)
        plan = Plan([one for one in revisions if one.changes])
        missing_features(self._state, plan.features)
        if not plan_only and plan.revisions:
            carry_out(self._state, self.directory, plan)
        return revisions

    def _revise_one(self, target: Target, network: Network, plan_only: bool) -> Impact:
        vips = {endpoint.address for endpoint in self._state.endpoints()}
        (revision,) = self._revise([target], network, vips, plan_only)
        return Impact(
            revision.changes, revision.slots_moved, self._state.table_size, revision.flows_moved
        )

    # -- who may send, and to what

    def rules(self) -> dict[Endpoint | None, Rules]:
        """Return the source rules by scope; None is that of all services."""
        return vip_policies.list_rules(self._state)

    def change_rules(
        self, scope: Endpoint | None, edit: Callable[[Rules], Rules], plan_only: bool = False
    ) -> Impact:
        """Change the source rules of a service, or of all where the scope is None.

        Raises:
            InputError: no such service, or what the edit raises.
        """
        with self._change(plan_only):
            service = self.service(scope) if scope else None
            return Impact(
                vip_policies.change_rules(self._state, self.directory, service, edit, plan_only)
            )

    def vips(self) -> list[vip_policies.Vip]:
        """Return every VIP with its policy."""
        return vip_policies.list_vips(self._state)

    def set_policy(self, vip: IPAddress, unserved: Unserved, plan_only: bool = False) -> Impact:
        """Say what becomes of a VIP's ports that no service has.

        Raises:
            InputError: no service has that VIP.
        """
        with self._change(plan_only):
            return Impact(vip_policies.set_policy(self._state, vip, unserved, plan_only))

    # -- what must hold

    def _check_vip(self, endpoint: Endpoint) -> None:
        refuse_local_vips([endpoint])
        service_id = self._state.service_of_backend(endpoint.address)
        for service in self._state.configs():
            if service.id == service_id:
                raise InputError(
                    f"{endpoint.address} is a backend's address (of {service.endpoint})",
                    "a VIP is an address of its own, on the loopback of every backend",
                )

    # -- one change at a time

    @contextmanager
    def _change(
        self, plan_only: bool, changed: Collection[Endpoint] | None = None
    ) -> Iterator[Network]:
        """Hold the lock, and yield the network that the balancer is on meanwhile.

        Args:
            plan_only: nothing is changed.
            changed: the services that are; None has all tidied up.
        """
        with locked(self.directory):
            if plan_only:
                yield Network(self.interfaces())
                return
            self.follow_pins()
            found = follow_interfaces(self._state, self.directory)
            with self._state.changing() as interrupted:
                self._tidy_up(interrupted, changed)
                yield Network(found.attached, found.interfaces)

    def _tidy_up(self, interrupted: bool, changed: Collection[Endpoint] | None) -> None:
        now = time.monotonic()
        if interrupted or changed is None or now >= self._tidy_due:
            garbage_collection.tidy(self._state, interrupted)
            self._tidy_due = now + _TIDY_SECONDS
        else:
            garbage_collection.tidy_services(self._state, changed)

    def tidy(self, plan_only: bool = False) -> garbage_collection.Tidied:
        """Bring to rest the slots whose flows have all ended or are where new ones go.

        Every change begins with this, for the services that it is of at least.

        Args:
            plan_only: change nothing; say what would be.
        """
        with locked(self.directory):
            if plan_only:
                return garbage_collection.tidy(self._state, interrupted=False, plan_only=True)
            follow_interfaces(self._state, self.directory)
            with self._state.changing() as interrupted:
                return garbage_collection.tidy(self._state, interrupted)
