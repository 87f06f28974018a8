"""The balancer's state in its pinned maps, as values of the model.

Reading copies out of the maps; each ``write`` is one step for the packets that pass meanwhile.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
import sys
import time
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ctypes import c_uint32, sizeof
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydsr.acl import Rules
from pydsr.errors import EnvironmentCannotError
from pydsr.features import Feature, Features
from pydsr.flows import FlowRecord
from pydsr.kernel import layout, libbpf
from pydsr.kernel import rules as rule_maps
from pydsr.kernel.bpffs import check_name
from pydsr.kernel.codec import (
    STATE_NUMBERS,
    STATES,
    pack_config,
    pack_endpoint,
    pack_index,
    pack_tags,
    unpack_endpoint,
    unpack_options,
    unpack_tags,
)
from pydsr.kernel.layout import StateNumber
from pydsr.kernel.libbpf import Descriptor
from pydsr.kernel.lock import not_attached, not_permitted
from pydsr.kernel.maps import (
    HashMap,
    MapSpec,
    PerCpuArray,
    Pins,
    create_index_map,
    create_table_map,
    map_specs,
    read_all,
)
from pydsr.kernel.maps import mismatch as map_mismatch
from pydsr.model import (
    Backend,
    Counters,
    Endpoint,
    IPAddress,
    MacAddress,
    Place,
    Service,
    Unserved,
)
from pydsr.service_index import ENTRY_BYTES, place_entries, vip_words
from pydsr.table import Table, TableMember

# struct record, and the service within struct flow_key: unpacked by the hundred thousand.
_RECORD = struct.Struct("=QIHH")
_FLOW_SERVICE = struct.Struct("=I")
_BACKEND_BYTES = sizeof(layout.BackendValue)


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
        self.settings = self._read_settings()
        self.table_size = self.settings.table_size
        self._services = HashMap(self.pins["services"], layout.ServiceKey, layout.ServiceConfig)
        self._memory: mmap.mmap | None = None

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

    def close(self) -> None:
        """Close every descriptor."""
        if self._memory is not None:
            self._memory.close()
            self._memory = None
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

    def services(self) -> tuple[Service, ...]:
        """Return every service with its backends, in the order of the endpoints."""
        found = [self._read_service(key) for key in self._services.all_keys()]
        return tuple(
            sorted((s for s in found if s is not None), key=lambda service: service.endpoint)
        )

    def service(self, endpoint: Endpoint) -> Service | None:
        """Return one service with its backends."""
        return self._read_service(pack_endpoint(endpoint))

    def _read_service(self, key: layout.ServiceKey) -> Service | None:
        value = self._services.get(key)
        if value is None:
            return None
        endpoint = unpack_endpoint(key)
        table = self._read_raw_table(value.id) or layout.table_type(self.table_size)()
        return Service(
            id=value.id,
            endpoint=endpoint,
            options=unpack_options(value, endpoint.protocol),
            backends=tuple(self._backend(table.members[i]) for i in range(table.members_count)),
            table_size=self.table_size,
            slots_changing=table.tracked_slots,
            learn_until=table.learn_until,
        )

    def _backend(self, member: Any) -> Backend:
        value = self.read_backend(member.backend)
        mac = MacAddress(bytes(value.mac))
        return Backend(
            id=member.backend,
            address=layout.unpack_address(bytes(value.address)),
            weight=member.weight,
            mac=mac if mac.is_unicast else None,
            mac_by_hand=bool(value.mac_by_hand),
            state=STATES[StateNumber(member.state)],
            ifindex=value.ifindex,
            slots=member.slots,
            tags=unpack_tags(value.tags),
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

    def free_service_id(self) -> int | None:
        """Return an id that no service has, or None when all are taken."""
        taken = {
            service.id for key in self._services.all_keys() if (service := self._services.get(key))
        }
        return next((n for n in range(layout.SERVICES_MAX) if n not in taken), None)

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

    def _read_raw_table(self, service_id: int) -> Any | None:
        inner = c_uint32()
        if not libbpf.map_lookup(self.pins["tables"], c_uint32(service_id), inner):
            return None
        table = layout.table_type(self.table_size)()
        try:
            with libbpf.map_by_id(inner.value) as fd:
                libbpf.map_lookup(fd, c_uint32(0), table)
        except FileNotFoundError:
            # Replaced between the two steps by a change this reader does not wait for.
            return self._read_raw_table(service_id)
        return table

    def read_table(self, service_id: int) -> Table | None:
        """Return a service's table."""
        raw = self._read_raw_table(service_id)
        if raw is None:
            return None
        slots = array("H", bytes(raw.slots))
        members = tuple(
            TableMember(
                id=member.backend,
                key=bytes(self.read_backend(member.backend).address),
                weight=member.weight,
                state=STATES[StateNumber(member.state)],
            )
            for member in (raw.members[i] for i in range(raw.members_count))
        )
        return Table(members, slots[0::2], slots[1::2], raw.learn_until)

    def write_table(self, service_id: int, table: Table) -> None:
        """Replace a service's table by one map update."""
        raw = layout.table_type(self.table_size)()
        raw.learn_until = table.learn_until
        raw.members_count = len(table.members)
        raw.tracked_slots = table.tracked_slots
        owned = table.slots_by_backend()
        for position, member in enumerate(table.members):
            raw.members[position] = layout.MemberValue(
                weight=member.weight,
                slots=owned[member.id],
                backend=member.id,
                state=STATE_NUMBERS[member.state],
            )
        slots = array("H", bytes(4 * table.size))
        slots[0::2] = table.current
        slots[1::2] = table.previous
        ctypes.memmove(raw.slots, slots.tobytes(), 4 * table.size)
        with create_table_map(self.table_size) as inner:
            libbpf.map_update(inner, c_uint32(0), raw)
            libbpf.map_update(self.pins["tables"], c_uint32(service_id), c_uint32(inner.number))

    def delete_table(self, service_id: int) -> None:
        """Delete a service's table."""
        libbpf.map_delete(self.pins["tables"], c_uint32(service_id))

    def delete_tables_except(self, service_ids: set[int]) -> None:
        """Delete the tables that no service has."""
        for index in libbpf.map_keys(self.pins["tables"], c_uint32):
            if index.value not in service_ids:
                libbpf.map_delete(self.pins["tables"], index)

    # -- backends

    def _backends_memory(self) -> mmap.mmap:
        if self._memory is None:
            self._memory = mmap.mmap(
                self.pins["backends"].number, layout.BACKENDS_MAX * _BACKEND_BYTES
            )
        return self._memory

    def _backend_view(self, backend_id: int) -> layout.BackendValue:
        """Return a backend's bytes in the map itself."""
        return layout.BackendValue.from_buffer(self._backends_memory(), backend_id * _BACKEND_BYTES)

    def read_backend(self, backend_id: int) -> layout.BackendValue:
        """Return a copy of a backend's entry."""
        start = backend_id * _BACKEND_BYTES
        return layout.BackendValue.from_buffer_copy(
            self._backends_memory()[start : start + _BACKEND_BYTES]
        )

    def backend_ids(self, state: StateNumber) -> list[int]:
        """Return the ids whose entries have a state; id 0 stands for no backend."""
        states = self._backends_memory()[layout.BackendValue.state.offset :: _BACKEND_BYTES]
        return [n for n, value in enumerate(states) if value == state and n]

    def write_backend(
        self, backend_id: int, service_id: int, address: IPAddress, state: StateNumber
    ) -> None:
        """Claim an id for a backend of a service; no table may name it yet."""
        PerCpuArray(self.pins["counters"], 3).zero(backend_id)
        value = layout.BackendValue(
            service=service_id,
            address=layout.Address(*layout.pack_address(address)),
            state=state,
        )
        libbpf.map_update(self.pins["backends"], c_uint32(backend_id), value)

    def write_backend_place(self, backend_id: int, place: Place, *, by_hand: bool) -> None:
        """Say where a backend's frames go: a packet sees the old place or the new one.

        Where more than the MAC changes, packets between the two meet no MAC and are dropped.
        """
        view = self._backend_view(backend_id)
        word = ctypes.c_uint64.from_buffer(self._backends_memory(), backend_id * _BACKEND_BYTES)
        if (view.ifindex, unpack_tags(view.tags)) != (place.ifindex, place.tags):
            word.value = 0
            view.ifindex = place.ifindex
            view.tags = pack_tags(place.tags)
        view.mac_by_hand = by_hand
        word.value = int.from_bytes(place.mac.octets + bytes(2), sys.byteorder)
        del view, word

    def write_backend_state(self, backend_id: int, state: StateNumber) -> None:
        """Set an entry's state; FREE gives the id back."""
        view = self._backend_view(backend_id)
        view.state = state
        del view

    # -- counters

    def counters(self, services: Iterable[Service]) -> dict[int, Counters]:
        """Return the totals of every backend of some services, by backend id."""
        counters = PerCpuArray(self.pins["counters"], 3)
        found = {}
        for service in services:
            counts_flows = service.endpoint.protocol.tells_new_flows
            for backend in service.backends:
                packets, size, new_flows = counters.read(backend.id)
                found[backend.id] = Counters(packets, size, new_flows if counts_flows else None)
        return found

    def verdict_counts(self, number: int) -> list[int]:
        """Return the packets of the first ``number`` reasons."""
        verdicts = PerCpuArray(self.pins["verdicts"], 1)
        return [verdicts.read(index)[0] for index in range(number)]

    # -- flow records

    def flow_records(self) -> Iterator[FlowRecord]:
        """Walk the records of flows whose slots are changing."""
        return self._read_records("records")

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
