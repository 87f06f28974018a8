"""The tables of services in their maps: read by head or as a whole, written by batches.

A table is one element of a map of its own, and ``tables`` names that map by the service's id. To
name another map there, the kernel waits until no packet uses the one before: for milliseconds, so
that a hundred tables are named by one call.
"""

from __future__ import annotations

import ctypes
import struct
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from ctypes import c_uint32
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pydsr.hashing import slots
from pydsr.hashing.table import Table
from pydsr.kernel.bpf import layout, libbpf
from pydsr.kernel.bpf.codec import STATE_NUMBERS
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.kernel.bpf.maps import create_table_map

_TABLES_AT_FIRST, _TABLES_AT_ONCE = 32, 128
"""How many are named by one call: few at first, so that these are in place early, and then more.

Each is an open descriptor until it is named; a process may have 1024 by default.
"""

_ENOTSUPP = 524
"""Of linux/errno.h: Linux before 5.19 has no batches of maps of maps."""

_HEAD = struct.Struct("=QII")
_MEMBER = struct.Struct("=IIHB5x")


@dataclass(frozen=True)
class TableHead:
    """What is in a table before its slots; ``members`` are bytes of struct member."""

    learn_until: int = 0
    tracked_slots: int = 0
    members: bytes = b""

    def rows(self) -> Iterator[tuple[int, int, int, int]]:
        """Walk the members: weight, slots, backend id and state of each."""
        return _MEMBER.iter_unpack(self.members)


NO_TABLE = TableHead()
"""What stands for the head of a table that is not there."""


class Tables:
    """The tables of all services.

    A table is never written once it is named, and its map's id never given to another: what has
    been read of it holds for as long as it is named.

    Args:
        fd: the map ``tables``.
        table_size: the slots of each.
    """

    def __init__(self, fd: Descriptor, table_size: int) -> None:
        self._fd = fd
        self._size = table_size
        self._type = layout.table_type(table_size)
        # Read into again and again: it is large.
        self._read = self._type()
        self._heads: dict[int, tuple[int, TableHead]] = {}

    def _load(self, service_id: int) -> Any | None:
        """Return the table of a service, until the next one is loaded."""
        while number := self._number(service_id):
            try:
                with libbpf.map_by_id(number) as fd:
                    libbpf.map_lookup(fd, c_uint32(0), self._read)
            except FileNotFoundError:
                # Replaced between the two steps by a change this reader does not wait for.
                continue
            self._heads[service_id] = number, _head_of(self._read)
            return self._read
        self._heads.pop(service_id, None)
        return None

    def _number(self, service_id: int) -> int:
        """Return the id of the map that is a service's table; 0 where there is none."""
        number = c_uint32()
        libbpf.map_lookup(self._fd, c_uint32(service_id), number)
        return number.value

    def head(self, service_id: int) -> TableHead:
        """Return what a service's table says beside its slots: the same object for the same table.

        :data:`NO_TABLE` where there is none.
        """
        known = self._heads.get(service_id)
        if known is None or known[0] != self._number(service_id):
            self._load(service_id)
            _, head = self._heads.get(service_id, (0, NO_TABLE))
            return head
        return known[1]

    def slots(self, service_id: int) -> tuple[TableHead, array[int], array[int]] | None:
        """Return a service's table: its head, and of each slot the current and previous owner."""
        raw = self._load(service_id)
        if raw is None:
            return None
        return _head_of(raw), *slots.part(raw.slots, self._size)

    def write(self, tables: Iterable[tuple[int, Table]]) -> None:
        """Replace the tables of services, by id: each in one step for the packets meanwhile.

        Args:
            tables: made as they are asked for, they need not all be there at once.
        """
        left, most = iter(tables), _TABLES_AT_FIRST
        with ExitStack() as open_maps:
            while batch := {
                service_id: open_maps.enter_context(self._made(table))
                for service_id, table in islice(left, most)
            }:
                self._name(batch)
                open_maps.close()
                most = min(2 * most, _TABLES_AT_ONCE)

    def _made(self, table: Table) -> Descriptor:
        """Return a map with a table, which nothing uses yet."""
        made = create_table_map(self._size)
        libbpf.map_update(made, c_uint32(0), self._pack(table))
        return made

    def _name(self, made: Mapping[int, Descriptor]) -> None:
        keys = (c_uint32 * len(made))(*made)
        numbers = (c_uint32 * len(made))(*(fd.number for fd in made.values()))
        try:
            libbpf.map_update_batch(self._fd, keys, numbers, len(made))
        except OSError as error:
            if error.errno != _ENOTSUPP:
                raise
            for key, number in zip(keys, numbers, strict=True):
                libbpf.map_update(self._fd, c_uint32(key), c_uint32(number))

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
            # No batch of the kernel's deletes these; side by side they wait for packets together.
            with ThreadPoolExecutor(min(_TABLES_AT_ONCE, len(service_ids))) as threads:
                list(threads.map(delete, service_ids))

    def delete_except(self, service_ids: set[int]) -> None:
        """Delete the tables that no service has."""
        leaving = [
            index.value
            for index in libbpf.map_keys(self._fd, c_uint32)
            if index.value not in service_ids
            if libbpf.map_lookup(self._fd, index, c_uint32())
        ]
        self.delete(leaving)


def _head_of(raw: Any) -> TableHead:
    start = ctypes.addressof(raw)
    learn_until, count, tracked = _HEAD.unpack(ctypes.string_at(start, _HEAD.size))
    members = ctypes.string_at(start + _HEAD.size, count * _MEMBER.size)
    return TableHead(learn_until, tracked, members)
