"""``pydsr run``: apply and reload the file, stop in every way, work beside commands."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pydsr.kernel.bpf.lock import locked
from pydsr.model.errors import ExitStatus
from tests.support.netns.command import Pydsr
from tests.support.netns.daemon_process import Daemon
from tests.support.netns.namespaces import BACKENDS, DEADLINE_SECONDS, Host, eventually
from tests.support.paths import CHECKOUT

A, B, C = BACKENDS[:3]
VIP = "10.66.0.80"
SERVICE = f"{VIP}:80"
SEED = int(os.environ.get("PYDSR_TEST_SEED", str(time.time_ns())))
UNIT = CHECKOUT / "packaging" / "pydsr.service"


def file_of(*backends: str) -> str:
    return f"""\
interfaces: [eth0]
table-size: 251
services:
  - endpoint: {SERVICE}
    backends: [{", ".join(backends)}]
"""


@pytest.fixture
def daemon(pydsr: Pydsr, tmp_path: Path) -> Daemon:
    """A daemon that is not started, with a file of two backends."""
    made = Daemon(pydsr, tmp_path)
    made.write(file_of(A, B))
    return made


@pytest.fixture
def started(daemon: Daemon) -> Daemon:
    """A daemon whose balancer exists already, which saves compiling."""
    daemon.pydsr.ok("apply", str(daemon.file))
    return daemon


def test_it_applies_its_file_and_leaves_the_data_plane_running(daemon: Daemon, peer: Host) -> None:
    """SIGTERM ends it with status 0, and packets still flow."""
    with daemon.running() as process:
        assert {A, B} == daemon.pydsr.addresses(SERVICE)
        assert 0 == daemon.pydsr("diff", str(daemon.file)).status
        assert peer.pings(VIP)
        # Another process compiled the program, so no compiler is in memory.
        assert "libLLVM" not in Path(f"/proc/{process.pid}/maps").read_text()
        assert 0 == daemon.stop(process)
    assert {"eth0": "native"} == daemon.pydsr.modes()
    assert peer.pings(VIP)
    done = daemon.pydsr("events", *daemon.runtime)
    assert (ExitStatus.FAILED, "no pydsr daemon answers" in done.stderr) == (done.status, True)


def test_it_detaches_at_the_end_with_detach_on_exit(started: Daemon, peer: Host) -> None:
    """On SIGINT as on SIGTERM."""
    with started.running("--detach-on-exit") as process:
        assert peer.pings(VIP)
        assert 0 == started.stop(process, signal.SIGINT)
    assert {} == started.pydsr.modes()
    assert not peer.pings(VIP, "-W1")


def test_a_changed_file_and_sighup_reload(started: Daemon) -> None:
    """Changes by commands last until then, and diff shows them."""
    with started.running() as process:
        started.write(file_of(A, B, C))
        (event,) = started.until("reloaded")
        assert {A, B, C} == started.pydsr.addresses(SERVICE)
        assert ("add backend", f"{SERVICE}/tcp {C}") in [
            (change["action"], change["object"]) for change in event["changes"]
        ]
        assert event["duration"] > 0

        started.pydsr.ok("backends", "remove", SERVICE, C)
        assert ExitStatus.NOT_AS_DESIRED == started.pydsr("diff", str(started.file)).status
        process.send_signal(signal.SIGHUP)
        started.until("reloaded", 2)
        assert {A, B, C} == started.pydsr.addresses(SERVICE)


def test_an_invalid_file_at_the_start_changes_nothing(daemon: Daemon) -> None:
    """The status is 3, and the message has the line."""
    daemon.write("interfaces: [eth0]\nservices:\n  - endpoint: nonsense\n    backends: []\n")
    assert ExitStatus.BAD_INPUT == daemon.ends()
    assert f"{daemon.file}:3: services[0].endpoint" in daemon.log
    assert "Traceback" not in daemon.log
    assert not daemon.pydsr.bpffs.exists()


def test_a_file_that_cannot_be_applied_leaves_nothing_behind(daemon: Daemon) -> None:
    """Neither pins nor a lock, if an interface does not exist."""
    daemon.write(file_of(A).replace("eth0", "eth7"))
    assert ExitStatus.BAD_INPUT == daemon.ends()
    assert "there is no interface 'eth7'" in daemon.log
    assert not daemon.pydsr.bpffs.exists()


def test_an_invalid_file_at_a_reload_changes_nothing(started: Daemon, peer: Host) -> None:
    """The error is logged with its line, and the next valid file is loaded."""
    with started.running():
        before = started.pydsr.state()
        started.write(file_of(A, "nonsense"))
        (event,) = started.until("reload-failed")
        assert f"{started.file}:5: services[0].backends[1]" in event["cause"]
        assert before == started.pydsr.state()
        assert peer.pings(VIP)
        started.write(file_of(A))
        started.until("reloaded")
        assert {A} == started.pydsr.addresses(SERVICE)


def test_one_daemon_is_enough(started: Daemon) -> None:
    """A second one is refused; after a kill the next takes over."""
    with started.running() as first:
        second = Daemon(started.pydsr, started.folder)
        assert ExitStatus.FAILED == second.ends()
        assert "another pydsr daemon runs" in started.log
        assert started.events()
        first.kill()
        first.wait()
    with started.running():
        assert started.events("started")


def test_commands_work_beside_it_and_it_waits_for_them(started: Daemon) -> None:
    """A reload waits while a command holds the lock."""
    with started.running() as process:
        started.pydsr.ok("backends", "drain", SERVICE, A)
        with locked(started.pydsr.bpffs):
            started.write(file_of(A, B, C))
            process.send_signal(signal.SIGHUP)
            assert [] == started.events("reloaded")
            assert {A, B} == started.pydsr.addresses(SERVICE)
        started.until("reloaded")
        assert eventually(lambda: {A, B, C} == started.pydsr.addresses(SERVICE))


def test_killed_at_any_moment_traffic_goes_on_and_the_next_start_takes_over(
    started: Daemon, peer: Host
) -> None:
    """During the start, a reload, or at rest."""
    generator = random.Random(SEED)
    files = [file_of(A, B), file_of(B, C), file_of(f"{A}=3", C)]
    wanted = [{A, B}, {B, C}, {A, C}]
    for attempt in range(8):
        where = f"seed {SEED}, attempt {attempt}"
        started.write(files[attempt % 3])
        (started.folder / "log").write_text("")
        process = started.start()
        assert_pings(peer, generator.uniform(0.2, 1.5), where)
        started.write(files[(attempt + 1) % 3])
        if "applied:" in started.log:
            process.send_signal(signal.SIGHUP)
            assert_pings(peer, generator.uniform(0, 0.05), where)
        process.kill()
        process.wait()
        assert peer.pings(VIP), where
        assert started.pydsr.addresses(SERVICE) in wanted, where
    with started.running():
        assert wanted[(attempt + 1) % 3] == started.pydsr.addresses(SERVICE)
        assert 0 == started.pydsr("diff", str(started.file)).status


def assert_pings(peer: Host, seconds: float, where: str) -> None:
    """Check that the VIP answers for some time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert peer.pings(VIP), where


