"""Ask for a page again and again, now more, now less: ``python -m docs.load URL PER_SECOND``."""

from __future__ import annotations

import math
import random
import sys
import time
import urllib.request
from contextlib import suppress

_WAVE_SECONDS = 140


def ask_for_ever(url: str, per_second: float) -> None:
    """Ask over a connection of its own each time."""
    while True:
        with suppress(OSError):
            urllib.request.urlopen(url, timeout=2).read()  # noqa: S310 - a URL of the lab
        wave = math.sin(math.tau * time.time() / _WAVE_SECONDS)
        time.sleep((1 + 0.5 * wave + 0.3 * random.random()) / per_second)  # noqa: S311


if __name__ == "__main__":
    ask_for_ever(sys.argv[1], float(sys.argv[2]))
