"""kill -9 of the daemon while it applies, reloads and checks: nothing is left behind."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import nullcontext
from ipaddress import ip_address
from pathlib import Path

import pytest

from pydsr.lab.lab import Lab
from pydsr.model.addresses import Endpoint
from tests.support.lab.connections import Connections, broken, start_servers
from tests.support.lab.daemon_lab import (
    Kept,
    Servers,
    closed,
    keeping,
    service_of,
    unplugged,
    without_vip,
)
from tests.support.lab.requests import VIP4, VIP6, answers, eventually, running_lab

SEED = int(os.environ.get("PYDSR_TEST_SEED", str(time.time_ns())))
KILLS = 10
TALKERS = Endpoint(ip_address(VIP4), 7007)
TROUBLES = (None, closed, without_vip, unplugged)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab of this file's own, since a daemon takes all services for its own."""
    with running_lab() as made:
        yield made


def files() -> list[str]:
    """Return a file that differs each time: in weights, a service and health options."""
    talkers = f'  - endpoint: "{TALKERS}"\n    backends: [10.77.0.11, 10.77.0.13]\n'
    weighted = ("10.77.0.11=2", "10.77.0.12", "10.77.0.13=3")
    return [
        f"services:\n{talkers}{service_of()}",
        f"services:\n{talkers}{service_of(backends=weighted)}{service_of(vip=VIP6)}",
        f"services:\n{talkers}{service_of('{on-failure: drain, minimum-healthy: 1}')}",
    ]


def made_by(kept: Kept) -> tuple[set[str], set[str], set[str]]:
    """Return what a daemon created: pins, managed neighbours, rules and routes."""
    pins = {str(path.relative_to(kept.lab.bpffs)) for path in kept.lab.bpffs.rglob("*")}
    return pins, kept.managed(), set(kept.steering())


def test_repeated_kills_leave_nothing_behind_and_do_not_stop_traffic(
    lab: Lab, tmp_path: Path
) -> None:
    """During starts, reloads and changes of health; connections are not disturbed."""
    generator = random.Random(SEED)
    servers = Servers(lab)
    servers.start("backend1", "backend2", "backend3")
    start_servers(lab, [TALKERS.port])
    with keeping(lab, tmp_path, files()[0]) as kept, Connections(lab, 0.1) as connections:
        assert eventually(kept.is_well)
        connections.open(TALKERS, 40)
        left = made_by(kept)
        kept.end(signal.SIGKILL)
        for attempt in range(KILLS):
            where = f"seed {SEED}, attempt {attempt}"
            trouble = generator.choice(TROUBLES)
            kept.write(generator.choice(files()))
            kept.launch()
            time_of_death = time.monotonic() + generator.uniform(0.3, 3)
            with trouble(lab, servers) if trouble else nullcontext():
                kept.write(generator.choice(files()))
                assert [] == broken(connections.check()), where
                eventually(lambda: False, time_of_death - time.monotonic())
                kept.end(signal.SIGKILL)
        kept.write(files()[0])
        kept.start()
        assert eventually(kept.is_well), (SEED, kept.log)
        assert [] == kept.diff(), SEED
        assert eventually(lambda: left == made_by(kept)), (SEED, left, made_by(kept))
        assert {"backend1", "backend2", "backend3"} == answers(lab, f"{VIP4}:8080", 60).keys()
        assert [] == broken(connections.check()), SEED
        kept.end()
        assert [] == kept.steering()
        assert [] == [path.name for path in tmp_path.glob("*.sock")]
