"""A balancer's host, a neighbour on the same wire, and the command.

The balancer ``lb`` has 10.66.0.1 and fd66::1 on ``eth0``. At its other end ``peer`` plays
client and backends: it has 10.66.0.2, fd66::2, and the addresses of ``hosts.BACKENDS``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.netns.checked_host import Checked
from tests.support.netns.command import Pydsr
from tests.support.netns.namespaces import Host, made_directory, made_wire
from tests.support.netns.two_arms import Arms, made_arms


@pytest.fixture
def wire() -> Iterator[tuple[Host, Host]]:
    """A balancer's host and its peer, for one test."""
    with made_wire() as hosts:
        yield hosts


@pytest.fixture
def lb(wire: tuple[Host, Host]) -> Host:
    """The balancer's host."""
    return wire[0]


@pytest.fixture
def peer(wire: tuple[Host, Host]) -> Host:
    """The host at the other end of the balancer's wire."""
    return wire[1]


@pytest.fixture
def bpffs() -> Iterator[Path]:
    """A directory for pins that is not there yet; what is left of it is removed."""
    with made_directory() as directory:
        yield directory


@pytest.fixture
def arms() -> Iterator[Arms]:
    """A balancer with clients behind one interface and backends behind the other."""
    with made_arms() as made:
        yield made


@pytest.fixture
def pydsr(lb: Host, bpffs: Path) -> Pydsr:
    """The command on the balancer; nothing is attached yet."""
    return Pydsr(lb, bpffs)


@pytest.fixture
def balancer(pydsr: Pydsr) -> Pydsr:
    """The command on the balancer, which is attached to eth0."""
    pydsr.ok("attach", "eth0")
    return pydsr


@pytest.fixture(scope="module")
def lasting() -> Iterator[tuple[Pydsr, Host]]:
    """An attached balancer and its peer, for one file of tests."""
    with made_wire() as (lb, peer), made_directory() as bpffs:
        pydsr = Pydsr(lb, bpffs)
        pydsr.ok("attach", "eth0")
        yield pydsr, peer


@pytest.fixture
def quick(lasting: tuple[Pydsr, Host]) -> Iterator[Pydsr]:
    """An attached balancer without services, on a wire that is shared but as new."""
    pydsr, peer = lasting
    yield pydsr
    for service in pydsr.json("services", "list"):
        pydsr.ok("services", "remove", service["service"])
    for rules in pydsr.json("acl", "list"):
        sources = (rule["source"] for rule in rules["rules"])
        pydsr.ok("acl", "remove", rules["scope"], *sources)
    for host in (pydsr.host, peer):
        host.attempt("ip", "link", "delete", "eth1")
        host.run("ip", "link", "set", "eth0", "up")
        host.run("ip", "route", "flush", "proto", "boot")
        for entry in host.neighbours():
            host.run("ip", "neigh", "delete", entry["dst"], "dev", entry["dev"])
    if pydsr.modes() != {"eth0": "native"}:
        pydsr.ok("attach", "eth0")


@pytest.fixture(params=[4, 6], ids=["IPv4", "IPv6"])
def checked(lb: Host, peer: Host, request: pytest.FixtureRequest) -> Checked:
    """A backend without a server, which has the VIP."""
    made = Checked(lb, peer, request.param)
    made.add_vip()
    return made


@pytest.fixture
def checked4(lb: Host, peer: Host) -> Checked:
    """The same for what does not depend on the IP version."""
    made = Checked(lb, peer)
    made.add_vip()
    return made
