"""Collect the garbage of finished changes in the background.

Without it, slots whose learning time is over would come to rest only at the next change.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from pydsr.control.balancer import Balancer
from pydsr.model.errors import BusyError, NotAttachedError

FIRST_SECONDS, LONGEST_SECONDS = 60.0, 960.0
"""The pause between runs, and its maximum while flow records keep slots from coming to rest."""

_log = logging.getLogger(__name__)


async def collect_garbage(directory: Path, first_seconds: float = FIRST_SECONDS) -> None:
    """Collect garbage until cancelled, less often while that brings no slots to rest."""
    pause = first_seconds
    while True:
        await asyncio.sleep(pause)
        try:
            rested = await asyncio.to_thread(_collect_if_due, directory)
        except (BusyError, NotAttachedError):
            # A command is changing the balancer, which collects garbage first; or there is none.
            continue
        pause = first_seconds if rested != 0 else min(2 * pause, LONGEST_SECONDS)


def _collect_if_due(directory: Path) -> int | None:
    """Return how many slots came to rest; None if no slot could."""
    with Balancer(directory) as balancer:
        now = time.monotonic_ns()
        if not any(
            service.slots_changing and service.learn_until <= now for service in balancer.services()
        ):
            return None
        rested = balancer.collect_garbage().slots_rested
    _log.debug("%d slots brought to rest", rested)
    return rested
