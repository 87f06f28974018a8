"""``python -m tests.soak``: thousands of reloads and flaps of one daemon; asks for root.

Connections through the balancer are kept all the while. It fails where one breaks, where the
daemon's memory, descriptors or threads grow, or where the state in the end is not the file's.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

from pydsr.model.addresses import Endpoint
from tests.soak.life import PORTS, Life, Usage, file_of, usage
from tests.support.lab.connections import Connections, broken, start_servers
from tests.support.lab.daemon_lab import Kept, Servers, keeping
from tests.support.lab.requests import VIP4, eventually, running_lab

_SAMPLES = 40
_GROWTH_KIB = 3072
"""By how much memory may differ between an early and a late part: an arena, a few tables."""


def run(events: int, seed: int, folder: Path) -> list[str]:
    """Let so many events happen; return what is wrong in the end, nothing where all is well."""
    with running_lab() as lab:
        # Small tables: it is not their making that is tried here.
        lab.pydsr("detach", "--all", "--purge")
        lab.pydsr("attach", "eth0", "--table-size", "1021")
        servers = Servers(lab)
        servers.start("backend1", "backend2", "backend3")
        start_servers(lab, [PORTS[0]])
        with (
            keeping(lab, folder, file_of((1, 1, 1))) as kept,
            Connections(lab, 1.0) as connections,
            closing(Life(lab, kept, servers, random.Random(seed))) as life,
        ):
            connections.open(Endpoint(ip_address(VIP4), PORTS[0]), 60)
            connections.close(backend="backend2")
            samples = _live(life, events)
            wrong = grown(samples)
            wrong += [f"broken: {one}" for one in broken(connections.check())]
            wrong += _differences(kept)
    _say(f"{dict(life.happened)}; in the end {samples[-1]}")
    return wrong


def _live(life: Life, events: int) -> list[Usage]:
    process = life.kept.process
    assert process is not None
    samples = []
    step = max(1, events // _SAMPLES)
    began = time.monotonic()
    for number in range(1, events + 1):
        life.go_on()
        if number % step == 0:
            samples.append(usage(process.pid))
            _say(f"{number} events, {time.monotonic() - began:.0f} s: {samples[-1]}")
    return samples


def grown(samples: list[Usage]) -> list[str]:
    """Return what was more in the last quarter than in the second, the first being for warming."""
    quarter = len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    wrong = []
    for what, slack in (("memory", _GROWTH_KIB), ("descriptors", 4), ("threads", 2)):
        # The least of each: threads that ask the kernel just then have descriptors for a moment.
        before, after = (min(getattr(one, what) for one in part) for part in (early, late))
        if after > before + slack:
            wrong.append(f"{what} grew from {before} to {after}")
    return wrong


def _differences(kept: Kept) -> list[str]:
    kept.write(file_of((1, 1, 1)))
    settled = eventually(lambda: kept.is_well() and not kept.diff(), 30)
    return [] if settled else [f"not as in the file: {kept.diff()}"]


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Run it, and say what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--events", type=int, default=5000, help="how many things happen")
    parser.add_argument("--seed", type=int, default=None, help="repeats a run")
    arguments = parser.parse_args()
    seed = random.randrange(1 << 32) if arguments.seed is None else arguments.seed
    _say(f"seed {seed}")
    with tempfile.TemporaryDirectory(prefix="pydsr-soak-") as folder:
        wrong = run(arguments.events, seed, Path(folder))
    _say("\n".join(wrong) if wrong else "nothing grew, nothing broke")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
