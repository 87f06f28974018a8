"""The lab's network and servers, without a balancer: a broken set-up fails here first."""

from __future__ import annotations

import errno
import itertools
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyroute2 import netns

from pydsr.kernel.bpf.python_process import PYTHON
from pydsr.lab import network
from pydsr.lab.client import Answer
from pydsr.lab.lab import Lab, remove
from pydsr.lab.topology import VIP4, VIP6, bpffs_of, namespace_of, records_of
from pydsr.model.errors import EnvironmentCannotError, InputError, PydsrError
from tests.support.netns.namespaces import DEADLINE_SECONDS

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces take root")

_numbers = itertools.count()


def new_name() -> str:
    """Return a unique name for a lab."""
    return f"t-{os.getpid()}-{next(_numbers)}"


def assert_nothing_left(name: str) -> None:
    """Check that nothing of a lab is left."""
    assert network.namespaces(name) == []
    assert not records_of(name).exists()
    assert not bpffs_of(name).exists()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two clients and two backends that serve, with no program loaded anywhere."""
    with Lab(new_name(), backends=2, clients=2, xdp_delivery=False) as made:
        made.serve()
        yield made


@pytest.mark.parametrize("source", ["lb", "client1", "backend2"])
@pytest.mark.parametrize(
    "target", ["10.77.0.1", "10.77.0.102", "10.77.0.11", "fd77::1", "fd77::102", "fd77::11"]
)
def test_hosts_reach_each_other(lab: Lab, source: str, target: str) -> None:
    ping = lab.run(source, ["ping", "-c1", "-W2", target])
    assert ping.returncode == 0, ping.stdout


def test_backends_do_not_answer_arp_for_the_vip(lab: Lab) -> None:
    arping = ["arping", "-I", "eth0", "-c1", "-w1"]
    assert lab.run("client1", [*arping, "10.77.0.12"]).returncode == 0
    assert lab.run("client1", [*arping, str(VIP4)]).returncode != 0


def test_backends_do_not_answer_neighbour_solicitations_for_the_vip(lab: Lab) -> None:
    assert lab.run("client1", ["ping", "-c1", "-W1", str(VIP6)]).returncode != 0
    neighbours = lab.run("client1", ["ip", "-6", "neigh", "show", str(VIP6)]).stdout
    assert "lladdr" not in neighbours


def test_a_backend_that_sends_from_the_vip_does_not_announce_it(lab: Lab) -> None:
    lab.run("backend1", ["ping", "-c1", "-W1", "-I", str(VIP4), "10.77.0.102"])
    neighbours = lab.run("client2", ["ip", "neigh", "show"]).stdout
    assert f"10.77.0.11 dev eth0 lladdr {lab.topology.hosts[-2].mac}" in neighbours
    assert not any("lladdr" in line for line in neighbours.splitlines() if str(VIP4) in line)


def test_a_backend_is_what_pydsr_realserver_wants_of_one(lab: Lab) -> None:
    done = lab.run("backend1", [*PYTHON, "pydsr", "realserver", "check", str(VIP4), str(VIP6)])
    assert (0, f"this host is set up for {VIP4}, {VIP6}\n") == (done.returncode, done.stdout)


def test_end_hosts_complete_checksums_themselves(lab: Lab) -> None:
    features = lab.run("backend1", ["ethtool", "--show-features", "eth0"]).stdout
    assert "tx-checksum-ip-generic: off" in features
    assert "tx-tcp-segmentation: off" in features


@pytest.mark.parametrize("address", ["10.77.0.12", "[fd77::12]"])
def test_servers_answer_with_their_name(lab: Lab, address: str) -> None:
    curl = lab.run("client1", ["curl", "--silent", "--max-time", "5", f"http://{address}/"])
    assert curl.stdout == "backend2\n"


@pytest.mark.parametrize("length", [0, 1, 65536, 65537, 1_000_000])
def test_servers_answer_as_many_bytes_as_asked(lab: Lab, length: int) -> None:
    curl = lab.run("client1", ["curl", "--silent", f"http://10.77.0.11/bytes/{length}"])
    assert len(curl.stdout) == length


@pytest.mark.parametrize(
    ("path", "status"), [("/else", "404"), ("/bytes/100000001", "400"), ("/bytes/-1", "404")]
)
def test_servers_refuse_what_they_do_not_have(lab: Lab, path: str, status: str) -> None:
    curl = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}"]
    assert lab.run("client1", [*curl, f"http://10.77.0.11{path}"]).stdout == status


def test_a_client_tells_what_became_of_each_request(lab: Lab) -> None:
    targets = ["--target=10.77.0.11:80", "--target=[fd77::12]:80", "--target=10.77.0.1:80"]
    client = [*PYTHON, "pydsr.lab.client", "--requests=30", "--path=/bytes/1000", *targets]
    answers = [Answer.parse(line) for line in lab.run("client1", client).stdout.splitlines()]
    assert len(answers) == 30
    for answer in answers:
        expected = {"10.77.0.11:80": "backend1", "[fd77::12]:80": "backend2", "10.77.0.1:80": ""}
        assert answer.backend == expected[answer.target]
        assert answer.bytes == (1000 if answer.backend else 0)
        assert answer.error.startswith("ConnectionRefusedError" if not answer.backend else "")
        assert answer.began <= answer.ended


def test_a_client_runs_until_its_stdin_is_closed(lab: Lab) -> None:
    client = lab.popen(
        "client2",
        [*PYTHON, "pydsr.lab.client", "--target=10.77.0.11:80"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert client.stdin is not None
    assert client.stdout is not None
    # By then all its threads send requests, also where its output is not buffered.
    for _ in range(20):
        assert Answer.parse(client.stdout.readline()).backend == "backend1"
    assert client.poll() is None
    client.stdin.close()
    # Not communicate(), which does not see what readline() has buffered.
    with client.stdout:
        assert client.stdout.read()
    assert client.wait(timeout=DEADLINE_SECONDS) == 0


def test_counters_tell_what_a_host_sent(lab: Lab) -> None:
    before = network.traffic(lab.name, "backend1")
    lab.run("client1", ["curl", "--silent", "http://10.77.0.11/bytes/1000000"])
    sent = network.traffic(lab.name, "backend1") - before
    assert 1_000_000 < sent.sent_bytes < 1_200_000
    assert sent.received_bytes < 200_000


def test_an_unknown_host_is_refused(lab: Lab) -> None:
    with pytest.raises(InputError, match="no host 'backend3'"):
        lab.run("backend3", ["true"])


def test_a_command_that_takes_too_long_is_killed(lab: Lab) -> None:
    with pytest.raises(PydsrError, match=r"took more than 0\.1 s"):
        lab.run("client1", ["sleep", "60"], timeout=0.1)


def test_a_command_that_does_not_exist_is_named(lab: Lab) -> None:
    with pytest.raises(EnvironmentCannotError, match="cannot run no-such-command on client1"):
        lab.run("client1", ["no-such-command"])


def test_a_second_lab_of_the_same_name_is_refused_and_harms_nothing(lab: Lab) -> None:
    with pytest.raises(InputError, match="already"):
        Lab(lab.name).build()
    assert lab.run("client1", ["ping", "-c1", "-W2", "10.77.0.11"]).returncode == 0


def test_namespaces_that_are_not_the_labs_own_are_kept_when_it_is_refused() -> None:
    name = new_name()
    foreign = namespace_of(name, "client7")
    netns.create(foreign)
    try:
        with pytest.raises(InputError, match="already"):
            Lab(name).build()
        assert network.namespaces(name) == [foreign]
    finally:
        netns.remove(foreign)


def test_labs_side_by_side_do_not_meet() -> None:
    name = new_name()
    curl = ["curl", "--silent", "--max-time", "5", "http://10.77.0.11/"]
    with (
        Lab(name, backends=1, xdp_delivery=False) as one,
        Lab(f"{name}-lb", backends=1, xdp_delivery=False) as other,
    ):
        other.serve()
        assert other.run("client1", curl).stdout == "backend1\n"
        assert one.run("client1", curl).returncode != 0
        one.down()
        assert_nothing_left(name)
        assert other.run("client1", curl).stdout == "backend1\n"


def test_the_balancers_port_has_a_native_program() -> None:
    with Lab(new_name(), backends=1) as lab, network.enter_namespace(lab.topology.switch):
        command = ["ip", "-json", "link", "show"]
        links = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    # Mode 1 is native, 2 generic: include/uapi/linux/if_link.h, XDP_ATTACHED_*.
    modes = {link["ifname"]: link.get("xdp", {}).get("mode") for link in links}
    assert modes == {"lo": None, "bridge": None, "lb": 1, "client1": None, "backend1": None}


def test_down_is_complete_and_can_be_repeated() -> None:
    lab = Lab(new_name(), backends=2)
    lab.build()
    lab.serve()
    sleeper = lab.popen("client1", ["sleep", "600"])
    assert remove(lab.name)
    assert_nothing_left(lab.name)
    assert sleeper.wait(timeout=DEADLINE_SECONDS) == -signal.SIGTERM
    assert not remove(lab.name)
    lab.down()


def test_down_ends_no_process_that_the_lab_did_not_start() -> None:
    with (
        Lab(new_name(), backends=1) as lab,
        network.enter_namespace(lab.topology.namespace("client1")),
    ):
        guest = subprocess.Popen(["sleep", "600"])
    try:
        assert_nothing_left(lab.name)
        assert guest.poll() is None
    finally:
        guest.kill()
        guest.wait()


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_a_failure_half_way_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    name, create = new_name(), netns.create
    seen: list[str] = []

    def create_three(namespace: str) -> None:
        if len(seen) == 3:
            raise failure
        seen.append(namespace)
        create(namespace)

    monkeypatch.setattr(netns, "create", create_three)
    with pytest.raises((EnvironmentCannotError, KeyboardInterrupt)):
        Lab(name).build()
    assert len(seen) == 3
    assert_nothing_left(name)


def test_a_server_that_cannot_listen_tells_why() -> None:
    with Lab(new_name(), backends=1, xdp_delivery=False) as lab:
        lab.serve()
        with pytest.raises(PydsrError, match="backend1 does not listen") as caught:
            lab.serve()
    assert "Address already in use" in caught.value.hint


def test_the_records_are_roots_alone(lab: Lab) -> None:
    for directory in (Path("/run/pydsr-lab"), records_of(lab.name)):
        assert directory.stat().st_mode & 0o777 == 0o700
