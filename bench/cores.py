"""Choose the core of a benchmark, and keep other processes off it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def measured_core() -> int:
    """Return the CPU to measure on: the last, since the first has the most interrupts."""
    return max(os.sched_getaffinity(0))


@contextmanager
def on_one_core(cpu: int) -> Iterator[None]:
    """Keep this thread, and the softirqs that it raises, on one CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Have no other process run on this thread's CPU, but for some 5 % of the time.

    The kernel has little to do there either: grace periods of RCU, which a change of a table
    waits for, take ten times as long.
    """
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    with suppress(PermissionError):  # as in a container: more noise, the same answers
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)
