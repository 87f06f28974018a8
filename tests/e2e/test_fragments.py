"""Datagrams larger than the wire takes: every fragment reaches the backend of the first."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator

import pytest

from pydsr.lab.lab import Lab
from tests.support.lab.requests import VIP4, VIP6, document, eventually

PORT = 5201
DATAGRAM_BYTES = 8192
BACKENDS = ("backend1", "backend2", "backend3")


@pytest.fixture(params=[VIP4, VIP6], ids=["IPv4", "IPv6"])
def vip(request: pytest.FixtureRequest, shared_lab: Lab) -> Iterator[str]:
    """Return a VIP whose backends serve iperf3: both its flows are the client's, so of one."""
    vip = str(request.param)
    endpoint = f"[{vip}]:{PORT}" if ":" in vip else f"{vip}:{PORT}"
    hosts = [host for host in shared_lab.topology.hosts if host.name in BACKENDS]
    addresses = [str(host.address6 if ":" in vip else host.address4) for host in hosts]
    servers = [shared_lab.popen(name, ["iperf3", "-s", "-B", vip]) for name in BACKENDS]
    for protocol in ("tcp", "udp"):
        service = f"{endpoint}/{protocol}"
        shared_lab.pydsr("services", "add", service, "--affinity", "source")
        shared_lab.pydsr("backends", "set", service, *addresses)
    listening = ["ss", "-Hlnt", f"sport = {PORT}"]
    assert eventually(lambda: all(shared_lab.run(name, listening).stdout for name in BACKENDS))
    yield vip
    for protocol in ("tcp", "udp"):
        shared_lab.pydsr("services", "remove", f"{endpoint}/{protocol}")
    for server in servers:
        server.kill()
        server.wait()


def reassemblies(lab: Lab) -> Counter[str]:
    """Return how many packets the backends have reassembled (OKs), and failed to (Fails)."""
    counted: Counter[str] = Counter()
    for name in BACKENDS:
        printed = lab.run(name, ["nstat", "-asz", "Ip*ReasmOKs", "Ip*ReasmFails"]).stdout
        for outcome, number in re.findall(r"^Ip6?Reasm(\w+) +(\d+)", printed, re.M):
            counted[outcome] += int(number)
    return counted


def test_large_datagrams_arrive_whole(shared_lab: Lab, vip: str) -> None:
    """Each of their fragments follows the first, and is counted so; none is dropped."""
    before, reassembled = document(shared_lab, "stats")["verdicts"], reassemblies(shared_lab)
    command = f"iperf3 -c {vip} -u -l {DATAGRAM_BYTES} -b 10M -n 1M --json"
    done = shared_lab.run("client1", shlex.split(command))
    assert done.returncode == 0, done.stdout
    datagrams = json.loads(done.stdout)["end"]["sum"]["packets"]
    assert datagrams >= 1_000_000 // DATAGRAM_BYTES
    # Counted by the kernels of the backends: a server may lose some that it does not read in time.
    assert reassemblies(shared_lab) - reassembled == {"OKs": datagrams}
    after = document(shared_lab, "stats")["verdicts"]
    counted = {name: after[name] - before[name] for name in ("forwarded_fragment", "fragment")}
    # 8,192 bytes and their UDP header are six packets of 1,500 bytes; the first has the ports.
    assert counted == {"forwarded_fragment": 5 * datagrams, "fragment": 0}
