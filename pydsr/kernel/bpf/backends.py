"""The entries of backends, in memory that their map shares with this process."""

from __future__ import annotations

import ctypes
import mmap
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from ctypes import sizeof
from typing import NamedTuple

from pydsr.kernel.bpf import layout
from pydsr.kernel.bpf.codec import STATE_NUMBERS, STATES, pack_tags, unpack_tags
from pydsr.kernel.bpf.counters import CounterStore
from pydsr.kernel.bpf.layout import StateNumber
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.model.addresses import IPAddress, Place
from pydsr.model.service import PlacedBackend

_BYTES = sizeof(layout.BackendValue)
_STATE_OFFSET = layout.BackendValue.state.offset
_ENTRY = struct.Struct("=6s2xIIBB6x16s8s16x")
"""struct backend: MAC, interface, service, state, whether the MAC is fixed, address, tags."""


class BackendEntry(NamedTuple):
    """Mirrors struct backend; ``mac``, ``address`` and ``tags`` are in network byte order."""

    mac: bytes
    ifindex: int
    service: int
    state: int
    mac_by_hand: int
    address: bytes
    tags: bytes


class BackendStore:
    """The map ``backends``, by backend id; id 0 stands for no backend."""

    def __init__(self, fd: Descriptor, counters: CounterStore) -> None:
        self._memory = mmap.mmap(fd.number, layout.BACKENDS_MAX * _BYTES)
        self._counters = counters

    def close(self) -> None:
        """Unmap the memory."""
        self._memory.close()

    def read(self, backend_id: int) -> BackendEntry:
        """Return a copy of an entry."""
        return BackendEntry(*_ENTRY.unpack_from(self._memory, backend_id * _BYTES))

    def read_bytes(self, backend_ids: Iterable[int]) -> bytes:
        """Return the bytes of entries, one after the other."""
        return b"".join(self._memory[n * _BYTES : (n + 1) * _BYTES] for n in backend_ids)

    def ids(self, *states: StateNumber) -> Iterator[int]:
        """Yield the ids whose entries have one of some states."""
        for state in states:
            numbers = self._memory[_STATE_OFFSET::_BYTES]
            backend_id = numbers.find(state, 1)
            while backend_id > 0:
                yield backend_id
                backend_id = numbers.find(state, backend_id + 1)

    def addresses(self) -> list[IPAddress]:
        """Return the addresses of the backends of all services, each once."""
        packed = dict.fromkeys(self.read(backend_id).address for backend_id in self.ids(*STATES))
        return [layout.unpack_address(address) for address in packed]

    def service_of(self, address: IPAddress) -> int | None:
        """Return the id of a service that has a backend with an address."""
        packed = layout.pack_address(address)
        for backend_id in self.ids(*STATES):
            entry = self.read(backend_id)
            if entry.address == packed:
                return entry.service
        return None

    def write_new(self, backends: Sequence[tuple[int, PlacedBackend]]) -> None:
        """Write new entries, each with its service id; no table may name them yet.

        Their counters start at zero.
        """
        if not backends:
            return
        self._counters.zero([backend.id for _, backend in backends])
        for service_id, backend in backends:
            place = backend.place
            _ENTRY.pack_into(
                self._memory,
                backend.id * _BYTES,
                place.mac.octets,
                place.ifindex,
                service_id,
                STATE_NUMBERS[backend.desired.state],
                backend.mac_by_hand,
                layout.pack_address(backend.desired.address),
                bytes(pack_tags(place.tags)) if place.tags else bytes(8),
            )

    def write_place(self, backend_id: int, place: Place, *, by_hand: bool) -> None:
        """Set where a backend's frames go: a packet sees the old place or the new one.

        If more than the MAC changes, packets between two writes find no MAC and are dropped.
        """
        start = backend_id * _BYTES
        view = layout.BackendValue.from_buffer(self._memory, start)
        word = ctypes.c_uint64.from_buffer(self._memory, start)
        if (view.ifindex, unpack_tags(view.tags)) != (place.ifindex, place.tags):
            word.value = 0
            view.ifindex = place.ifindex
            view.tags = pack_tags(place.tags)
        view.mac_by_hand = by_hand
        word.value = int.from_bytes(place.mac.octets + bytes(2), sys.byteorder)
        del view, word

    def write_state(self, backend_id: int, state: StateNumber) -> None:
        """Set the state of an entry; FREE gives the id back."""
        self._memory[backend_id * _BYTES + _STATE_OFFSET] = state
