"""Commands at the same time: changes take turns, reading never waits."""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from pydsr.kernel.bpf.lock import locked
from pydsr.model.errors import BusyError, ExitStatus
from tests.support.netns.command import Fork, Pydsr
from tests.support.netns.namespaces import Host, eventually

SERVICE = "10.66.0.80:80"


def by_hand(number: int) -> str:
    """Return a backend whose MAC is given, so that nothing is asked of the network."""
    return f"10.66.0.{100 + number}@02:00:00:00:01:{number:02x}"


@contextmanager
def holding_the_lock(bpffs: Path) -> Iterator[None]:
    """Do as a command does that is changing the state, in another process."""
    command = ["flock", str(bpffs), "sh", "-c", "echo; read _"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert b"\n" == holder.stdout.readline()
        try:
            yield
        finally:
            holder.communicate(b"\n")


def at_speed(speed: float) -> Callable[[], None]:
    """Return what changes the clock of a command: at speed 0 it waits for ever."""
    monotonic = time.monotonic

    def change() -> None:
        time.monotonic = lambda: monotonic() * speed

    return change


@contextmanager
def at_once(pydsr: Pydsr, *commands: Sequence[str], speed: float = 0.0) -> Iterator[list[Fork]]:
    """Run commands at the same time during the block, whose clocks have a speed."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(pydsr.forking(*command, prepare=at_speed(speed)))
            for command in commands
        ]


def waits_for_the_lock(pid: int, bpffs: Path) -> bool:
    """Return whether a process has the directory open, which it has to take the lock."""
    try:
        opened = [fd.readlink() for fd in Path(f"/proc/{pid}/fd").iterdir()]
    except FileNotFoundError:
        return False
    return bpffs in opened


def test_changes_at_once_are_all_made(balancer: Pydsr) -> None:
    """Of many commands that add a backend each, every one is applied, in some order."""
    balancer.ok("services", "add", SERVICE)
    commands = [("backends", "add", SERVICE, by_hand(number)) for number in range(10)]
    with at_once(balancer, *commands) as changes:
        for change in changes:
            assert ExitStatus.DONE == change.wait().status, change.done
    assert balancer.addresses(SERVICE) == {f"10.66.0.{100 + number}" for number in range(10)}


def test_attach_at_once_attaches_once(pydsr: Pydsr, lb: Host) -> None:
    """Several first attaches of one interface all succeed, and leave one balancer."""
    with at_once(pydsr, *[("attach", "eth0")] * 3) as attaches:
        done = [attach.wait() for attach in attaches]
    assert [ExitStatus.DONE] * 3 == [each.status for each in done], done
    assert sorted(each.stdout.split(", ")[0] for each in done) == [
        "eth0: attached",
        "eth0: upgraded in place",
        "eth0: upgraded in place",
    ]
    assert pydsr.json("status")["interfaces"][0]["program_id"] == lb.xdp_program("eth0")


def test_a_change_waits_for_another_to_end(balancer: Pydsr, bpffs: Path) -> None:
    """A command that finds the state locked makes its change once it is free."""
    balancer.ok("services", "add", SERVICE)
    command = ("backends", "add", SERVICE, by_hand(1))
    with ExitStack() as stack:
        with holding_the_lock(bpffs):
            (change,) = stack.enter_context(at_once(balancer, command))
            assert eventually(lambda: waits_for_the_lock(change.pid, bpffs))
            assert balancer.addresses(SERVICE) == set()
            assert change.is_running()
        assert ExitStatus.DONE == change.wait().status, change.done
    assert balancer.addresses(SERVICE) == {"10.66.0.101"}


def test_a_change_gives_up_in_the_end_and_reading_never_waits(balancer: Pydsr, bpffs: Path) -> None:
    """While one command holds the lock for too long others read; changes say what is the matter."""
    balancer.ok("services", "add", SERVICE)
    commands = [
        ("backends", "add", SERVICE, by_hand(1)),
        ("services", "remove", SERVICE),
        ("attach", "eth0"),
        ("detach", "--all", "--purge"),
    ]
    with holding_the_lock(bpffs):
        with at_once(balancer, *commands) as changes:
            for change in changes:
                assert eventually(lambda pid=change.pid: waits_for_the_lock(pid, bpffs))  # type: ignore[misc]
            assert balancer.addresses(SERVICE) == set()
            for arguments in (("status",), ("stats",), ("top", "--once", "--interval", "0.1")):
                balancer.ok(*arguments)
            assert all(change.is_running() for change in changes)
        with at_once(balancer, *commands, speed=30.0) as changes:
            for change in changes:
                done = change.wait()
                assert done.status == ExitStatus.FAILED
                assert f"another pydsr command is changing {bpffs}" in done.stderr
                assert "Traceback" not in done.stderr
    assert balancer.modes() == {"eth0": "native"}


def test_the_lock_names_the_directory(balancer: Pydsr, bpffs: Path) -> None:
    """In Python the wait can be as short as the caller likes."""
    assert balancer.modes() == {"eth0": "native"}
    with holding_the_lock(bpffs), pytest.raises(BusyError, match=bpffs.name), locked(bpffs, 0.01):
        pytest.fail("two hold the lock")


def test_a_killed_holder_leaves_the_lock_free(balancer: Pydsr, bpffs: Path) -> None:
    """The kernel frees the lock of a process that died: there is no file to remove by hand."""
    descriptor = os.open(bpffs, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.close(descriptor)
    balancer.ok("services", "add", SERVICE)


def test_a_change_is_not_lost_when_the_state_is_purged_meanwhile(
    balancer: Pydsr, bpffs: Path, lb: Host
) -> None:
    """A change that waited while the balancer was removed does not claim to be done."""
    balancer.ok("services", "add", SERVICE)
    with ExitStack() as stack:
        with holding_the_lock(bpffs):
            command = ("backends", "add", SERVICE, by_hand(1))
            (change,) = stack.enter_context(at_once(balancer, command))
            assert eventually(lambda: waits_for_the_lock(change.pid, bpffs))
            for path in (*(bpffs / "links").iterdir(), *bpffs.iterdir()):
                path.rmdir() if path.is_dir() else path.unlink()
            bpffs.rmdir()
        done = change.wait()
    assert done.status == ExitStatus.FAILED, done
    assert "Traceback" not in done.stderr
    assert lb.xdp_program("eth0") is None
