"""kill -9 in the midst of a command: the old state or the new one, and nothing in the way."""

from __future__ import annotations

import os
import random
import select
import signal
import time
from pathlib import Path

import pytest

from pydsr.control.balancer import Balancer
from pydsr.kernel.bpf.layout import StateNumber
from pydsr.kernel.bpf.live_state import LiveState
from tests.support.netns.command import Pydsr
from tests.support.netns.kills import ended, killed_at_step
from tests.support.netns.namespaces import Host

SERVICE = "10.66.0.80:80"
OLD = {"10.66.0.101": 1, "10.66.0.102": 1}
NEW = {"10.66.0.102": 3, "10.66.0.103": 1, "10.66.0.104": 1}
SEED = int(os.environ.get("PYDSR_TEST_SEED", str(time.time_ns())))


def arguments(backends: dict[str, int]) -> list[str]:
    """Return a set of backends as the command takes it, MACs by hand."""
    return [
        f"{address}={weight}@02:00:00:00:00:{address[-2:]}" for address, weight in backends.items()
    ]


def weights(bpffs: Path) -> dict[str, int]:
    """Return what ``backends list`` shows of the service, read in this process."""
    with Balancer(bpffs) as balancer:
        return {
            str(backend.address): backend.weight
            for service in balancer.services()
            for backend in service.backends
        }


def claimed_ids(bpffs: Path) -> tuple[set[int], set[int]]:
    """Return the backend ids that services have, and those that are taken."""
    state = LiveState(bpffs)
    try:
        named = {backend.id for service in state.services.all() for backend in service.backends}
        taken = {
            backend_id
            for number in (StateNumber.UP, StateNumber.DRAIN, StateNumber.DOWN)
            for backend_id in state.backends.ids(number)
        }
        return named, taken
    finally:
        state.close()


def kill_after(pid: int, seconds: float) -> None:
    """Kill a process that has not ended before."""
    handle = os.pidfd_open(pid)
    select.select([handle], [], [], seconds)
    signal.pidfd_send_signal(handle, signal.SIGKILL)
    os.close(handle)


def runs(pydsr: Pydsr, *command: str, killed_at: int | None = None) -> bool:
    """Run a command in a fork; return whether it ended, rather than was killed at that step."""
    return ended(pydsr.fork(*command, prepare=killed_at_step(killed_at) if killed_at else None))


def assert_whole(balancer: Pydsr, where: str) -> None:
    """Check that the state is old or new, that the next change works, and leaves no id behind."""
    assert weights(balancer.bpffs) in (OLD, NEW), where
    assert runs(balancer, "backends", "set", SERVICE, *arguments(OLD)), where
    assert weights(balancer.bpffs) == OLD, where
    named, taken = claimed_ids(balancer.bpffs)
    assert named == taken, where


@pytest.fixture
def small(pydsr: Pydsr) -> Pydsr:
    """An attached balancer whose tables are small, so that changes are quick."""
    pydsr.ok("attach", "eth0", "--table-size", "251")
    pydsr.ok("backends", "set", SERVICE, *arguments(OLD))
    return pydsr


def test_a_change_killed_at_any_of_its_steps_is_done_or_not(small: Pydsr, bpffs: Path) -> None:
    """Between any two things it does to the kernel, a kill leaves all old or all new."""
    command = ["backends", "set", SERVICE, *arguments(NEW)]
    steps = 0
    while not runs(small, *command, killed_at=steps + 1):
        steps += 1
        assert_whole(small, f"killed at step {steps}")
    assert weights(bpffs) == NEW
    assert steps > 10


def test_a_new_service_killed_at_any_step_is_there_or_not(small: Pydsr, bpffs: Path) -> None:
    """A service that a kill left half made is not seen, and is made by the next attempt."""
    small.ok("services", "remove", SERVICE)
    command = ["backends", "set", SERVICE, *arguments(NEW)]
    remove = ["services", "remove", SERVICE]
    steps = 0
    while not runs(small, *command, killed_at=steps + 1):
        steps += 1
        where = f"killed at step {steps}"
        assert weights(bpffs) in ({}, NEW), where
        if weights(bpffs) == {}:
            assert runs(small, *command), where
            assert weights(bpffs) == NEW, where
        assert runs(small, *remove), where
        assert weights(bpffs) == {}, where
        assert claimed_ids(bpffs) == (set(), set()), where
    assert weights(bpffs) == NEW


def test_a_removed_service_killed_at_any_step_is_there_or_not(small: Pydsr, bpffs: Path) -> None:
    """A removal that was killed is as before or done, and can be done again."""
    make = ["backends", "set", SERVICE, *arguments(OLD)]
    command = ["services", "remove", SERVICE]
    steps = 0
    while not runs(small, *command, killed_at=steps + 1):
        steps += 1
        where = f"killed at step {steps}"
        assert weights(bpffs) in ({}, OLD), where
        assert runs(small, *make), where
        assert weights(bpffs) == OLD, where
        named, taken = claimed_ids(bpffs)
        assert named == taken, where
    assert weights(bpffs) == {}


def test_a_change_killed_at_random_moments_is_done_or_not(small: Pydsr) -> None:
    """Wherever the kill falls, also between two instructions, the state is old or new."""
    generator = random.Random(SEED)
    command = ["backends", "set", SERVICE, *arguments(NEW)]
    began = time.monotonic()
    assert runs(small, *command)
    length = time.monotonic() - began
    assert runs(small, *command[:3], *arguments(OLD))
    for attempt in range(25):
        pid = small.fork(*command)
        kill_after(pid, generator.uniform(0, length))
        ended(pid)
        assert_whole(small, f"seed {SEED}, attempt {attempt}")


@pytest.mark.parametrize("first", [True, False], ids=["first attach", "upgrade"])
def test_an_attach_killed_at_random_moments_is_in_nobodys_way(
    pydsr: Pydsr, lb: Host, first: bool
) -> None:
    """Whatever it left, the next attach works, and so does a purge."""
    generator = random.Random(SEED)
    began = time.monotonic()
    pydsr.ok("attach", "eth0")
    length = time.monotonic() - began
    for attempt in range(4):
        where = f"seed {SEED}, attempt {attempt}"
        if first:
            pydsr.ok("detach", "--all", "--purge")
        process = pydsr.start("attach", "eth0")
        kill_after(process.pid, generator.uniform(length / 4, length))
        process.communicate(timeout=60)
        if not first:
            assert pydsr.modes() == {"eth0": "native"}, where
        done = pydsr("attach", "eth0")
        assert done.status == 0, (where, done.stderr)
        assert pydsr.json("status")["interfaces"][0]["program_id"] == lb.xdp_program("eth0"), where


def test_a_first_attach_killed_at_any_step_can_be_purged_or_repeated(
    pydsr: Pydsr, lb: Host, bpffs: Path
) -> None:
    """Half a directory of pins is no obstacle to attach, nor to detach --all --purge."""
    command = ["attach", "eth0", "--table-size", "251"]
    purge = ["detach", "--all", "--purge"]
    generator = random.Random(SEED)
    steps = sorted(generator.sample(range(1, 45), 7))
    for step in steps:
        where = f"seed {SEED}, killed at step {step}"
        if runs(pydsr, *command, killed_at=step):
            break
        if bpffs.exists() and (bpffs / "links").exists():
            assert runs(pydsr, *purge), where
            assert not bpffs.exists(), where
            assert lb.xdp_program("eth0") is None, where
        if runs(pydsr, *command, killed_at=step):
            break
        assert runs(pydsr, *command), where
        assert pydsr.modes() == {"eth0": "native"}, where
        assert runs(pydsr, *purge), where
