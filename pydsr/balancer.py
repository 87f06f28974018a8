"""What can be done to a balancer and asked of it: read, plan, apply.

Every change holds the lock, and is one map update for the packets that pass meanwhile. The
order of the other writes is such that a process killed between two of them leaves the old or
the new state, and something for the next change to tidy up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pydsr import observation, planner, policies, tidying
from pydsr.acl import Rules
from pydsr.attached import Attached, announce_vips, attached
from pydsr.changes import Change, Impact
from pydsr.errors import InputError
from pydsr.features import Feature, FeatureUse, features_of
from pydsr.fitting import feature_use, fit, follow_interfaces, missing_features
from pydsr.kernel import layout, links
from pydsr.kernel.announce import stop_receiving
from pydsr.kernel.codec import STATE_NUMBERS
from pydsr.kernel.layout import StateNumber
from pydsr.kernel.lock import locked
from pydsr.kernel.state import State, monotonic_nanoseconds
from pydsr.model import (
    Endpoint,
    IPAddress,
    Service,
    ServiceOptions,
    Snapshot,
    Unserved,
)
from pydsr.placement import PlacedBackend, place_backends
from pydsr.planner import DesiredBackend, Edit
from pydsr.table import Table, TableMember, empty_table, following_table

_NANOSECONDS = 1_000_000_000


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

    def close(self) -> None:
        """Close what is open; the data plane goes on."""
        self._state.close()

    def __enter__(self) -> Balancer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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
        """Return all counters of this moment."""
        interfaces = tuple((one.name, one.mode) for one in self.interfaces())
        return observation.take_snapshot(self._state, interfaces)

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
    ) -> observation.Explanation:
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
        ifindex = self._attached_index(ingress) if ingress else 0
        return observation.explain(self._state, endpoint, source, source_port, syn, ifindex)

    def _attached_index(self, name: str) -> int:
        by_name = {one.name: one.ifindex for one in self.interfaces()}
        if name not in by_name:
            raise InputError(
                f"pydsr is not attached to {name}", "attached: " + (", ".join(by_name) or "none")
            )
        return by_name[name]

    # -- changing services

    def add_service(
        self, endpoint: Endpoint, options: ServiceOptions, plan_only: bool = False
    ) -> Impact:
        """Create a service without backends.

        Raises:
            InputError: it exists, or its VIP is a backend's address.
        """
        with self._change(plan_only):
            if self._state.service(endpoint) is not None:
                raise InputError(
                    f"the service {endpoint} exists",
                    f"to change its options, remove it first: pydsr services remove {endpoint}",
                )
            self._check_vip(endpoint)
            if options.max_new_flows and not endpoint.protocol.tells_new_flows:
                raise InputError(
                    f"new flows of {endpoint} cannot be limited: a datagram does not say that it "
                    "opens one",
                    "leave --max-new-flows out, or limit sources with pydsr acl",
                )
            service = Service(-1, endpoint, options, table_size=self._state.table_size)
            missing_features(self._state, features_of(service))
            if not plan_only:
                fit(self._state, self.directory, features_of(service))
                self._create(service, empty_table(self._state.table_size))
        change = Change("add service", str(endpoint), None, options.name or str(endpoint))
        return Impact((change,), 0, self._state.table_size)

    def remove_service(self, endpoint: Endpoint, plan_only: bool = False) -> Impact:
        """Delete a service with its backends.

        Raises:
            InputError: there is none at that endpoint.
        """
        with self._change(plan_only):
            service = self.service(endpoint)
            if not plan_only:
                self._state.delete_service(endpoint)
                self._state.write_index(self.services())
                self._state.delete_table(service.id)
                policies.forget_removed(self._state)
                for backend in service.backends:
                    self._state.write_backend_state(backend.id, StateNumber.RETIRED)
                self._stop_receiving(endpoint.address)
        size = self._state.table_size
        removed = [
            Change("remove backend", f"{endpoint} {b.address}", f"weight {b.weight}")
            for b in service.backends
        ]
        change = Change("remove service", str(endpoint), service.options.name or str(endpoint))
        return Impact((change, *removed), sum(b.slots for b in service.backends), size)

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
        with self._change(plan_only):
            present = self._state.service(endpoint)
            if present is None and not create:
                present = self.service(endpoint)
            is_new = present is None
            service = present or Service(
                -1, endpoint, ServiceOptions(), table_size=self._state.table_size
            )
            if is_new:
                self._check_vip(endpoint)
            desired = edit(service)
            self._check_backends(service, desired)
            placed = place_backends(service, desired, self.interfaces())
            used = features_of(service)
            if any(one.place.tags for one in placed):
                used |= Feature.VLAN
            missing_features(self._state, used)
            before = empty_table(self._state.table_size) if is_new else self._table(service)
            ids = self._assign_ids(service, desired)
            after = self._following(service, before, desired, ids)
            changes = planner.backend_changes(service, desired, [one.place for one in placed])
            if is_new:
                changes = (Change("add service", str(endpoint), None, str(endpoint)), *changes)
            impact = Impact(
                changes,
                planner.slots_moved(before, after),
                after.size,
                self._flows_moved(service, after),
            )
            if not plan_only and changes:
                fit(self._state, self.directory, used)
                self._apply(service, is_new, placed, ids, after)
        return impact

    def _table(self, service: Service) -> Table:
        return self._state.read_table(service.id) or empty_table(self._state.table_size)

    def _flows_moved(self, service: Service, after: Table) -> int:
        if not service.slots_changing:
            return 0
        keeping = {member.id for member in after.members if member.keeps_flows}
        losing = {backend.id for backend in service.backends} - keeping
        return observation.count_recorded(self._state, service, losing)

    def _following(
        self,
        service: Service,
        before: Table,
        desired: Sequence[DesiredBackend],
        ids: dict[IPAddress, int],
    ) -> Table:
        members = tuple(
            TableMember(
                ids[item.address], layout.pack_address(item.address), item.weight, item.state
            )
            for item in desired
        )
        return following_table(
            before,
            members,
            monotonic_nanoseconds(),
            service.learn_seconds * _NANOSECONDS,
            keeps_connections=not service.options.one_packet,
        )

    def _apply(
        self,
        service: Service,
        is_new: bool,
        placed: Sequence[PlacedBackend],
        ids: dict[IPAddress, int],
        table: Table,
    ) -> None:
        state = self._state
        service_id = self._new_service_id() if is_new else service.id
        service = replace(service, id=service_id)
        for one in placed:
            backend_id = ids[one.desired.address]
            known = service.backend(one.desired.address)
            if known is None:
                state.write_backend(
                    backend_id,
                    service_id,
                    one.desired.address,
                    STATE_NUMBERS[one.desired.state],
                )
            if known is None or (known.place, known.mac_by_hand) != (one.place, one.by_hand):
                state.write_backend_place(backend_id, one.place, by_hand=one.by_hand)
        if is_new:
            self._create(service, table)
        else:
            state.write_table(service_id, table)
        self._write_backend_states(service, table)

    def _write_backend_states(self, service: Service, table: Table) -> None:
        """Let flow records follow: only now, since the slots have new owners by then."""
        for member in table.members:
            self._state.write_backend_state(member.id, STATE_NUMBERS[member.state])
        staying = {member.id for member in table.members}
        for backend in service.backends:
            if backend.id not in staying:
                self._state.write_backend_state(backend.id, StateNumber.RETIRED)

    def _create(self, service: Service, table: Table) -> None:
        """Bring a new service to life, its last step first seen by packets."""
        if service.id < 0:
            service = replace(service, id=self._new_service_id())
        self._state.write_table(service.id, table)
        self._state.write_service(service)
        self._state.write_index(self.services())
        if service.options.arp:
            interfaces = [links.find_interface(one.name) for one in self.interfaces()]
            announce_vips(interfaces, [service.endpoint.address])

    def _new_service_id(self) -> int:
        service_id = self._state.free_service_id()
        if service_id is None:
            raise InputError(
                f"there are {layout.SERVICES_MAX} services, and no more fit",
                "remove one, or run another balancer with --bpffs",
            )
        return service_id

    def _stop_receiving(self, vip: IPAddress) -> None:
        left = [service.endpoint.address for service in self.services()]
        for one in self.interfaces():
            stop_receiving(links.find_interface(one.name), [vip], left)

    # -- who may send, and to what

    def rules(self) -> dict[Endpoint | None, Rules]:
        """Return the source rules by scope; None is that of all services."""
        return policies.list_rules(self._state)

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
                policies.change_rules(self._state, self.directory, service, edit, plan_only)
            )

    def vips(self) -> list[policies.Vip]:
        """Return every VIP with its policy."""
        return policies.list_vips(self._state)

    def set_policy(self, vip: IPAddress, unserved: Unserved, plan_only: bool = False) -> Impact:
        """Say what becomes of a VIP's ports that no service has.

        Raises:
            InputError: no service has that VIP.
        """
        with self._change(plan_only):
            return Impact(policies.set_policy(self._state, vip, unserved, plan_only))

    # -- what must hold

    def _check_vip(self, endpoint: Endpoint) -> None:
        if endpoint.address in links.local_addresses():
            raise InputError(
                f"the VIP {endpoint.address} is an address of this machine",
                "all its other ports would be cut off: take it off here (ip address del) and have "
                "it on the loopback of the backends; the balancer answers for it all the same",
            )
        for service in self.services():
            if service.backend(endpoint.address) is not None:
                raise InputError(
                    f"{endpoint.address} is a backend's address (of {service.endpoint})",
                    "a VIP is an address of its own, on the loopback of every backend",
                )

    def _check_backends(self, service: Service, desired: Sequence[DesiredBackend]) -> None:
        room = layout.members_max(self._state.table_size)
        if len(desired) > room:
            raise InputError(
                f"{len(desired)} backends do not fit {service.endpoint}: tables of "
                f"{self._state.table_size} slots hold {room}",
                "attach with a larger --table-size",
            )
        vips = {other.endpoint.address for other in self.services()}
        for item in desired:
            if item.address in vips:
                raise InputError(
                    f"backend {item.address} is a VIP of this balancer",
                    "name the backend by an address of its own",
                )

    def _assign_ids(
        self, service: Service, desired: Sequence[DesiredBackend]
    ) -> dict[IPAddress, int]:
        ids = {backend.address: backend.id for backend in service.backends}
        new = [item.address for item in desired if item.address not in ids]
        if new:
            free = self._state.backend_ids(StateNumber.FREE)
            if len(free) < len(new):
                raise InputError(
                    f"{len(new)} more backends do not fit: {layout.BACKENDS_MAX - 1} is all "
                    "of all services together",
                    "run another balancer with --bpffs",
                )
            ids.update(zip(new, free, strict=False))
        return ids

    # -- one change at a time

    @contextmanager
    def _change(self, plan_only: bool) -> Iterator[None]:
        with locked(self.directory):
            if plan_only:
                yield
                return
            follow_interfaces(self._state, self.directory)
            with self._state.changing() as interrupted:
                tidying.tidy(self._state, interrupted)
                yield

    def tidy(self) -> tidying.Tidied:
        """Bring to rest the slots whose flows have all ended or are where new ones go.

        Every change begins with this.
        """
        with locked(self.directory):
            follow_interfaces(self._state, self.directory)
            with self._state.changing() as interrupted:
                return tidying.tidy(self._state, interrupted)
