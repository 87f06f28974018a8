"""How the daemon takes memory from the C library."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_ARENA_MAX = -8
"""Of malloc.h (glibc)."""


def share_one_arena() -> None:
    """Have all threads take memory from one place, to be called before there are others.

    By itself, glibc gives each thread an arena, of which none gives back what is free in its midst:
    in weeks of reloads they come to ten MiB and more. An arena of its own saves a thread from
    waiting for others, and Python lets but one of them run anyway.
    """
    # Other C libraries have no such function, and no arenas.
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
