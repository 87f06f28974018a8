"""The entries of backends, in the memory that the map of them shares with this process."""

from __future__ import annotations

import ctypes
import mmap
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from ctypes import sizeof
from dataclasses import dataclass
from typing import NamedTuple

from pydsr.kernel.bpf import layout
from pydsr.kernel.bpf.codec import pack_tags, unpack_tags
from pydsr.kernel.bpf.layout import StateNumber
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.kernel.bpf.percpu import PerCpuArray
from pydsr.model.addresses import Place

_BYTES = sizeof(layout.BackendValue)
_STATE_OFFSET = layout.BackendValue.state.offset
_ENTRY = struct.Struct("=6s2xIIBB6x16s8s16x")
"""struct backend: MAC, interface, service, state, whether by hand, address, tags."""


class BackendEntry(NamedTuple):
    """Mirrors struct backend; ``mac``, ``address`` and ``tags`` are as packets have them."""

    mac: bytes
    ifindex: int
    service: int
    state: int
    mac_by_hand: int
    address: bytes
    tags: bytes


@dataclass(frozen=True)
class NewBackend:
    """A backend whose id is to be claimed; ``address`` is packed."""

    id: int
    service: int
    address: bytes
    state: StateNumber
    place: Place | None = None
    mac_by_hand: bool = False


class BackendEntries:
    """All entries by backend id; id 0 stands for no backend.

    Args:
        fd: the map ``backends``.
        counters: the map ``counters``, which has an element for each id too.
    """

    def __init__(self, fd: Descriptor, counters: Descriptor) -> None:
        self._memory = mmap.mmap(fd.number, layout.BACKENDS_MAX * _BYTES)
        self._counters = PerCpuArray(counters, 3)

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()

    def __getitem__(self, backend_id: int) -> BackendEntry:
        """Return a copy of an entry."""
        return BackendEntry(*_ENTRY.unpack_from(self._memory, backend_id * _BYTES))

    def octets(self, backend_ids: Iterable[int]) -> bytes:
        """Return entries as they are, one after the other."""
        return b"".join(self._memory[n * _BYTES : (n + 1) * _BYTES] for n in backend_ids)

    def ids(self, state: StateNumber) -> Iterator[int]:
        """Walk the ids whose entries have a state."""
        states = self._memory[_STATE_OFFSET::_BYTES]
        found = states.find(state, 1)
        while found > 0:
            yield found
            found = states.find(state, found + 1)

    def claim(self, backends: Sequence[NewBackend]) -> None:
        """Write the entries of new backends, their counters at zero; no table may name them yet."""
        self._counters.zero([backend.id for backend in backends])
        for backend in backends:
            place = backend.place
            _ENTRY.pack_into(
                self._memory,
                backend.id * _BYTES,
                place.mac.octets if place else bytes(6),
                place.ifindex if place else 0,
                backend.service,
                backend.state,
                backend.mac_by_hand,
                backend.address,
                bytes(pack_tags(place.tags)) if place and place.tags else bytes(8),
            )

    def write_place(self, backend_id: int, place: Place, *, by_hand: bool) -> None:
        """Say where a backend's frames go: a packet sees the old place or the new one.

        Where more than the MAC changes, packets between the two meet no MAC and are dropped.
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
        """Set an entry's state; FREE gives the id back."""
        self._memory[backend_id * _BYTES + _STATE_OFFSET] = state
