"""A client in one VLAN and a backend in another, both on the balancer's one interface."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from pydsr.kernel.bpf.python_process import PYTHON
from pydsr.lab.lab import Lab
from tests.support.lab.requests import document, running, running_lab

CLIENT_VLAN, BACKEND_VLAN = 100, 200
VIP, SERVICE = "10.77.0.80", "10.77.0.80:80"
CLIENT, BACKEND = "10.78.0.101", "10.78.0.11"
BACKEND_MAC = "02:00:00:00:78:11"


def ip(lab: Lab, host: str, *arguments: str) -> None:
    """Run an ``ip`` command on a host."""
    done = lab.run(host, ["ip", *arguments])
    assert done.returncode == 0, done.stderr


@contextmanager
def in_vlan(lab: Lab, host: str, vlan: int, mac: str, address: str) -> Iterator[None]:
    """Have a host in a VLAN, with an address there, for the length of the block."""
    with running(
        lab, host, [*PYTHON, "tests.support.lab.vlan_port", "eth0", str(vlan), "vlan"]
    ) as port:
        assert port.stdout is not None
        assert port.stdout.readline() == "ready\n"
        ip(lab, host, "link", "set", "vlan", "address", mac, "up")
        ip(lab, host, "address", "add", f"{address}/24", "dev", "vlan")
        yield


@pytest.fixture
def tagged_lab() -> Iterator[Lab]:
    """A lab whose client and backend are in VLANs; the backend answers by the client's VLAN."""
    with running_lab(backends=1) as lab, ExitStack() as stack:
        # The port of the balancer is a trunk: tags are in the frames, not beside them.
        switch = lab.topology.switch
        subprocess.run(
            ["nsenter", f"--net=/run/netns/{switch}", "ethtool", "-K", "lb", "txvlan", "off"],
            check=True,
        )
        stack.enter_context(in_vlan(lab, "client1", CLIENT_VLAN, "02:00:00:00:78:65", CLIENT))
        stack.enter_context(in_vlan(lab, "backend1", BACKEND_VLAN, BACKEND_MAC, BACKEND))
        ip(lab, "client1", "route", "add", f"{VIP}/32", "dev", "vlan", "src", CLIENT)
        ip(lab, "backend1", "route", "add", f"{CLIENT}/32", "via", "10.77.0.101")
        yield lab


def test_a_tagged_client_is_served_from_another_vlan(tagged_lab: Lab) -> None:
    """It finds the VIP in its VLAN; the frame goes on with the tag of its backend."""
    tagged_lab.pydsr("attach", "eth0", "--with", "vlan")
    tagged_lab.pydsr("backends", "set", SERVICE, f"{BACKEND}@{BACKEND_MAC}%{BACKEND_VLAN}")
    curl = ["curl", "--silent", "--show-error", "--max-time", "30", f"http://{VIP}/"]
    for _ in range(5):
        done = tagged_lab.run("client1", curl)
        assert done.stdout.strip() == "backend1", done.stderr
    ping = ["ping", "-c3", "-i0.1", "-W20", VIP]
    assert tagged_lab.run("client1", ping).returncode == 0
    counted = document(tagged_lab, "stats")["verdicts"]
    assert counted["forwarded"] + counted["forwarded_previous"] >= 5 * 4
    assert counted["echo_answered"] == 3
    assert counted["arp_answered"] >= 1
