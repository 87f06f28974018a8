"""Real clients and servers: who answers, from which address, and past the balancer."""

from __future__ import annotations

import math
import subprocess

import pytest

from pydsr.kernel.bpf.python_process import PYTHON
from pydsr.lab import network
from pydsr.lab.lab import Lab
from tests.support.lab.requests import (
    DEADLINE_SECONDS,
    SERVICES,
    VIP4,
    VIP6,
    answers,
    backend_names,
    document,
    eventually,
    running,
    stats_of,
)

both = pytest.mark.parametrize("service", list(SERVICES.values()), ids=list(SERVICES))
NAMES = {"backend1", "backend2", "backend3"}


@both
def test_every_backend_answers_its_share(shared_lab: Lab, service: str) -> None:
    """Requests from many ports spread over all backends as evenly as chance has it."""
    number = 300
    spread = answers(shared_lab, service, number)
    assert set(spread) == NAMES
    deviation = math.sqrt(number * (1 / 3) * (2 / 3))
    assert all(abs(count - number / 3) < 5 * deviation for count in spread.values()), spread


@pytest.mark.parametrize("vip", [VIP4, VIP6], ids=["IPv4", "IPv6"])
def test_replies_come_from_the_vip_by_way_of_no_balancer(shared_lab: Lab, vip: str) -> None:
    """On the client's wire replies have the VIP as source, and a backend's MAC."""
    service = f"[{vip}]" if ":" in vip else vip
    macs = {str(h.mac): h.name for h in shared_lab.topology.hosts if h.name in NAMES}
    capture = ("tcpdump", "-i", "eth0", "-Q", "in", "-e", "-n", "-l", "--immediate-mode")
    words = [*capture, "-c", "10", f"src host {vip} and tcp port 80"]
    with running(shared_lab, "client1", words) as tcpdump:
        assert tcpdump.stderr is not None
        while "listening on" not in tcpdump.stderr.readline():
            assert tcpdump.poll() is None
        answered = answers(shared_lab, f"{service}:80", 10)
        output, _ = tcpdump.communicate(timeout=DEADLINE_SECONDS)
    senders = {line.split()[1] for line in output.splitlines()}
    assert {macs[sender] for sender in senders} <= set(answered)


@both
def test_downloads_do_not_cross_the_balancer(shared_lab: Lab, service: str) -> None:
    """The balancer's interface sends requests and acknowledgements only."""
    size = 20_000_000
    before = network.traffic(shared_lab.name, "lb")
    url = f"http://{service}/bytes/{size}"
    curl = ["curl", "--silent", "--globoff", "--output", "/dev/null", "--write-out"]
    done = shared_lab.run("client1", [*curl, "%{size_download}", url])
    crossed = network.traffic(shared_lab.name, "lb") - before
    assert done.stdout == str(size)
    assert 0 < crossed.sent_bytes < size / 20
    assert crossed.received_bytes < size / 20


@both
def test_explain_predicts_who_answers(shared_lab: Lab, service: str) -> None:
    """Asked beforehand by the client's port, the program names the backend that answers."""
    names = backend_names(shared_lab)
    host = shared_lab.topology.hosts[1]
    source = f"[{host.address6}]" if "[" in service else str(host.address4)
    curl = ("curl", "-sS", "--globoff", "--max-time", "30", f"http://{service}/")
    first = 20000 if "[" in service else 21000
    for port in range(first, first + 8):
        foretold = document(shared_lab, "explain", service, "--from", f"{source}:{port}", "--syn")
        done = shared_lab.run("client1", [*curl, "--local-port", str(port)])
        assert done.stdout.strip() == names[foretold["backend"]], done.stderr
        assert foretold["verdict"] == "tx"


@both
def test_stats_count_what_curl_did(shared_lab: Lab, service: str) -> None:
    """Each request is one new flow of the backend that answered it."""
    names = backend_names(shared_lab)
    before, verdicts = stats_of(shared_lab, service), document(shared_lab, "stats")["verdicts"]
    answered = answers(shared_lab, service, 40)
    after = stats_of(shared_lab, service)
    flows = {
        names[new["address"]]: new["new_flows"] - old["new_flows"]
        for old, new in zip(before["backends"], after["backends"], strict=True)
    }
    assert {name: count for name, count in flows.items() if count} == dict(answered)
    packets = after["packets"] - before["packets"]
    assert packets == sum(each["packets"] for each in after["backends"]) - sum(
        each["packets"] for each in before["backends"]
    )
    assert packets >= 40 * 4, "SYN, acknowledgement, request, end"
    assert after["bytes"] - before["bytes"] > packets * 54
    counted = document(shared_lab, "stats")["verdicts"]
    assert sum(counted.values()) - sum(verdicts.values()) >= packets


def test_top_shows_the_services_in_80_columns(shared_lab: Lab) -> None:
    """One frame fits an ordinary terminal, and names every service and backend."""
    answers(shared_lab, SERVICES["IPv4"], 20)
    top = [*PYTHON, "pydsr", "--bpffs", str(shared_lab.bpffs), "top", "--once"]
    done = shared_lab.run("lb", ["env", "COLUMNS=80", *top])
    assert done.returncode == 0, done.stderr
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    for word in (VIP4, VIP6, *backend_names(shared_lab)):
        assert word in done.stdout
    assert "\x1b" not in done.stdout


def test_traffic_goes_on_with_no_process_alive(shared_lab: Lab) -> None:
    """No process runs on the balancer, and clients are served."""
    lb = shared_lab.topology.namespace("lb")

    def processes() -> str:
        command = ["ip", "netns", "pids", lb]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert eventually(lambda: not processes())
    assert set(answers(shared_lab, SERVICES["IPv4"], 60)) == NAMES
    assert set(answers(shared_lab, SERVICES["IPv6"], 60)) == NAMES
    assert processes() == ""


def test_a_vip_refuses_what_it_does_not_serve(shared_lab: Lab) -> None:
    """A port without a service gets no answer, and is counted by its reason."""
    before = document(shared_lab, "stats")["verdicts"]["no_service"]
    curl = ["curl", "--silent", "--max-time", "1", f"http://{VIP4}:81/"]
    assert shared_lab.run("client1", curl).returncode == 28
    assert document(shared_lab, "stats")["verdicts"]["no_service"] > before
