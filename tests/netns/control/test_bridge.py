"""Bridges: the balancer is on their ports, and finds by the bridge who is behind which."""

from __future__ import annotations

from pathlib import Path

import pytest

from pydsr.model.errors import ExitStatus
from tests.support.netns.command import Pydsr
from tests.support.netns.namespaces import Host, connect
from tests.support.netns.two_arms import BACKENDS, SERVICE, VIP, Arms


@pytest.fixture
def lb(arms: Arms) -> Host:
    """The balancer's host, whose eth1 is a port of the bridge br0, which has its address."""
    lb = arms.lb
    lb.run("ip", "link", "add", "br0", "type", "bridge")
    lb.run("ip", "address", "flush", "dev", "eth1")
    lb.run("ip", "link", "set", "eth1", "master", "br0")
    lb.run("ip", "link", "set", "br0", "up")
    lb.run("ip", "address", "add", "10.67.0.1/24", "dev", "br0")
    return lb


@pytest.fixture
def pydsr(lb: Host, bpffs: Path) -> Pydsr:
    """The command on the balancer; nothing is attached yet."""
    return Pydsr(lb, bpffs)


@pytest.mark.parametrize("options", [(), ("--mode", "native"), ("--plan",)])
def test_a_bridge_is_refused_and_its_ports_are_named(
    pydsr: Pydsr, lb: Host, options: tuple[str, ...]
) -> None:
    """It has no native mode, but its ports may."""
    done = pydsr("attach", "br0", *options)
    assert done.status == ExitStatus.CANNOT
    assert "br0 is a bridge" in done.stderr
    assert "(eth1)" in done.stderr
    assert lb.xdp_program("br0") is None


def test_generic_mode_works_on_a_bridge(arms: Arms, pydsr: Pydsr) -> None:
    """Who asks for it gets it."""
    pydsr.ok("attach", "eth0", "br0", "--mode", "generic")
    pydsr.ok("backends", "set", SERVICE, BACKENDS[0])
    assert arms.client.asks_for_page(VIP) == "backend"


@pytest.mark.parametrize("place", ["", "@MAC"], ids=["resolved", "by hand"])
def test_a_backend_is_behind_the_port_that_the_bridge_has_met_it_at(
    arms: Arms, pydsr: Pydsr, place: str
) -> None:
    """Its address is in the network of the bridge, the balancer on the port."""
    pydsr.ok("attach", "eth0", "eth1", "--mode", "native")
    assert pydsr.host.pings(BACKENDS[0])
    mac = arms.backend.mac("eth1")
    pydsr.ok("backends", "set", SERVICE, BACKENDS[0] + place.replace("MAC", mac))
    (service,) = pydsr.json("backends", "list", SERVICE)
    (backend,) = service["backends"]
    assert (backend["interface"], backend["mac"]) == ("eth1", mac)
    assert arms.client.asks_for_page(VIP) == "backend"
    # Once placed, it stays there while the bridge knows no better.
    pydsr.host.run("bridge", "fdb", "delete", mac, "dev", "eth1", "master")
    pydsr.ok("backends", "add", SERVICE, f"{BACKENDS[0]}=2")
    assert pydsr.json("backends", "list", SERVICE)[0]["backends"][0]["interface"] == "eth1"


def test_a_backend_behind_another_port_is_refused(arms: Arms, pydsr: Pydsr, lb: Host) -> None:
    """The port it is behind is named, and attaching there helps."""
    connect(lb, arms.client, "eth2", [])
    lb.run("ip", "link", "set", "eth2", "master", "br0")
    arms.client.run("ip", "address", "add", "10.67.0.13/24", "dev", "eth2")
    pydsr.ok("attach", "eth0", "eth1")
    done = pydsr("backends", "set", SERVICE, "10.67.0.13")
    assert done.status == ExitStatus.FAILED
    assert "backend 10.67.0.13" in done.stderr
    assert "a port of br0 where pydsr is not attached" in done.stderr
    assert "pydsr attach eth2" in done.stderr
    pydsr.ok("attach", "eth2")
    pydsr.ok("backends", "set", SERVICE, "10.67.0.13")
    assert pydsr.json("backends", "list", SERVICE)[0]["backends"][0]["interface"] == "eth2"


def test_a_backend_behind_a_bridge_without_the_balancer_is_refused(pydsr: Pydsr) -> None:
    """The advice names the ports, since the bridge itself would be refused."""
    pydsr.ok("attach", "eth0")
    done = pydsr("backends", "set", SERVICE, BACKENDS[0])
    assert done.status == ExitStatus.FAILED
    assert "is behind br0, where pydsr is not attached" in done.stderr
    assert "pydsr attach eth1" in done.stderr
