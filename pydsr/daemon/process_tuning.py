"""Tune the daemon's process: how threads switch, and how memory is returned.

This module has all tuning of the whole process, with measured effects. Tuning of one library is
beside it: ``kernel.bpf.libbpf`` and ``hashing`` call short C functions without releasing the
interpreter's lock.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
from contextlib import suppress

_SWITCH_SECONDS = 0.0005
_M_ARENA_MAX = -8
"""From glibc's malloc.h."""

_TRIM_SECONDS = 10.0


def tune_process() -> None:
    """Tune the process; call this before other threads exist."""
    # A thread that returns from a kernel call waits this long for the interpreter while another
    # thread computes. 200 short calls take 0.15 s, and 0.5 s with Python's default of 5 ms.
    sys.setswitchinterval(_SWITCH_SECONDS)
    use_one_arena()


def use_one_arena() -> None:
    """Make all threads allocate from one arena of malloc.

    glibc gives each thread an arena of its own, and none returns free memory between blocks in
    use. In 5,000 reloads and flaps the daemon grew from 52 to 63 MiB; with one arena and
    :func:`trim_memory` it stays below 49 MiB. Only one thread runs Python code at a time, so they
    seldom compete for the arena.
    """
    # Other C libraries have neither the function nor arenas.
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


async def trim_memory_regularly() -> None:
    """Return free memory to the system every ten seconds, until cancelled."""
    while True:
        await asyncio.sleep(_TRIM_SECONDS)
        await asyncio.to_thread(trim_memory)


def trim_memory() -> None:
    """Return all free pages to the system, which takes some milliseconds.

    By itself, glibc only returns the end of the heap.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
