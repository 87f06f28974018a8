"""Send HTTP requests at a varying rate: ``python -m docs.load URL PER_SECOND``."""

from __future__ import annotations

import math
import random
import sys
import time
import urllib.request
from contextlib import suppress

_WAVE_SECONDS = 140


def send_requests(url: str, per_second: float) -> None:
    """Send requests until the process is killed, each over a new connection."""
    while True:
        with suppress(OSError):
            urllib.request.urlopen(url, timeout=2).read()  # noqa: S310 - a URL of the lab
        wave = math.sin(math.tau * time.time() / _WAVE_SECONDS)
        time.sleep((1 + 0.5 * wave + 0.3 * random.random()) / per_second)  # noqa: S311


if __name__ == "__main__":
    send_requests(sys.argv[1], float(sys.argv[2]))
