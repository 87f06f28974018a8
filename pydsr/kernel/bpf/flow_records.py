"""The flow records, which the program writes while the slots of a service change."""

from __future__ import annotations

import struct
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from ctypes import sizeof

from pydsr.kernel.bpf import layout, libbpf
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.kernel.bpf.maps import read_all, read_batches
from pydsr.model.flow_records import FlowRecord

# struct record, and the service within struct flow_key: unpacked by the hundred thousand.
_RECORD = struct.Struct("=QIHH")
_FLOW_SERVICE = struct.Struct("=I")

_WORD = array("I").itemsize
_SERVICE, _WORDS = layout.FlowKey.service.offset // _WORD, sizeof(layout.FlowKey) // _WORD

_COUNT_VALID = 100
"""A count is valid for so many times its own duration: counting costs a hundredth of a CPU."""


class FlowRecordStore:
    """The map ``records``; or ``pending``, which holds the half-open flows in the same form."""

    def __init__(self, fd: Descriptor) -> None:
        self._fd = fd
        self._counts: Counter[int] = Counter()
        self._count_due = 0.0

    def all(self) -> Iterator[FlowRecord]:
        """Yield all records."""
        for key, value in read_all(self._fd, layout.FlowKey, layout.RecordValue):
            last_seen, slot, backend, flags = _RECORD.unpack(value)
            (service,) = _FLOW_SERVICE.unpack_from(key, layout.FlowKey.service.offset)
            closing = bool(flags & layout.RecordFlag.CLOSING)
            yield FlowRecord(key, service, slot, backend, last_seen, closing)

    def count_by_service(self) -> Mapping[int, int]:
        """Return the number of records by service id; with many records, a recent number."""
        begun = time.monotonic()
        if begun >= self._count_due:
            counts: Counter[int] = Counter()
            for keys, _ in read_batches(self._fd, layout.FlowKey, layout.RecordValue):
                counts.update(array("I", keys)[_SERVICE::_WORDS])
            self._counts = counts
            self._count_due = time.monotonic() + _COUNT_VALID * (time.monotonic() - begun)
        return self._counts

    def delete(self, record: FlowRecord) -> None:
        """Delete a record, if it still exists."""
        libbpf.map_delete(self._fd, layout.FlowKey.from_buffer_copy(record.key))
