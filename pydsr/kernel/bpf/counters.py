"""The program's counters of backends and reasons, for each CPU."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from ctypes import c_uint32, c_uint64
from functools import cache
from itertools import islice
from pathlib import Path

from pydsr.kernel.bpf import libbpf
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.model.service import Service
from pydsr.model.snapshot import Counters

_WRITTEN_AT_ONCE = 4096
_PAGE = 256
"""Elements read by one call: used ids are mostly adjacent."""


class PerCpuArray:
    """A per-CPU array of 64-bit counters; reads return the sum over the CPUs."""

    def __init__(self, fd: Descriptor, words: int) -> None:
        self._fd = fd
        self._words = words
        self._cpus = possible_cpus()

    def read(self, index: int) -> tuple[int, ...]:
        """Return the totals of one element."""
        values = (c_uint64 * (self._words * self._cpus))()
        libbpf.map_lookup(self._fd, c_uint32(index), values)
        return tuple(sum(values[word :: self._words]) for word in range(self._words))

    def read_many(self, indices: Iterable[int]) -> dict[int, tuple[int, ...]]:
        """Return the totals of elements by index; adjacent elements are read with them."""
        totals: dict[int, tuple[int, ...]] = {}
        by_page: dict[int, list[int]] = {}
        for index in indices:
            by_page.setdefault(index // _PAGE, []).append(index)
        for page, inside in by_page.items():
            read = self._read_page(page * _PAGE)
            totals.update((index, read[index % _PAGE]) for index in inside)
        return totals

    def _read_page(self, start: int) -> list[tuple[int, ...]]:
        values = (c_uint64 * (self._words * self._cpus * _PAGE))()
        count, _ = libbpf.map_read_batch(
            self._fd, (c_uint32 * _PAGE)(), values, c_uint32(start - 1), first=start == 0
        )
        numbers = array("Q", bytes(values))[: count * self._words * self._cpus]
        return list(zip(*(self._sums(numbers, word) for word in range(self._words)), strict=True))

    def _sums(self, numbers: array[int], word: int) -> Iterator[int]:
        """Yield the total of one counter of each element."""
        in_one = self._words * self._cpus
        each_cpu = (numbers[place::in_one] for place in range(word, in_one, self._words))
        return map(sum, zip(*each_cpu, strict=True))

    def zero(self, indices: Sequence[int]) -> None:
        """Set elements to zero on every CPU."""
        left = iter(indices)
        while batch := list(islice(left, _WRITTEN_AT_ONCE)):
            keys = (c_uint32 * len(batch))(*batch)
            values = (c_uint64 * (self._words * self._cpus * len(batch)))()
            libbpf.map_update_batch(self._fd, keys, values, len(batch))


@cache
def possible_cpus() -> int:
    """Return how many CPUs a per-CPU map has values for (not those merely online)."""
    last = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii")
    return int(last.strip().rpartition("-")[2].rpartition(",")[2]) + 1


class CounterStore:
    """The maps ``counters``, by backend id, and ``verdicts``, by the number of a reason."""

    def __init__(self, counters: Descriptor, verdicts: Descriptor) -> None:
        self._counters = PerCpuArray(counters, 3)
        self._verdicts = PerCpuArray(verdicts, 1)

    def of_services(self, services: Iterable[Service]) -> dict[int, Counters]:
        """Return the totals of every backend of some services, by backend id."""
        services = tuple(services)
        ids = [backend.id for service in services for backend in service.backends]
        totals = self._counters.read_many(ids)
        counters = dict(zip(totals, map(Counters._make, totals.values()), strict=True))
        for service in services:
            if not service.endpoint.protocol.marks_new_flows:
                for backend in service.backends:
                    counters[backend.id] = counters[backend.id]._replace(new_flows=None)
        return counters

    def verdicts(self, number: int) -> list[int]:
        """Return the packets of each of the first ``number`` reasons."""
        totals = self._verdicts.read_many(range(number))
        return [totals[reason][0] for reason in range(number)]

    def zero(self, backend_ids: Sequence[int]) -> None:
        """Set the counters of backends to zero."""
        self._counters.zero(backend_ids)