def test_a_silent_backend_does_not_keep_others_out(started: Daemon, peer: Host) -> None:
    """It is added when it answers."""
    late = "10.66.0.50"
    started.write(file_of(A, late))
    with started.running():
        assert {A} == started.pydsr.addresses(SERVICE)
        (event,) = started.until("backend-waiting")
        assert f"{SERVICE}/tcp {late}" == event["object"]
        peer.run("ip", "address", "add", f"{late}/24", "dev", "eth0")
        assert eventually(lambda: {A, late} == started.pydsr.addresses(SERVICE))
        assert 0 == started.pydsr("diff", str(started.file)).status


def test_events_are_followed_and_notified(started: Daemon) -> None:
    """Followers and the notify command get each as a line of JSON."""
    notified = started.folder / "notified"
    with started.running("--notify", f"tee -a {notified}") as process:
        follower = started.pydsr.start("events", "--follow", "--json", *started.runtime)
        assert follower.stdout is not None
        assert "started" == json.loads(follower.stdout.readline())["event"]
        started.write(file_of(A))
        lines = iter(follower.stdout.readline, "")
        followed = next(line for line in lines if json.loads(line)["event"] == "reloaded")
        assert eventually(lambda: notified.exists() and followed in notified.read_text())
        assert 0 == started.stop(process)
        rest, _ = follower.communicate(timeout=DEADLINE_SECONDS)
        assert "stopping" == json.loads(rest.splitlines()[-1])["event"]
        assert "stopping" in notified.read_text().splitlines()[-1]


