"""Path-MTU discovery works through the balancer: errors reach the backend they are for."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from pydsr.lab.lab import Lab

SIZE = 300_000
SMALL_MTU = 1280


def ip(namespace: str, *arguments: str) -> None:
    """Run an ``ip`` command in a namespace."""
    subprocess.run(["ip", "-n", namespace, *arguments], check=True)


@pytest.fixture
def far() -> Iterator[tuple[Lab, str]]:
    """Return a balanced lab, and a namespace behind a router with a small MTU on its far side.

    The router is the lab's client. The far host does not know of the small MTU: its own side
    of the link has the usual one, so that backends send packets that are too big.
    """
    name = f"mtu-{os.getpid()}"
    namespace = f"pydsr-{name}-far"
    with Lab(name, backends=2) as lab:
        lab.serve()
        lab.balance()
        router = f"pydsr-{name}-client1"
        subprocess.run(["ip", "netns", "add", namespace], check=True)
        try:
            ip(router, "link", "add", "far", "mtu", "1500", "type", "veth",
               "peer", "name", "eth0", "netns", namespace)  # fmt: skip
            ip(router, "address", "add", "10.99.0.1/24", "dev", "far")
            ip(router, "address", "add", "fd99::1/64", "dev", "far", "nodad")
            ip(router, "link", "set", "far", "up", "mtu", str(SMALL_MTU))
            ip(namespace, "address", "add", "10.99.0.2/24", "dev", "eth0")
            ip(namespace, "address", "add", "fd99::2/64", "dev", "eth0", "nodad")
            ip(namespace, "link", "set", "eth0", "up")
            ip(namespace, "route", "add", "default", "via", "10.99.0.1")
            ip(namespace, "route", "add", "default", "via", "fd99::1")
            for setting in ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"):
                assert lab.run("client1", ["sysctl", "-qw", setting]).returncode == 0
            for number in (1, 2):
                backend = f"pydsr-{name}-backend{number}"
                ip(backend, "route", "add", "10.99.0.0/24", "via", "10.77.0.101")
                ip(backend, "route", "add", "fd99::/64", "via", "fd77::101")
            yield lab, namespace
        finally:
            subprocess.run(["ip", "netns", "delete", namespace], check=True)


def serve_every_udp_port(lab: Lab, vip: str, backends: int) -> None:
    """Have the first backends serve a VIP's UDP ports."""
    if ":" in vip:
        endpoint, address = f"[{vip}]:*/udp", "fd77::1{}"
    else:
        endpoint, address = f"{vip}:*/udp", "10.77.0.1{}"
    numbers = range(1, backends + 1)
    lab.pydsr("backends", "set", endpoint, *(address.format(number) for number in numbers))


@pytest.mark.parametrize("host", ["10.77.0.80", "[fd77::80]"])
def test_a_backend_learns_the_mtu_of_the_path_to_a_client(far: tuple[Lab, str], host: str) -> None:
    lab, namespace = far
    command = ["curl", "--silent", "--show-error", "--max-time", "60", "--output", "/dev/null"]
    command += ["--write-out", "%{size_download}", f"http://{host}/bytes/{SIZE}"]
    done = subprocess.run(
        ["nsenter", f"--net=/run/netns/{namespace}", *command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == str(SIZE), done.stderr
    assert "forwarded_error" in lab.pydsr("stats")


@pytest.mark.parametrize(("vip", "flag"), [("10.77.0.80", "-4"), ("fd77::80", "-6")])
def test_tracepath_finds_the_mtu_of_the_path(far: tuple[Lab, str], vip: str, flag: str) -> None:
    """Its datagrams to ports that nothing listens at are answered by a backend."""
    lab, namespace = far
    serve_every_udp_port(lab, vip, 2)
    router = f"pydsr-{lab.name}-client1"
    ip(router, "link", "set", "far", "mtu", "1500")
    ip(router, "link", "set", "eth0", "mtu", "1400")
    done = subprocess.run(
        ["nsenter", f"--net=/run/netns/{namespace}", "tracepath", flag, "-n", "-m", "5", vip],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "pmtu 1400" in done.stdout
    assert "reached" in done.stdout
    assert "Resume: pmtu 1400 hops 2" in done.stdout


@pytest.mark.parametrize(("vip", "far_end"), [("10.77.0.80", "10.99.0.2"), ("fd77::80", "fd99::2")])
def test_a_backend_that_traces_a_client_hears_the_routers(
    far: tuple[Lab, str], vip: str, far_end: str
) -> None:
    """Errors about what it sent from the VIP are for the VIP: the balancer brings them to it."""
    lab, _ = far
    serve_every_udp_port(lab, vip, 1)
    trace = ["traceroute", "-n", "-q1", "-w20", "-U", "-s", vip, far_end]
    done = lab.run("backend1", trace)
    hops = [line.split()[1] for line in done.stdout.splitlines()[1:]]
    assert hops == ["fd77::101" if ":" in vip else "10.77.0.101", far_end]
