"""Services as values of the model, of which only those that changed are made anew.

A view asks for thousands of backends every second, of which mostly none has changed: what is read
is then compared as bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from pydsr.kernel.bpf import layout
from pydsr.kernel.bpf.backends import BackendEntries
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.kernel.bpf.maps import read_all
from pydsr.kernel.bpf.tables import TableHead, Tables
from pydsr.model.service import Service

_SERVICE_ID = struct.Struct("=I")
"""The start of struct service_config."""

MakeService = Callable[[layout.ServiceKey, layout.ServiceConfig, TableHead], Service]
"""Makes a service of its element of the map ``services`` and the head of its table."""


@dataclass(frozen=True)
class _Known:
    """A service, and what it was made of."""

    config: bytes
    head: TableHead
    entries: bytes
    service: Service


class RememberedServices:
    """All services, as they were read last.

    Args:
        fd: the map ``services``.
        tables: the tables of all services.
        entries: the entries of all backends.
        make: makes a service that is new or has changed.
    """

    def __init__(
        self, fd: Descriptor, tables: Tables, entries: BackendEntries, make: MakeService
    ) -> None:
        self._fd = fd
        self._tables = tables
        self._entries = entries
        self._make = make
        self._known: dict[bytes, _Known] = {}
        self._in_order: tuple[Service, ...] = ()

    def read(self) -> tuple[Service, ...]:
        """Return every service, in the order of the endpoints; the same objects for the same."""
        found = {}
        for key, config in read_all(self._fd, layout.ServiceKey, layout.ServiceConfig):
            found[key] = self._read_one(key, config)
        if found != self._known:
            services = (known.service for known in found.values())
            self._in_order = tuple(sorted(services, key=lambda service: service.endpoint.order))
        self._known = found
        return self._in_order

    def _read_one(self, key: bytes, config: bytes) -> _Known:
        known = self._known.get(key)
        (service_id,) = _SERVICE_ID.unpack_from(config)
        head = self._tables.head(service_id)
        entries = self._entries.octets(backend_id for _, _, backend_id, _ in head.rows())
        if known and head is known.head and (config, entries) == (known.config, known.entries):
            return known
        service = self._make(
            layout.ServiceKey.from_buffer_copy(key),
            layout.ServiceConfig.from_buffer_copy(config),
            head,
        )
        return _Known(config, head, entries, service)

    def still_holds(self) -> bool:
        """Return whether every table is the one that was read."""
        return all(
            self._tables.head(known.service.id) is known.head for known in self._known.values()
        )
