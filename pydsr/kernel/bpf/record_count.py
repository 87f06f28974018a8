"""How many flow records each service has: all of them have to be walked to know."""

from __future__ import annotations

import time
from array import array
from collections import Counter
from ctypes import sizeof

from pydsr.kernel.bpf import layout
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.kernel.bpf.maps import read_batches

_REST = 100
"""For this many times what a walk took, its result stands: that bounds the cost to a hundredth."""

_WORD = array("I").itemsize
_SERVICE, _WORDS = layout.FlowKey.service.offset // _WORD, sizeof(layout.FlowKey) // _WORD


class RecordCount:
    """Counts the records of flows, as often as it may.

    Args:
        fd: the map ``records``, or ``pending``.
    """

    def __init__(self, fd: Descriptor) -> None:
        self._fd = fd
        self._counted: Counter[int] = Counter()
        self._due = 0.0

    def by_service(self) -> Counter[int]:
        """Return how many records each service id has, or a moment ago had."""
        begun = time.monotonic()
        if begun >= self._due:
            counted: Counter[int] = Counter()
            for keys, _ in read_batches(self._fd, layout.FlowKey, layout.RecordValue):
                counted.update(array("I", keys)[_SERVICE::_WORDS])
            self._counted = counted
            self._due = time.monotonic() + _REST * (time.monotonic() - begun)
        return self._counted