def test_systemd_is_notified_of_every_state(started: Daemon) -> None:
    """Ready, watchdog, reloading, ready again and stopping, in that order."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        path = str(started.folder / "notify")
        manager.bind(path)
        manager.settimeout(DEADLINE_SECONDS)
        wrapper = ("env", f"NOTIFY_SOCKET={path}", "WATCHDOG_USEC=400000")
        pydsr = replace(started.pydsr, wrapper=wrapper)
        with Daemon(pydsr, started.folder).running() as process:
            wait_for_notification(manager, "READY=1")
            for _ in range(3):
                wait_for_notification(manager, "WATCHDOG=1")
            process.send_signal(signal.SIGHUP)
            wait_for_notification(manager, "RELOADING=1")
            assert f"as in {started.file}" in wait_for_notification(manager, "READY=1")
            process.send_signal(signal.SIGTERM)
            wait_for_notification(manager, "STOPPING=1")
            assert 0 == process.wait(DEADLINE_SECONDS)


def wait_for_notification(manager: socket.socket, wanted: str) -> str:
    """Return the next message that begins as wanted."""
    while not (message := manager.recv(4096).decode()).startswith(wanted):
        pass
    return message


def test_it_works_with_the_capabilities_of_its_unit(daemon: Daemon) -> None:
    """They suffice to compile, attach and announce."""
    (line,) = [
        line for line in UNIT.read_text().splitlines() if line.startswith("CapabilityBoundingSet=")
    ]
    names = [name.removeprefix("CAP_").lower() for name in line.partition("=")[2].split()]
    bounding = ",".join(["-all", *(f"+{name}" for name in names)])
    wrapper = ("setpriv", "--no-new-privs", "--inh-caps=-all", f"--bounding-set={bounding}")
    confined = Daemon(Pydsr(daemon.pydsr.host, daemon.pydsr.bpffs, wrapper=wrapper), daemon.folder)
    with confined.running() as process:
        confined.write(file_of(A, C) + "    max-new-flows: 100\n")
        daemon.until("reloaded")
        assert {A, C} == daemon.pydsr.addresses(SERVICE)
        assert 0 == confined.stop(process)


def test_memory_and_descriptors_stay_flat_over_many_reloads(started: Daemon) -> None:
    """Two hundred reloads, each with a change, after some to warm up."""
    files = [file_of(A, B), file_of(A, C)]
    with started.running() as process:
        before = None
        for number in range(1, 251):
            started.file.write_text(files[number % 2])
            reload(started, process)
            if number == 50:
                before = usage(process.pid)
        assert before is not None
        descriptors, kibibytes = before
        # Threads that query the kernel open some for a moment.
        assert eventually(lambda: usage(process.pid)[0] <= descriptors)
        # Free memory is returned every ten seconds.
        assert eventually(lambda: usage(process.pid)[1] < kibibytes + 4096)


def reload(daemon: Daemon, process: subprocess.Popen[str]) -> None:
    """Reload the file and wait for the end of that."""
    count = daemon.log.count("reloaded:")
    process.send_signal(signal.SIGHUP)
    assert eventually(lambda: daemon.log.count("reloaded:") > count)


def usage(pid: int) -> tuple[int, int]:
    """Return how many descriptors a process has, and its anonymous memory in KiB."""
    (line,) = [
        line
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("RssAnon")
    ]
    return len([*Path(f"/proc/{pid}/fd").iterdir()]), int(line.split()[1])
