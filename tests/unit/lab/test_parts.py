"""The parts of the lab that need no privilege: names, addresses, process records, interrupts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pydsr.lab.client import Answer
from pydsr.lab.demo import Demo, summarize
from pydsr.lab.interrupts import interruptible, signals_deferred
from pydsr.lab.processes import ProcessRecords, start_time
from pydsr.lab.topology import NETWORK4, NETWORK6, VIP4, VIP6, Role, Topology, belongs_to
from pydsr.model.errors import InputError


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[str]]:
    """A process that the lab has not started."""
    with subprocess.Popen(["sleep", "600"], text=True) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("count", [0, -1, 201])
def test_wrong_counts_are_refused(count: int) -> None:
    with pytest.raises(InputError, match=f"{count} backends"):
        Topology("lab", backends=count)
    with pytest.raises(InputError, match=f"{count} clients"):
        Topology("lab", clients=count)


@pytest.mark.parametrize("name", ["", "Lab", "a_b", "a/b", "..", "a b", "x" * 21, "a\n"])
def test_wrong_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="cannot be a lab's name"):
        Topology(name)


@pytest.mark.parametrize("count", [0, 10])
def test_wrong_numbers_of_balancers_are_refused(count: int) -> None:
    with pytest.raises(InputError, match=f"{count} balancers"):
        Topology("lab", balancers=count)


def test_addresses_are_those_documented() -> None:
    topology = Topology("lab", backends=70, clients=1, balancers=2)
    hosts = {host.name: host for host in topology.hosts}
    expected = {
        "lb": ("10.77.0.1", "fd77::1"),
        "lb2": ("10.77.0.2", "fd77::2"),
        "client1": ("10.77.0.101", "fd77::101"),
        "backend1": ("10.77.0.11", "fd77::11"),
        "backend69": ("10.77.0.79", "fd77::79"),
        "backend70": ("10.77.1.114", "fd77::370"),
    }
    assert expected == {
        name: (str(hosts[name].address4), str(hosts[name].address6)) for name in expected
    }


def test_the_largest_lab_has_no_address_twice() -> None:
    hosts = Topology("lab", backends=200, clients=200, balancers=9).hosts
    addresses4 = {host.address4 for host in hosts} | {VIP4}
    addresses6 = {host.address6 for host in hosts} | {VIP6}
    assert len(hosts) + 1 == len(addresses4) == len(addresses6)
    assert len(hosts) == len({host.mac for host in hosts})
    assert all(address in NETWORK4 for address in addresses4)
    assert all(address in NETWORK6 for address in addresses6)
    assert all(host.mac.is_unicast for host in hosts)


@pytest.mark.parametrize(
    ("lab", "namespace", "expected"),
    [
        ("a", "pydsr-a-switch", True),
        ("a", "pydsr-a-backend12", True),
        ("a", "pydsr-a-b-switch", False),
        ("a-b", "pydsr-a-b-switch", True),
        ("a", "pydsr-a-lb-lb", False),
        ("a", "pydsr-a-lb9", True),
        ("a", "pydsr-a-lb1", False),
        ("a", "pydsr-a-backend", False),
        ("a", "pydsr-a-other", False),
        ("a", "pydsr-aa-lb", False),
    ],
)
def test_a_namespace_belongs_to_the_lab_of_exactly_its_name(
    lab: str, namespace: str, expected: bool
) -> None:
    assert expected == belongs_to(lab, namespace)


def test_every_namespace_of_a_lab_belongs_to_it() -> None:
    topology = Topology("a-b", backends=200, clients=2)
    namespaces = [topology.switch, *(topology.namespace(host.name) for host in topology.hosts)]
    assert all(belongs_to("a-b", namespace) for namespace in namespaces)


def test_recorded_processes_are_ended(tmp_path: Path, sleeper: subprocess.Popen[str]) -> None:
    records = ProcessRecords(tmp_path / "processes")
    records.add(sleeper.pid)
    assert records.end_all() == 1
    assert sleeper.wait(timeout=60) == -signal.SIGTERM
    assert list(records.directory.iterdir()) == []


def test_a_process_that_ignores_the_request_is_ended_by_force(tmp_path: Path) -> None:
    code = (
        "import signal, sys; signal.signal(15, signal.SIG_IGN); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        records = ProcessRecords(tmp_path)
        records.add(process.pid)
        assert records.end_all(grace_seconds=0.1) == 1
        assert process.wait(timeout=60) == -signal.SIGKILL


def test_a_pid_that_was_used_again_is_left_alone(
    tmp_path: Path, sleeper: subprocess.Popen[str]
) -> None:
    (tmp_path / f"{sleeper.pid}@{int(start_time(sleeper.pid)) - 1}").touch()
    assert ProcessRecords(tmp_path).end_all() == 0
    assert sleeper.poll() is None


def test_records_of_ended_processes_are_forgotten(tmp_path: Path) -> None:
    (tmp_path / "4194304@1").touch()
    records = ProcessRecords(tmp_path)
    assert records.end_all() == 0
    assert list(tmp_path.iterdir()) == []
    assert ProcessRecords(tmp_path / "missing").end_all() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_interrupt_but_not_inside_a_block_that_defers_them(number: signal.Signals) -> None:
    reached = []
    before = signal.getsignal(number)

    def interrupted() -> None:
        with interruptible():
            with signals_deferred():
                with signals_deferred():
                    os.kill(os.getpid(), number)
                    reached.append("inner")
                reached.append("outer")
            reached.append("after")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert reached == ["inner", "outer"]
    assert before == signal.getsignal(number)


def test_a_second_signal_does_not_stop_the_cleaning_up() -> None:
    reached = []

    def interrupted() -> None:
        with interruptible():
            try:
                os.kill(os.getpid(), signal.SIGINT)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
                with signals_deferred():
                    os.kill(os.getpid(), signal.SIGTERM)
                reached.append("clean")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert reached == ["clean"]


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_requests_are_summed_up_by_backend() -> None:
    answers = [
        Answer("v", 10.0, 11.0, "backend1", 100),
        Answer("v", 10.5, 14.0, "backend1", 100),
        Answer("v", 10.5, 12.0, error="TimeoutError"),
    ]
    requests = summarize(answers, ["backend1", "backend2"])
    assert requests.answered == {"backend1": 2, "backend2": 0}
    assert requests.errors == {"TimeoutError": 1}
    assert (requests.done, requests.failed, requests.bytes) == (2, 1, 200)
    assert requests.rate == 0.5
    assert summarize([], ["backend1"]).rate == 0.0


def test_the_demo_wants_a_backend_to_spare() -> None:
    with pytest.raises(InputError, match="needs at least two"):
        Demo.check_size(1)


def test_hosts_come_in_the_order_of_their_numbers() -> None:
    topology = Topology("lab", backends=11)
    assert [f"backend{n}" for n in range(1, 12)] == [
        host.name for host in topology.hosts_of(Role.BACKEND)
    ]
