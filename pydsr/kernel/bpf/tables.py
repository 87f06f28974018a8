"""The tables of services in their maps: read by head or as a whole, written in batches.

A table is the one element of a map of its own, which ``tables`` refers to by service id. When
``tables`` gets a new inner map, the kernel waits for milliseconds until no packet uses the old one.
So one call replaces a hundred tables.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ctypes import c_uint32
from dataclasses import dataclass
from typing import Any, Self

from pydsr.hashing import slots
from pydsr.hashing.maglev import Member
from pydsr.hashing.table import Table
from pydsr.kernel.bpf import layout, libbpf
from pydsr.kernel.bpf.backends import BackendStore
from pydsr.kernel.bpf.codec import STATE_NUMBERS, STATES
from pydsr.kernel.bpf.layout import StateNumber
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.kernel.bpf.maps import create_table_map

_BATCH_AT_FIRST, _BATCH_MAX = 32, 128
"""Tables replaced by one call: few at first, so that the first are in place early, then more.

Each is an open descriptor until then, and a process may have 1024 by default.
"""

_ENOTSUPP = 524
"""From linux/errno.h: before Linux 5.19 there are no batches for maps of maps."""

_HEAD = struct.Struct("=QII")
_MEMBER = struct.Struct("=IIHB5x")


@dataclass(frozen=True)
class TableHead:
    """The part of a table before its slots; ``members`` are bytes of struct member."""

    learn_until: int = 0
    tracked_slots: int = 0
    members: bytes = b""

    def rows(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield weight, slots, backend id and state of each member."""
        return _MEMBER.iter_unpack(self.members)


NO_TABLE = TableHead()
"""The head of a table that does not exist."""


class TableStore:
    """The map ``tables``, by service id.

    A table is never written again once it is in place, and the id of its map never reused: its
    head is read once.
    """

    def __init__(self, fd: Descriptor, table_size: int, backends: BackendStore) -> None:
        self._fd = fd
        self.table_size = table_size
        self._backends = backends
        self._type = layout.table_type(table_size)
        # One buffer for all reads: a table is large.
        self._buffer = self._type()
        self._heads: dict[int, tuple[int, TableHead]] = {}

    def _load(self, service_id: int) -> Any | None:
        """Return the table of a service in the shared buffer, valid until the next call."""
        while number := self._number(service_id):
            try:
                with libbpf.map_by_id(number) as fd:
                    libbpf.map_lookup(fd, c_uint32(0), self._buffer)
            except FileNotFoundError:
                # A change that this reader does not wait for replaced it between the two steps.
                continue
            self._heads[service_id] = number, _head_of(self._buffer)
            return self._buffer
        self._heads.pop(service_id, None)
        return None

    def _number(self, service_id: int) -> int:
        """Return the id of the map with a service's table; 0 if there is none."""
        number = c_uint32()
        libbpf.map_lookup(self._fd, c_uint32(service_id), number)
        return number.value

    def head(self, service_id: int) -> TableHead:
        """Return the head of a service's table, the same object for the same table.

        Without a table it is :data:`NO_TABLE`.
        """
        cached = self._heads.get(service_id)
        if cached is None or cached[0] != self._number(service_id):
            self._load(service_id)
            _, head = self._heads.get(service_id, (0, NO_TABLE))
            return head
        return cached[1]

    def read(self, service_id: int) -> Table | None:
        """Return a service's table."""
        raw = self._load(service_id)
        if raw is None:
            return None
        head = _head_of(raw)
        current, previous = slots.part(raw.slots, self.table_size)
        members = tuple(
            Member(self._backends.read(number).address, weight, number, STATES[StateNumber(state)])
            for weight, _, number, state in head.rows()
        )
        owned = {backend_id: count for _, count, backend_id, _ in head.rows()}
        return Table(members, current, previous, head.learn_until, owned)

    @contextmanager
    def writer(self) -> Iterator[TableWriter]:
        """Write tables one after the other; all are in place when the block ends."""
        with TableWriter(self._fd, self._create) as writer:
            yield writer
            writer.flush()

    def write(self, service_id: int, table: Table) -> None:
        """Replace the table of one service in one step."""
        with self.writer() as writer:
            writer.write(service_id, table)

    def _create(self, table: Table) -> Descriptor:
        """Return a map with a table, which nothing uses yet."""
        fd = create_table_map(self.table_size)
        libbpf.map_update(fd, c_uint32(0), self._pack(table))
        return fd

    def _pack(self, table: Table) -> Any:
        owned = table.slots_by_backend()
        members = b"".join(
            _MEMBER.pack(member.weight, owned[member.id], member.id, STATE_NUMBERS[member.state])
            for member in table.members
        )
        raw = self._type()
        head = _HEAD.pack(table.learn_until, len(table.members), table.tracked_slots)
        ctypes.memmove(ctypes.addressof(raw), head + members, len(head) + len(members))
        slots.join(table.current, table.previous, raw.slots)
        return raw

    def delete(self, service_ids: Sequence[int]) -> None:
        """Delete the tables of services, by id."""

        def delete(service_id: int) -> None:
            libbpf.map_delete(self._fd, c_uint32(service_id))

        if len(service_ids) == 1:
            delete(service_ids[0])
        elif service_ids:
            # The kernel has no batch for this: threads wait for the packets side by side.
            with ThreadPoolExecutor(min(_BATCH_MAX, len(service_ids))) as threads:
                list(threads.map(delete, service_ids))

    def delete_except(self, service_ids: set[int]) -> None:
        """Delete the tables that no service has."""
        others = (number for number in range(layout.SERVICES_MAX) if number not in service_ids)
        self.delete([number for number in others if self._number(number)])


class TableWriter:
    """Writes tables; packets see each change in one step."""

    def __init__(self, fd: Descriptor, create: Callable[[Table], Descriptor]) -> None:
        self._fd = fd
        self._create = create
        self._waiting: dict[int, Descriptor] = {}
        self._most = _BATCH_AT_FIRST

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        for fd in self._waiting.values():
            fd.close()
        self._waiting.clear()

    def write(self, service_id: int, table: Table) -> None:
        """Replace a service's table, now or together with the next ones."""
        self._waiting[service_id] = self._create(table)
        if len(self._waiting) >= self._most:
            self.flush()
            self._most = min(2 * self._most, _BATCH_MAX)

    def flush(self) -> None:
        """Put the written tables in place."""
        number = len(self._waiting)
        if not number:
            return
        keys = (c_uint32 * number)(*self._waiting)
        maps = (c_uint32 * number)(*(fd.number for fd in self._waiting.values()))
        try:
            libbpf.map_update_batch(self._fd, keys, maps, number)
        except OSError as error:
            if error.errno != _ENOTSUPP:
                raise
            for key, fd in zip(keys, maps, strict=True):
                libbpf.map_update(self._fd, c_uint32(key), c_uint32(fd))
        self._close()


def _head_of(raw: Any) -> TableHead:
    start = ctypes.addressof(raw)
    learn_until, count, tracked = _HEAD.unpack(ctypes.string_at(start, _HEAD.size))
    members = ctypes.string_at(start + _HEAD.size, count * _MEMBER.size)
    return TableHead(learn_until, tracked, members)
