"""Changes under load: weights, backends, upgrades, and connections that outlive them."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from pydsr.kernel.bpf.python_process import PYTHON
from pydsr.lab.client import Answer
from pydsr.lab.lab import Lab
from tests.support.lab.requests import (
    DEADLINE_SECONDS,
    SERVICES,
    VIP4,
    answers,
    document,
    eventually,
    running,
)
from tests.support.paths import SUPPORT

SERVICE = SERVICES["IPv4"]
ONE, TWO, THREE = "10.77.0.11", "10.77.0.12", "10.77.0.13"
DOWNLOAD = SUPPORT / "lab" / "download.py"
DOWNLOAD_BYTES = 40_000_000


@pytest.fixture
def changed_lab(shared_lab: Lab) -> Iterator[Lab]:
    """The shared lab, whose backends are put back in the end."""
    yield shared_lab
    shared_lab.pydsr("services", "remove", SERVICE)
    shared_lab.pydsr("backends", "set", SERVICE, ONE, TWO, THREE)


@contextmanager
def load(lab: Lab, log: Path) -> Iterator[list[Answer]]:
    """Have requests run for the length of the block; the list is filled at its end."""
    seen: list[Answer] = []
    command = [*PYTHON, "pydsr.lab.client", f"--target={SERVICE}"]
    with log.open("w") as output:
        process = lab.popen("client1", command, stdin=subprocess.PIPE, stdout=output)
        try:
            assert eventually(lambda: log.stat().st_size)
            yield seen
        finally:
            process.communicate(timeout=DEADLINE_SECONDS)
    seen.extend(Answer.parse(line) for line in log.read_text().splitlines())


@contextmanager
def downloads(lab: Lab, number: int) -> Iterator[None]:
    """Have that many downloads run for the length of the block; none may fail."""
    command = [sys.executable, str(DOWNLOAD), VIP4, f"/bytes/{DOWNLOAD_BYTES}"]
    with ExitStack() as stack:
        processes = [stack.enter_context(running(lab, "client1", command)) for _ in range(number)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
        yield
        assert all(process.poll() is None for process in processes), "they ended too early"
        for process in processes:
            output, errors = process.communicate(timeout=DEADLINE_SECONDS)
            assert (output, errors) == (f"{DOWNLOAD_BYTES}\n", "")


def test_weights_are_seen_in_the_spread(changed_lab: Lab) -> None:
    """A backend of weight 3 gets three times the requests of one of weight 1."""
    number = 400
    changed_lab.pydsr("services", "remove", SERVICE)
    changed_lab.pydsr("backends", "set", SERVICE, f"{ONE}=3", f"{TWO}=1", f"{THREE}=0")
    (service,) = document(changed_lab, "backends", "list", SERVICE)
    shares = [backend["share"] for backend in service["backends"]]
    assert shares == pytest.approx([0.75, 0.25, 0.0], abs=0.01)
    spread = answers(changed_lab, SERVICE, number)
    assert set(spread) == {"backend1", "backend2"}
    deviation = math.sqrt(number * 0.75 * 0.25)
    assert abs(spread["backend1"] - 0.75 * number) < 5 * deviation


def test_changes_that_keep_backends_lose_no_request(changed_lab: Lab, tmp_path: Path) -> None:
    """Weights, a drain to weight 0, a new backend: under load every request is answered."""
    changed_lab.pydsr("services", "remove", SERVICE)
    changed_lab.pydsr("backends", "set", SERVICE, ONE, TWO)
    with load(changed_lab, tmp_path / "log") as seen:
        for backends in (
            (f"{ONE}=5", TWO),
            (ONE, TWO, THREE),
            (ONE, f"{TWO}=0", THREE),
            (ONE, f"{TWO}=2", f"{THREE}=7"),
        ):
            changed_lab.pydsr("backends", "set", SERVICE, *backends)
    assert [answer for answer in seen if answer.error] == []
    assert {answer.backend for answer in seen} == {"backend1", "backend2", "backend3"}
    assert len(seen) > 100


def test_a_removal_costs_at_most_the_requests_of_that_backend(
    changed_lab: Lab, tmp_path: Path
) -> None:
    """Only requests under way on the removed backend may fail; it gets no later one."""
    with load(changed_lab, tmp_path / "log") as seen:
        changed_lab.pydsr("backends", "set", SERVICE, ONE, TWO)
        after = answers(changed_lab, SERVICE, 60)
    assert set(after) == {"backend1", "backend2"}
    last = max(answer.began for answer in seen if answer.backend == "backend3")
    failed = [answer for answer in seen if answer.error]
    assert len(failed) <= 8, "one for each thread of the client"
    assert all(answer.began <= last + 1 for answer in failed)


def test_an_upgrade_under_load_loses_no_request(changed_lab: Lab, tmp_path: Path) -> None:
    """Attach on an attached interface is not noticed by clients."""
    with load(changed_lab, tmp_path / "log") as seen:
        for _ in range(3):
            assert "upgraded in place" in changed_lab.pydsr("attach", "eth0")
    assert [answer for answer in seen if answer.error] == []


def test_downloads_survive_upgrades(changed_lab: Lab) -> None:
    """A connection goes on through a new program as if nothing was."""
    with downloads(changed_lab, 3):
        for _ in range(2):
            assert "upgraded in place" in changed_lab.pydsr("attach", "eth0")


def test_downloads_stay_on_their_backends(changed_lab: Lab) -> None:
    """Connections older than a change stay where they are: none is broken by new owners."""
    changed_lab.pydsr("services", "remove", SERVICE)
    changed_lab.pydsr("backends", "set", SERVICE, ONE, TWO)
    with downloads(changed_lab, 10):
        for backends in ((ONE, TWO, THREE), (f"{ONE}=0", TWO, THREE), (ONE, f"{TWO}=9", THREE)):
            changed_lab.pydsr("backends", "set", SERVICE, *backends)
            answers(changed_lab, SERVICE, 10)


def test_clients_are_served_again_after_detach_and_attach(changed_lab: Lab) -> None:
    """After detach the VIP is silent; after attach clients are served at once."""
    curl = ["curl", "--silent", "--max-time", "1", f"http://{VIP4}/"]
    changed_lab.pydsr("detach", "eth0")
    assert changed_lab.run("client1", curl).returncode == 28
    changed_lab.pydsr("attach", "eth0")
    assert set(answers(changed_lab, SERVICE, 60)) == {"backend1", "backend2", "backend3"}
