"""How the daemon takes memory from the C library, and gives it back."""

from __future__ import annotations

import asyncio
import ctypes
from contextlib import suppress

_M_ARENA_MAX = -8
"""Of malloc.h (glibc)."""

_PAUSE_SECONDS = 10.0


def share_one_arena() -> None:
    """Have all threads take memory from one place, to be called before there are others.

    By itself, glibc gives each thread an arena, of which none gives back what is free in its midst:
    in weeks of reloads they come to ten MiB and more. An arena of its own saves a thread from
    waiting for others, and Python lets but one of them run anyway.
    """
    # Other C libraries have no such function, and no arenas.
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


async def give_back_memory() -> None:
    """Give what is free back to the system again and again, until cancelled.

    Only the end of the heap goes back by itself; what is in use lies between what is free, so that
    it would grow from one reload to the next.
    """
    while True:
        await asyncio.sleep(_PAUSE_SECONDS)
        await asyncio.to_thread(give_back_once)


def give_back_once() -> None:
    """Give back whole pages that are free, wherever they are: some milliseconds."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
