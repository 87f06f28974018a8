"""The map of services, and the index by which the program finds them."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable
from ctypes import c_uint32
from dataclasses import dataclass, replace
from itertools import islice

from pydsr.hashing.service_index import ENTRY_BYTES, place_entries, vip_words
from pydsr.kernel.bpf import layout, libbpf
from pydsr.kernel.bpf.backends import BackendStore
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
from pydsr.kernel.bpf.maps import HashMap, create_index_map, read_all
from pydsr.kernel.bpf.source_rules import SourceRuleStore, VipPolicyStore
from pydsr.kernel.bpf.tables import TableHead, TableStore
from pydsr.model.addresses import Endpoint, MacAddress
from pydsr.model.service import Backend, Service

_SERVICE_ID = struct.Struct("=I")
"""The start of struct service_config."""


@dataclass(frozen=True)
class ServiceHead:
    """A service without its backends, and the head of its table.

    Reading thousands of heads is fast; creating the values of their backends is slow.
    """

    service: Service
    table: TableHead


@dataclass(frozen=True)
class _Cached:
    """A service, and the bytes it was made of."""

    config: bytes
    head: TableHead
    entries: bytes
    service: Service


class ServiceStore:
    """The map ``services``, joined with the tables and entries of their backends.

    A view reads thousands of backends every second, and few have changed. So :meth:`all` compares
    bytes, and returns the earlier values of unchanged ones.
    """

    def __init__(self, fd: Descriptor, tables: TableStore, backends: BackendStore) -> None:
        self._fd = fd
        self._map = HashMap(fd, layout.ServiceKey, layout.ServiceConfig)
        self._tables = tables
        self._backends = backends
        self._cached: dict[bytes, _Cached] = {}
        self._in_order: tuple[Service, ...] = ()
        self._configs: tuple[list[tuple[bytes, bytes]], tuple[Service, ...]] = [], ()

    def endpoints(self) -> set[Endpoint]:
        """Return the endpoints of all services."""
        return {unpack_endpoint(key) for key in self._map.all_keys()}

    def configs(self) -> tuple[Service, ...]:
        """Return every service without its backends, in the order of the endpoints."""
        elements = [*read_all(self._fd, layout.ServiceKey, layout.ServiceConfig)]
        before, configs = self._configs
        if elements != before:
            services = (self._unpack(key, value) for key, value in elements)
            configs = tuple(sorted(services, key=lambda service: service.endpoint.order))
            self._configs = elements, configs
        return configs

    def names(self) -> list[tuple[Endpoint, str]]:
        """Return the endpoint and name of every service, in the order of the endpoints."""
        elements = read_all(self._fd, layout.ServiceKey, layout.ServiceConfig)
        names = (
            (
                unpack_endpoint(layout.ServiceKey.from_buffer_copy(key)),
                layout.ServiceConfig.from_buffer_copy(value).name.decode(),
            )
            for key, value in elements
        )
        return sorted(names, key=lambda named: named[0].order)

    def _unpack(self, key: bytes, value: bytes) -> Service:
        return self._config(
            layout.ServiceKey.from_buffer_copy(key), layout.ServiceConfig.from_buffer_copy(value)
        )

    def _config(self, key: layout.ServiceKey, value: layout.ServiceConfig) -> Service:
        endpoint = unpack_endpoint(key)
        options = unpack_options(value, endpoint.protocol)
        return Service(value.id, endpoint, options, table_size=self._tables.table_size)

    def heads(self) -> tuple[ServiceHead, ...]:
        """Return every service with the head of its table, in the order of the endpoints."""
        return tuple(ServiceHead(config, self._tables.head(config.id)) for config in self.configs())

    def head(self, endpoint: Endpoint) -> ServiceHead | None:
        """Return one service with the head of its table."""
        key = pack_endpoint(endpoint)
        value = self._map.get(key)
        if value is None:
            return None
        config = self._config(key, value)
        return ServiceHead(config, self._tables.head(config.id))

    def get(self, endpoint: Endpoint) -> Service | None:
        """Return one service with its backends."""
        head = self.head(endpoint)
        return None if head is None else self.with_backends(head)

    def all(self) -> tuple[Service, ...]:
        """Return every service with its backends, in the order of the endpoints.

        A service that has not changed is the same object as before.
        """
        services = {
            key: self._read(key, config)
            for key, config in read_all(self._fd, layout.ServiceKey, layout.ServiceConfig)
        }
        if services != self._cached:
            values = (cached.service for cached in services.values())
            self._in_order = tuple(sorted(values, key=lambda service: service.endpoint.order))
        self._cached = services
        return self._in_order

    def _read(self, key: bytes, config: bytes) -> _Cached:
        cached = self._cached.get(key)
        (service_id,) = _SERVICE_ID.unpack_from(config)
        head = self._tables.head(service_id)
        entries = self._backends.read_bytes(backend_id for _, _, backend_id, _ in head.rows())
        if cached and head is cached.head and (config, entries) == (cached.config, cached.entries):
            return cached
        service = self.with_backends(ServiceHead(self._unpack(key, config), head))
        return _Cached(config, head, entries, service)

    def is_unchanged(self) -> bool:
        """Return whether every table is still the one that :meth:`all` read."""
        return all(
            self._tables.head(cached.service.id) is cached.head for cached in self._cached.values()
        )

    def with_backends(self, head: ServiceHead) -> Service:
        """Return a service with its backends."""
        return replace(
            head.service,
            backends=tuple(self._backend(*row) for row in head.table.rows()),
            slots_changing=head.table.tracked_slots,
            learn_until=head.table.learn_until,
        )

    def _backend(self, weight: int, slots: int, backend_id: int, state: int) -> Backend:
        entry = self._backends.read(backend_id)
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

    def write(self, service: Service) -> None:
        """Create or replace a service, whose table must exist.

        Packets find it once the index is written.
        """
        libbpf.map_update(self._fd, pack_endpoint(service.endpoint), pack_config(service))

    def delete(self, endpoint: Endpoint) -> None:
        """Delete a service; packets find it until the index is written."""
        self._map.delete(pack_endpoint(endpoint))

    def free_ids(self, number: int) -> list[int]:
        """Return unused ids of services; fewer than ``number`` if they run out."""
        used = {service.id for service in self.configs()}
        free = (n for n in range(layout.SERVICES_MAX) if n not in used)
        return list(islice(free, number))


class ServiceIndexStore:
    """The map ``service_index``, in whose only element packets look up services."""

    def __init__(
        self, fd: Descriptor, source_rules: SourceRuleStore, vip_policies: VipPolicyStore
    ) -> None:
        self._fd = fd
        self._source_rules = source_rules
        self._vip_policies = vip_policies

    def write(self, services: Iterable[Service]) -> None:
        """Make these services, and all rules and policies, visible to packets.

        One map update: services and VIPs appear and disappear together.
        """
        rules, policies = self._source_rules.read(), self._vip_policies.read()
        entries = pack_index(services, rules.keys(), policies)
        salt, placed = place_entries(entries)
        index = layout.ServiceIndex(salt=salt)
        for number, word in vip_words(entries).items():
            index.vips[number] = word
        start = ctypes.addressof(index) + layout.ServiceIndex.buckets.offset
        for position, entry in placed.items():
            ctypes.memmove(start + position * ENTRY_BYTES, entry, ENTRY_BYTES)
        with create_index_map() as inner:
            libbpf.map_update(inner, c_uint32(0), index)
            libbpf.map_update(self._fd, c_uint32(0), c_uint32(inner.number))
