"""Real requests of a lab's clients, and what the tests ask of a lab."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

from pydsr.lab.lab import Lab

VIP4, VIP6 = "10.77.0.80", "fd77::80"
SERVICES = {"IPv4": f"{VIP4}:80", "IPv6": f"[{VIP6}]:80"}
DEADLINE_SECONDS = 60.0

_POLL_SECONDS, _POLL_SECONDS_MAX = 0.02, 0.2
"""The first pause between two questions, and the longest: most questions take a process."""

_numbers = itertools.count()
_T = TypeVar("_T")


@contextmanager
def running_lab(backends: int = 3, clients: int = 1) -> Iterator[Lab]:
    """Have a lab that serves and balances for the length of the block."""
    if os.geteuid() != 0:
        pytest.skip("namespaces and XDP take root")
    with Lab(f"q-{os.getpid()}-{next(_numbers)}", backends, clients) as lab:
        lab.serve()
        lab.balance()
        yield lab


def eventually(ask: Callable[[], _T], seconds: float = DEADLINE_SECONDS) -> _T:
    """Return the first true answer; at the deadline, the last one."""
    deadline, pause = time.monotonic() + seconds, _POLL_SECONDS
    while not (answer := ask()) and time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(1.5 * pause, _POLL_SECONDS_MAX)
    return answer


@contextmanager
def running(lab: Lab, host: str, command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Have a command running on a host, with pipes to it, for the length of the block at most."""
    pipe = subprocess.PIPE
    process = lab.popen(host, command, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def answers(lab: Lab, service: str, number: int) -> Counter[str]:
    """Ask a service's page over that many connections, and count who answered."""
    # The fragment is not sent: curl counts by it. Brackets of an address are no range.
    place = service.replace("[", r"\[").replace("]", r"\]")
    curl = ("curl", "--silent", "--show-error", "--max-time", "30", "--header", "Connection: close")
    done = lab.run("client1", [*curl, f"http://{place}/#[1-{number}]"])
    assert done.returncode == 0, done.stderr
    counted = Counter(done.stdout.split())
    assert counted.total() == number, done.stderr
    return counted


def document(lab: Lab, *arguments: str) -> Any:
    """Run a pydsr command on the balancer, and return the document it prints."""
    return json.loads(lab.pydsr(*arguments, "--json"))


def stats_of(lab: Lab, service: str) -> dict[str, Any]:
    """Return the counters of one service."""
    found = document(lab, "stats")["services"]
    return next(dict(each) for each in found if each["service"] == f"{service}/tcp")


def backend_names(lab: Lab) -> dict[str, str]:
    """Return the host of each backend's address, of both IP versions."""
    hosts = [host for host in lab.topology.hosts if host.name.startswith("backend")]
    return {str(a): host.name for host in hosts for a in (host.address4, host.address6)}
