"""Several interfaces: packets leave by that of their backend, whichever they came in by."""

from __future__ import annotations

from pathlib import Path

import pytest

from pydsr.model.errors import ExitStatus
from tests.support.netns.command import Pydsr
from tests.support.netns.two_arms import BACKENDS, SERVICE, VIP, Arms


@pytest.fixture
def pydsr(arms: Arms, bpffs: Path) -> Pydsr:
    """The command on the balancer; nothing is attached yet."""
    return Pydsr(arms.lb, bpffs)


def verdicts(pydsr: Pydsr) -> dict[str, int]:
    """Return the packets by reason, but for those there are none of."""
    counted = pydsr.json("stats")["verdicts"]
    return {reason: packets for reason, packets in counted.items() if packets}


def received(arms: Arms, interface: str) -> int:
    """Return how many packets an interface of the balancer has received."""
    return int(arms.lb.link(interface)["stats64"]["rx"]["packets"])


def test_the_arms_are_connected_without_a_balancer(arms: Arms) -> None:
    """The client reaches the backend by its own wire, and nothing answers at the VIP."""
    assert arms.client.asks_for_page("10.68.0.2") == "backend"
    assert arms.lb.pings(BACKENDS[0])
    assert arms.client.asks_for_page(VIP, "-m", "1") is None


@pytest.mark.parametrize("mode", ["native", "generic"])
def test_requests_go_out_by_the_interface_of_their_backend(
    arms: Arms, pydsr: Pydsr, mode: str
) -> None:
    """Real requests are answered, and no answer comes back through the balancer."""
    pydsr.ok("attach", "eth0", "eth1", "--mode", mode)
    pydsr.ok("backends", "set", SERVICE, *BACKENDS)
    assert arms.client.asks_for_page(VIP) == "backend"
    before = received(arms, "eth1")
    for _ in range(5):
        assert arms.client.asks_for_page(VIP) == "backend"
    assert received(arms, "eth1") - before < 5
    counted = verdicts(pydsr)
    assert counted["forwarded"] > 20
    assert "other_interface" not in counted


def test_what_comes_in_by_the_backends_interface_leaves_by_it(pydsr: Pydsr) -> None:
    """A client may as well be on the network of the backends; explain says which way it goes."""
    pydsr.ok("attach", "eth0", "eth1")
    pydsr.ok("backends", "set", SERVICE, f"{BACKENDS[0]}")
    for ingress, verdict in (("eth0", "redirect"), ("eth1", "tx")):
        question = ("explain", SERVICE, "--from", "10.66.0.2:40000", "--in", ingress)
        answer = pydsr.json(*question)
        assert (answer["verdict"], answer["interface"]) == (verdict, "eth1")


def test_a_second_interface_is_attached_without_losing_a_packet(arms: Arms, pydsr: Pydsr) -> None:
    """The program of the first is replaced by one that redirects, between two packets."""
    pydsr.ok("attach", "eth0")
    pydsr.ok("services", "add", SERVICE)
    assert "redirect" not in pydsr.json("status")["features"]
    with arms.client.flooding(VIP) as flood:
        pydsr.ok("attach", "eth1")
        pydsr.ok("backends", "set", SERVICE, BACKENDS[0])
        assert arms.client.asks_for_page(VIP) == "backend"
    assert len(flood.answered) > 100
    assert flood.lost == set()
    assert "redirect" in pydsr.json("status")["features"]


def test_backends_behind_a_detached_interface_get_nothing(arms: Arms, pydsr: Pydsr) -> None:
    """Packets for them are dropped and counted, until the interface is attached again."""
    pydsr.ok("attach", "eth0", "eth1")
    pydsr.ok("backends", "set", SERVICE, BACKENDS[0])
    pydsr.ok("detach", "eth1")
    assert arms.client.asks_for_page(VIP, "-m", "1") is None
    assert verdicts(pydsr)["other_interface"] > 0
    pydsr.ok("attach", "eth1")
    assert arms.client.asks_for_page(VIP) == "backend"


def test_backends_behind_an_interface_that_vanished_get_nothing(arms: Arms, pydsr: Pydsr) -> None:
    """Packets for them are dropped and counted, not handed to a device that is gone."""
    pydsr.ok("attach", "eth0", "eth1")
    pydsr.ok("backends", "set", SERVICE, BACKENDS[0])
    arms.lb.run("ip", "link", "delete", "eth1")
    assert arms.client.asks_for_page(VIP, "-m", "1") is None
    assert verdicts(pydsr)["other_interface"] > 0


def test_a_mac_of_the_balancers_own_is_refused(arms: Arms, pydsr: Pydsr) -> None:
    """Frames sent to it would come straight back."""
    pydsr.ok("attach", "eth0", "eth1")
    done = pydsr("backends", "set", SERVICE, f"{BACKENDS[0]}@{arms.lb.mac('eth1')}")
    assert done.status == ExitStatus.BAD_INPUT
    assert "the MAC of eth1" in done.stderr
    assert pydsr.state() == ([], [])


def test_a_mac_by_hand_goes_with_the_interface_of_its_route(arms: Arms, pydsr: Pydsr) -> None:
    """With several interfaces the backend's address tells which; without a route it is refused."""
    pydsr.ok("attach", "eth0", "eth1")
    pydsr.ok("backends", "set", SERVICE, f"{BACKENDS[0]}@{arms.backend.mac('eth1')}")
    (service,) = pydsr.json("backends", "list", SERVICE)
    assert [backend["interface"] for backend in service["backends"]] == ["eth1"]
    assert arms.client.asks_for_page(VIP) == "backend"
    done = pydsr("backends", "add", SERVICE, "192.0.2.7@02:00:00:00:00:aa")
    assert done.status == ExitStatus.FAILED
    assert "no route to backend 192.0.2.7" in done.stderr


def test_a_backend_that_moved_to_the_other_interface_is_followed(arms: Arms, pydsr: Pydsr) -> None:
    """The next change finds it where the kernel has met it by now, and says so in its plan."""
    pydsr.ok("attach", "eth0", "eth1")
    pydsr.ok("backends", "set", SERVICE, BACKENDS[0])
    arms.lb.run("ip", "address", "delete", "10.67.0.1/24", "dev", "eth1")
    arms.lb.run("ip", "address", "add", "10.67.0.1/24", "dev", "eth0")
    arms.backend.run("ip", "address", "delete", f"{BACKENDS[0]}/24", "dev", "eth1")
    arms.client.run("ip", "address", "add", f"{BACKENDS[0]}/24", "dev", "eth0")
    assert arms.lb.pings(BACKENDS[0])
    plan = pydsr.json("backends", "set", SERVICE, BACKENDS[0], "--plan")
    assert {change["action"] for change in plan["changes"]} == {"set mac", "set interface"}
    pydsr.ok("backends", "set", SERVICE, BACKENDS[0])
    (service,) = pydsr.json("backends", "list", SERVICE)
    assert service["backends"][0]["interface"] == "eth0"
    assert service["backends"][0]["mac"] == arms.client.mac("eth0")
