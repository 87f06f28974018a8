"""Brings slots to rest whose flows have ended; without it, only the next change would."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from pydsr.control.balancer import Balancer
from pydsr.model.errors import BusyError, NotAttachedError

FIRST_SECONDS, LONGEST_SECONDS = 60.0, 960.0
"""How often it is looked; less often while flows keep the same slots from resting."""

_log = logging.getLogger(__name__)


async def bring_to_rest(directory: Path) -> None:
    """Tidy again and again where slots have learnt for long enough, until cancelled.

    Args:
        directory: of the pins.
    """
    pause = FIRST_SECONDS
    while True:
        await asyncio.sleep(pause)
        try:
            rested = await asyncio.to_thread(_tidy_where_due, directory)
        except (BusyError, NotAttachedError):
            # A command is at it, which does this first; or there is nothing to tidy.
            continue
        pause = FIRST_SECONDS if rested != 0 else min(2 * pause, LONGEST_SECONDS)


def _tidy_where_due(directory: Path) -> int | None:
    """Return how many slots came to rest; None where none could have."""
    with Balancer(directory) as balancer:
        now = time.monotonic_ns()
        if not any(one.slots_changing and one.learn_until <= now for one in balancer.services()):
            return None
        done = balancer.collect_garbage()
    _log.debug("%d slots brought to rest", done.slots_rested)
    return done.slots_rested
