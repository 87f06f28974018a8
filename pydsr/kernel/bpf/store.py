"""The balancer's state in its pinned maps, as values of the model.

Reading copies out of the maps; each ``write`` is one step for the packets that pass meanwhile.
"""

from __future__ import annotations

import ctypes
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from ctypes import c_uint32
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from pydsr.hashing.service_index import ENTRY_BYTES, place_entries, vip_words
from pydsr.hashing.table import Table, TableMember
from pydsr.kernel.bpf import layout, libbpf
from pydsr.kernel.bpf import source_rules as rule_maps
from pydsr.kernel.bpf.backends import BackendEntries, BackendEntry, NewBackend
from pydsr.kernel.bpf.bpffs import check_name
from pydsr.kernel.bpf.codec import (
    STATES,
    pack_config,
    pack_endpoint,
    pack_index,
    unpack_endpoint,
    unpack_options,
    unpack_tags,
)
from pydsr.kernel.bpf.layout import StateNumber
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.kernel.bpf.lock import not_attached, not_permitted
from pydsr.kernel.bpf.maps import HashMap, MapSpec, Pins, create_index_map, map_specs, read_all
from pydsr.kernel.bpf.maps import mismatch as map_mismatch
from pydsr.kernel.bpf.percpu import PerCpuArray
from pydsr.kernel.bpf.record_count import RecordCount
from pydsr.kernel.bpf.service_cache import RememberedServices
from pydsr.kernel.bpf.tables import TableHead, Tables
from pydsr.model.addresses import Endpoint, IPAddress, MacAddress, Place
from pydsr.model.errors import EnvironmentCannotError
from pydsr.model.features import Feature, Features
from pydsr.model.flow_records import FlowRecord
from pydsr.model.service import Backend, Service, Unserved
from pydsr.model.snapshot import Counters
from pydsr.model.source_rules import Rules

# struct record, and the service within struct flow_key: unpacked by the hundred thousand.
_RECORD = struct.Struct("=QIHH")
_FLOW_SERVICE = struct.Struct("=I")


@dataclass(frozen=True)
class ServiceHead:
    """A service without what its table says, and the head of that.

    Both are read at once, where backends as values of the model cost time for each.
    """

    service: Service
    table: TableHead


@dataclass(frozen=True)
class Settings:
    """What the pins were made for; ``seed`` is the 64-bit key of the hash."""

    table_size: int
    seed: int


def monotonic_nanoseconds() -> int:
    """Return the clock that the program compares with."""
    return time.monotonic_ns()


