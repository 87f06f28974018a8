"""What an engineer points at a VIP to see whether it lives."""

from __future__ import annotations

import shlex

import pytest

from pydsr.lab.lab import Lab
from tests.support.lab.requests import VIP4, VIP6

VIPS = pytest.mark.parametrize("vip", [VIP4, VIP6], ids=["IPv4", "IPv6"])


def output(lab: Lab, command: str) -> str:
    """Run a command on the client, and return what it says."""
    done = lab.run("client1", shlex.split(command))
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout


@VIPS
def test_ping_loses_nothing(shared_lab: Lab, vip: str) -> None:
    """The balancer answers, of any size that is one packet."""
    for size in (0, 56, 1400):
        printed = output(shared_lab, f"ping -n -c 5 -i 0.05 -W 20 -s {size} {vip}")
        assert "5 packets transmitted, 5 received, 0% packet loss" in printed


@VIPS
@pytest.mark.parametrize("method", ["-I", "-T -p 80"], ids=["ICMP", "TCP"])
def test_traceroute_finds_the_vip_one_hop_away(shared_lab: Lab, vip: str, method: str) -> None:
    """Balancer and backend leave the TTL as it is: neither is a hop."""
    lines = output(shared_lab, f"traceroute -n -q 1 -w 20 {method} {vip}").splitlines()
    assert lines[0].startswith(f"traceroute to {vip}")
    assert [line.split()[:2] for line in lines[1:]] == [["1", vip]]
