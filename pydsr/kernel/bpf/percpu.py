"""Per-CPU arrays of counters, which add up to totals; read one by one, or by the thousand."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from ctypes import c_uint32, c_uint64
from functools import cache
from itertools import islice
from pathlib import Path

from pydsr.kernel.bpf import libbpf
from pydsr.kernel.bpf.libbpf import Descriptor

_WRITTEN_AT_ONCE = 4096
_PAGE = 256
"""Elements read by one call: those in use are mostly neighbours."""


class PerCpuArray:
    """A per-CPU array whose values are some 64-bit counters each; reads add up the CPUs."""

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
        """Return the totals of elements by index; their neighbours are read with them."""
        found: dict[int, tuple[int, ...]] = {}
        wanted: dict[int, list[int]] = {}
        for index in indices:
            wanted.setdefault(index // _PAGE, []).append(index)
        for page, inside in wanted.items():
            totals = self._read_page(page * _PAGE)
            found.update((index, totals[index % _PAGE]) for index in inside)
        return found

    def _read_page(self, start: int) -> list[tuple[int, ...]]:
        values = (c_uint64 * (self._words * self._cpus * _PAGE))()
        count, _ = libbpf.map_read_batch(
            self._fd, (c_uint32 * _PAGE)(), values, c_uint32(start - 1), first=start == 0
        )
        numbers = array("Q", bytes(values))[: count * self._words * self._cpus]
        return list(zip(*(self._sums(numbers, word) for word in range(self._words)), strict=True))

    def _sums(self, numbers: array[int], word: int) -> Iterator[int]:
        """Walk the totals of one counter of each element."""
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