class State:
    """An open directory of pins.

    Raises:
        NotAttachedError: it holds no balancer's state.
        EnvironmentCannotError: it is of a version of pydsr with another layout.
        PermissionDeniedError: not privileged.
    """

    def __init__(self, directory: Path) -> None:
        check_name(directory)
        self.pins = Pins(directory)
        self._opened = self._identity()
        self.settings = self._read_settings()
        self.table_size = self.settings.table_size
        self._services = HashMap(self.pins["services"], layout.ServiceKey, layout.ServiceConfig)
        self._tables = Tables(self.pins["tables"], self.table_size)
        self._backends: BackendEntries | None = None
        self._remembered: RememberedServices | None = None
        self._record_counts: dict[str, RecordCount] = {}
        self._configs: tuple[list[tuple[bytes, bytes]], tuple[Service, ...]] = [], ()

    def _read_settings(self) -> Settings:
        directory = self.pins.directory
        value = layout.SettingsValue()
        try:
            libbpf.map_lookup(self.pins["settings"], c_uint32(0), value)
        except FileNotFoundError:
            raise not_attached(directory) from None
        except PermissionError:
            raise not_permitted(directory) from None
        if value.layout_version != layout.LAYOUT_VERSION:
            raise EnvironmentCannotError(
                f"the state in {directory} has layout {value.layout_version}, "
                f"this pydsr has layout {layout.LAYOUT_VERSION}",
                "use the version of pydsr that attached it, or start anew: "
                "pydsr detach --all --purge, then pydsr attach",
            )
        for spec in map_specs():
            self._check_map(spec)
        return Settings(value.table_size, value.seed)

    def _check_map(self, spec: MapSpec) -> None:
        try:
            wrong = map_mismatch(spec, self.pins[spec.name])
        except FileNotFoundError:
            wrong = f"{spec.name} is missing"
        if wrong:
            raise EnvironmentCannotError(
                f"the state in {self.pins.directory} is damaged: {wrong}",
                "pydsr detach --all --purge, then pydsr attach",
            )

    def _identity(self) -> tuple[int, int] | None:
        """Return what tells these pins from others at the same place; None where there are none."""
        try:
            found = self.pins.path("settings").stat()
        except (FileNotFoundError, PermissionError):
            return None
        return found.st_dev, found.st_ino

    def is_current(self) -> bool:
        """Return whether what is open is still what is pinned."""
        return self._opened == self._identity()

    def close(self) -> None:
        """Close every descriptor."""
        if self._backends is not None:
            self._backends.close()
            self._backends = None
        self._remembered = None
        self._record_counts.clear()
        self.pins.close()

    # -- the mark of a change under way

    @contextmanager
    def changing(self) -> Iterator[bool]:
        """Mark a change while it is made; yields whether an earlier one did not end."""
        interrupted = self._set_changing(1)
        yield interrupted
        self._set_changing(0)

    def _set_changing(self, changing: int) -> bool:
        value = layout.SettingsValue()
        libbpf.map_lookup(self.pins["settings"], c_uint32(0), value)
        before, value.changing = bool(value.changing), changing
        libbpf.map_update(self.pins["settings"], c_uint32(0), value)
        return before

    # -- features

    def features(self) -> Features:
        """Return which parts the loaded program has, and which attach was told of."""
        value = layout.SettingsValue()
        libbpf.map_lookup(self.pins["settings"], c_uint32(0), value)
        return Features(
            Feature(value.features),
            Feature(value.features_with),
            Feature(value.features_without),
        )

    def write_features(self, features: Features) -> None:
        """Say which parts the loaded program has."""
        value = layout.SettingsValue()
        libbpf.map_lookup(self.pins["settings"], c_uint32(0), value)
        value.features = features.compiled
        value.features_with = features.asked
        value.features_without = features.refused
        libbpf.map_update(self.pins["settings"], c_uint32(0), value)

    # -- source rules, and policies of VIPs

    def rules(self) -> dict[int | None, Rules]:
        """Return the source rules of each scope: a service's id, or None for all services."""
        return dict(rule_maps.read_rules(self.pins))

    def write_rules(self, scoped: rule_maps.ScopedRules) -> None:
        """Replace all source rules by one map update.

        Packets of a scope that had none before meet them when the index is written.
        """
        rule_maps.write_rules(self.pins, scoped)

    def policies(self) -> dict[IPAddress, Unserved]:
        """Return the policies of those VIPs that have another than the default."""
        return rule_maps.read_policies(self.pins)

    def write_policy(self, vip: IPAddress, policy: Unserved) -> None:
        """Set the policy of a VIP; packets follow it when the index is written."""
        rule_maps.write_policy(self.pins, vip, policy)

    # -- tapped packets

    def is_tapped(self) -> bool:
        """Return whether the program looks for one that taps packets."""
        tapped = c_uint32()
        libbpf.map_lookup(self.pins["tap"], c_uint32(0), tapped)
        return bool(tapped.value)

    def write_tapped(self, tapped: bool) -> None:
        """Say whether the program looks for one that taps packets."""
        libbpf.map_update(self.pins["tap"], c_uint32(0), c_uint32(tapped))

    # -- services

    def endpoints(self) -> set[Endpoint]:
        """Return the endpoints of all services."""
        return {unpack_endpoint(key) for key in self._services.all_keys()}

    def configs(self) -> tuple[Service, ...]:
        """Return every service without its backends, in the order of the endpoints."""
        read = [*read_all(self.pins["services"], layout.ServiceKey, layout.ServiceConfig)]
        before, configs = self._configs
        if read != before:
            found = (
                self._config(
                    layout.ServiceKey.from_buffer_copy(key),
                    layout.ServiceConfig.from_buffer_copy(value),
                )
                for key, value in read
            )
            configs = tuple(sorted(found, key=lambda service: service.endpoint.order))
            self._configs = read, configs
        return configs

    def _config(self, key: layout.ServiceKey, value: layout.ServiceConfig) -> Service:
        endpoint = unpack_endpoint(key)
        options = unpack_options(value, endpoint.protocol)
        return Service(value.id, endpoint, options, table_size=self.table_size)

    def heads(self) -> tuple[ServiceHead, ...]:
        """Return every service with the head of its table, in the order of the endpoints."""
        return tuple(map(self._head, self.configs()))

    def _head(self, config: Service) -> ServiceHead:
        return ServiceHead(config, self._tables.head(config.id))

    def services(self) -> tuple[Service, ...]:
        """Return every service with its backends, in the order of the endpoints.

        Those that have not changed are the same objects as before.
        """
        return self._remembering().read()

    def _remembering(self) -> RememberedServices:
        if self._remembered is None:
            self._remembered = RememberedServices(
                self.pins["services"], self._tables, self._entries(), self._make
            )
        return self._remembered

    def _make(
        self, key: layout.ServiceKey, value: layout.ServiceConfig, head: TableHead
    ) -> Service:
        return self.whole(ServiceHead(self._config(key, value), head))

    def counted_services(self) -> tuple[tuple[Service, ...], dict[int, Counters]]:
        """Return every service, and the totals of its backends by id, of one moment.

        An id that is given to another backend meanwhile would have that one's counters, so what a
        change has gone through is read again.
        """
        while True:
            services = self.services()
            counters = self.counters(services)
            if self._remembering().still_holds():
                return services, counters

    def service(self, endpoint: Endpoint) -> Service | None:
        """Return one service with its backends."""
        head = self.head(endpoint)
        return None if head is None else self.whole(head)

    def head(self, endpoint: Endpoint) -> ServiceHead | None:
        """Return one service with the head of its table."""
        key = pack_endpoint(endpoint)
        value = self._services.get(key)
        return None if value is None else self._head(self._config(key, value))

    def whole(self, head: ServiceHead) -> Service:
        """Return a service with its backends."""
        return replace(
            head.service,
            backends=tuple(self._backend(*row) for row in head.table.rows()),
            slots_changing=head.table.tracked_slots,
            learn_until=head.table.learn_until,
        )

    def _backend(self, weight: int, slots: int, backend_id: int, state: int) -> Backend:
        entry = self.read_backend(backend_id)
        mac = MacAddress(entry.mac)
        return Backend(
            id=backend_id,
            address=layout.unpack_address(entry.address),
            weight=weight,
            mac=mac if mac.is_unicast else None,
            mac_by_hand=bool(entry.mac_by_hand),
            state=STATES[StateNumber(state)],
            ifindex=entry.ifindex,
            slots=slots,
            tags=unpack_tags(entry.tags),
        )

    def write_service(self, service: Service) -> None:
        """Create or replace a service; its table must be there before.

        Packets find it by the index, which is written after it.
        """
        libbpf.map_update(
            self.pins["services"], pack_endpoint(service.endpoint), pack_config(service)
        )

    def delete_service(self, endpoint: Endpoint) -> None:
        """Delete a service; packets find it until the index is written."""
        self._services.delete(pack_endpoint(endpoint))

    def free_service_ids(self, number: int) -> list[int]:
        """Return ids that no service has; fewer than asked for when all are taken."""
        taken = {service.id for service in self.configs()}
        free = (n for n in range(layout.SERVICES_MAX) if n not in taken)
        return list(islice(free, number))

    def write_index(self, services: Iterable[Service]) -> None:
        """Have the program find these services and their VIPs, by one map update."""
        entries = pack_index(services, self.rules().keys(), self.policies())
        salt, placed = place_entries(entries)
        index = layout.ServiceIndex(salt=salt)
        for number, word in vip_words(entries).items():
            index.vips[number] = word
        start = ctypes.addressof(index) + layout.ServiceIndex.buckets.offset
        for position, entry in placed.items():
            ctypes.memmove(start + position * ENTRY_BYTES, entry, ENTRY_BYTES)
        with create_index_map() as inner:
            libbpf.map_update(inner, c_uint32(0), index)
            libbpf.map_update(self.pins["service_index"], c_uint32(0), c_uint32(inner.number))

    # -- tables

    def read_table(self, service_id: int) -> Table | None:
        """Return a service's table."""
        found = self._tables.slots(service_id)
        if found is None:
            return None
        head, current, previous = found
        members = tuple(
            TableMember(
                id=backend_id,
                key=self.read_backend(backend_id).address,
                weight=weight,
                state=STATES[StateNumber(state)],
            )
            for weight, _, backend_id, state in head.rows()
        )
        owned = {backend_id: slots for _, slots, backend_id, _ in head.rows()}
        return Table(members, current, previous, head.learn_until, owned)

    def write_table(self, service_id: int, table: Table) -> None:
        """Replace a service's table by one map update."""
        self._tables.write([(service_id, table)])

    def write_tables(self, tables: Iterable[tuple[int, Table]]) -> None:
        """Replace the tables of services, by id, each in one step for packets."""
        self._tables.write(tables)

    def delete_table(self, service_id: int) -> None:
        """Delete a service's table."""
        self._tables.delete([service_id])

    def delete_tables(self, service_ids: Sequence[int]) -> None:
        """Delete the tables of services, by id."""
        self._tables.delete(service_ids)

    def delete_tables_except(self, service_ids: set[int]) -> None:
        """Delete the tables that no service has."""
        self._tables.delete_except(service_ids)

    # -- backends

    def _entries(self) -> BackendEntries:
        if self._backends is None:
            self._backends = BackendEntries(self.pins["backends"], self.pins["counters"])
        return self._backends

    def read_backend(self, backend_id: int) -> BackendEntry:
        """Return a copy of a backend's entry."""
        return self._entries()[backend_id]

    def backend_ids(self, *states: StateNumber) -> Iterator[int]:
        """Walk the ids whose entries have one of some states."""
        for state in states:
            yield from self._entries().ids(state)

    def service_of_backend(self, address: IPAddress) -> int | None:
        """Return the id of a service that has a backend with an address."""
        wanted = layout.pack_address(address)
        for backend_id in self.backend_ids(*STATES):
            entry = self.read_backend(backend_id)
            if entry.address == wanted:
                return entry.service
        return None

    def write_backends(self, backends: Sequence[NewBackend]) -> None:
        """Claim the ids of new backends; no table may name them yet."""
        if backends:
            self._entries().claim(backends)

    def write_backend_place(self, backend_id: int, place: Place, *, by_hand: bool) -> None:
        """Say where a backend's frames go: a packet sees the old place or the new one.

        Where more than the MAC changes, packets between the two meet no MAC and are dropped.
        """
        self._entries().write_place(backend_id, place, by_hand=by_hand)

    def write_backend_state(self, backend_id: int, state: StateNumber) -> None:
        """Set an entry's state; FREE gives the id back."""
        self._entries().write_state(backend_id, state)

    # -- counters

    def counters(self, services: Iterable[Service]) -> dict[int, Counters]:
        """Return the totals of every backend of some services, by backend id."""
        services = tuple(services)
        ids = [backend.id for service in services for backend in service.backends]
        read = PerCpuArray(self.pins["counters"], 3).read_many(ids)
        found = dict(zip(read, map(Counters._make, read.values()), strict=True))
        for service in services:
            if not service.endpoint.protocol.tells_new_flows:
                for backend in service.backends:
                    found[backend.id] = found[backend.id]._replace(new_flows=None)
        return found

    def verdict_counts(self, number: int) -> list[int]:
        """Return the packets of the first ``number`` reasons."""
        read = PerCpuArray(self.pins["verdicts"], 1).read_many(range(number))
        return [read[index][0] for index in range(number)]

    # -- flow records

    def flow_records(self) -> Iterator[FlowRecord]:
        """Walk the records of flows whose slots are changing."""
        return self._read_records("records")

    def records_by_service(self) -> Mapping[int, int]:
        """Return how many flow records each service id has; where they are many, had recently."""
        return self._count("records")

    def pending_by_service(self) -> Mapping[int, int]:
        """Return the same of flows whose SYN was all that came."""
        return self._count("pending")

    def _count(self, name: str) -> Mapping[int, int]:
        if name not in self._record_counts:
            self._record_counts[name] = RecordCount(self.pins[name])
        return self._record_counts[name].by_service()

    def pending_flows(self) -> Iterator[FlowRecord]:
        """Walk the flows whose SYN was all that came."""
        return self._read_records("pending")

    def _read_records(self, name: str) -> Iterator[FlowRecord]:
        for key, value in read_all(self.pins[name], layout.FlowKey, layout.RecordValue):
            last_seen, slot, backend, flags = _RECORD.unpack(value)
            (service,) = _FLOW_SERVICE.unpack_from(key, layout.FlowKey.service.offset)
            closing = bool(flags & layout.RecordFlag.CLOSING)
            yield FlowRecord(key, service, slot, backend, last_seen, closing)

    def delete_record(self, record: FlowRecord) -> None:
        """Forget a flow, or nothing if it is gone already."""
        libbpf.map_delete(self.pins["records"], layout.FlowKey.from_buffer_copy(record.key))

    def delete_pending(self, record: FlowRecord) -> None:
        """Forget a flow whose SYN was all that came."""
        libbpf.map_delete(self.pins["pending"], layout.FlowKey.from_buffer_copy(record.key))

    # -- interfaces

    def write_interface(self, ifindex: int, mac: MacAddress) -> None:
        """Say which MAC an attached interface has: it takes packets sent to that one."""
        libbpf.map_update(
            self.pins["interfaces"],
            c_uint32(ifindex),
            layout.InterfaceValue(mac=layout.Mac(*mac.octets)),
        )

    def read_interface(self, ifindex: int) -> MacAddress:
        """Return the MAC by which an interface takes packets; all zero where it takes none."""
        value = layout.InterfaceValue()
        libbpf.map_lookup(self.pins["interfaces"], c_uint32(ifindex), value)
        return MacAddress(bytes(value.mac))

    def write_egress(self, ifindex: int) -> None:
        """Let packets be redirected to an interface of this network namespace."""
        libbpf.map_update(self.pins["egress"], c_uint32(ifindex), c_uint32(ifindex))

    def delete_egress(self, ifindex: int) -> None:
        """Let no packets be redirected to an interface."""
        libbpf.map_delete(self.pins["egress"], c_uint32(ifindex))

    def delete_interface(self, ifindex: int) -> None:
        """Forget an interface."""
        libbpf.map_update(self.pins["interfaces"], c_uint32(ifindex), layout.InterfaceValue())
        self.delete_egress(ifindex)


def fill_settings(fd: Descriptor, settings: Settings) -> None:
    """Write the settings of a state that is being created."""
    libbpf.map_update(
        fd,
        c_uint32(0),
        layout.SettingsValue(
            layout_version=layout.LAYOUT_VERSION,
            table_size=settings.table_size,
            seed=settings.seed,
        ),
    )
