"""Record what the README shows: ``python -m docs.screenshots``, as root.

Builds a lab, sends real requests, and draws one real frame of ``pydsr top``.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from pydsr.lab.lab import Lab

IMAGES = Path(__file__).with_name("images")
_WIDTH = 100
_ENDPOINT = "10.77.0.80:80"
_WEIGHTED = ("10.77.0.11=2", "10.77.0.12", "10.77.0.13", "10.77.0.14")


def record_top(target: Path) -> None:
    """Draw ``pydsr top`` of a lab under load, just after a backend was drained."""
    with Lab("screenshot", backends=4) as lab:
        lab.serve()
        lab.balance()
        lab.pydsr("backends", "set", _ENDPOINT, *_WEIGHTED)
        load = lab.popen(
            "client1",
            ["wrk", "-t1", "-c16", "-d20", "-H", "Connection: close", f"http://{_ENDPOINT}/"],
            stdout=subprocess.DEVNULL,
        )
        try:
            _wait_for_traffic(lab)
            lab.pydsr("backends", "drain", _ENDPOINT, "10.77.0.14")
            frame = lab.run(
                "lb",
                [
                    *("env", "FORCE_COLOR=1", f"COLUMNS={_WIDTH}", "TERM=xterm-256color"),
                    *(sys.executable, "-m", "pydsr", "--bpffs", str(lab.bpffs), "top", "--once"),
                ],
            )
        finally:
            load.terminate()
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), color_system="truecolor")
    console.print(Text.from_ansi(frame.stdout))
    console.save_svg(str(target), title="pydsr top")


def _wait_for_traffic(lab: Lab) -> None:
    """Return when every backend has had some flows."""
    for _ in range(100):
        stats = json.loads(lab.pydsr("stats", "--json"))
        backends = stats["services"][0]["backends"]
        if all(backend["new_flows"] > 20 for backend in backends):
            return
    raise TimeoutError("the lab's backends get no traffic")


if __name__ == "__main__":
    record_top(IMAGES / "top.svg")
