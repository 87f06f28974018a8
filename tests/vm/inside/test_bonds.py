"""Bonds: the balancer is on the whole, packets come in by its parts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pyroute2.netlink.exceptions import NetlinkError
from scapy.layers.l2 import Ether

from pydsr.model.errors import ExitStatus
from tests.support.netns.command import Pydsr
from tests.support.netns.doctor_report import examine
from tests.support.netns.namespaces import made_directory
from tests.support.netns.two_arms import BACKENDS, SERVICE, VIP, Arms, made_arms

MAC = "02:00:00:00:00:aa"


@pytest.fixture
def arms() -> Iterator[Arms]:
    """A balancer with two arms."""
    with made_arms() as made:
        yield made


@pytest.fixture
def pydsr(arms: Arms) -> Iterator[Pydsr]:
    """The command on the balancer; nothing is attached yet."""
    with made_directory() as bpffs:
        yield Pydsr(arms.lb, bpffs)


def make_bond(arms: Arms, *options: str) -> None:
    """Make eth1 of the balancer part of a bond with its address."""
    lb = arms.lb
    lb.run("ip", "address", "flush", "dev", "eth1")
    lb.run("ip", "link", "set", "eth1", "down")
    lb.run("ip", "link", "add", "bond0", "type", "bond", "miimon", "10", *options)
    lb.run("ip", "link", "set", "eth1", "master", "bond0")
    lb.run("ip", "link", "set", "bond0", "up")
    lb.run("ip", "address", "add", "10.67.0.1/24", "dev", "bond0")


@pytest.mark.parametrize("mode", ["native", "generic"])
@pytest.mark.parametrize("bond", ["active-backup", "balance-rr"])
def test_a_bond_serves_clients_and_leads_to_backends(
    arms: Arms, pydsr: Pydsr, bond: str, mode: str
) -> None:
    """Packets that come in by its parts are taken, answered, and sent to its backends."""
    make_bond(arms, "mode", bond)
    pydsr.ok("attach", "eth0", "bond0", "--mode", mode)
    pydsr.ok("services", "add", "10.67.0.80:80")
    assert arms.backend.pings("10.67.0.80")
    pydsr.ok("backends", "set", SERVICE, *BACKENDS)
    (service,) = pydsr.json("backends", "list", SERVICE)
    assert {backend["interface"] for backend in service["backends"]} == {"bond0"}
    assert arms.client.asks_for_page(VIP) == "backend"


def test_a_bond_alone_sends_back_out_what_came_in_by_it(arms: Arms, pydsr: Pydsr) -> None:
    """To the program the bond is another interface than the part that a frame came in by."""
    make_bond(arms, "mode", "active-backup")
    pydsr.ok("attach", "bond0")
    assert "redirect" in pydsr.json("status")["features"]
    pydsr.ok("backends", "set", "10.67.0.80:80", f"10.67.0.77@{MAC}")
    with arms.backend.listen("eth1") as listener:
        arms.backend.asks_for_page("10.67.0.80", "-m", "1")
        received = listener.until(lambda raw: Ether(raw).dst == MAC)
    assert Ether(received[-1]).src == arms.lb.mac("bond0")


@pytest.mark.parametrize("mode", ["auto", "native", "generic"])
def test_instead_of_a_part_the_bond_is_to_be_attached(arms: Arms, pydsr: Pydsr, mode: str) -> None:
    """Whatever the mode."""
    make_bond(arms, "mode", "active-backup")
    done = pydsr("attach", "eth1", "--mode", mode)
    assert done.status == ExitStatus.CANNOT
    assert "eth1 is part of the bond bond0" in done.stderr
    assert "pydsr attach bond0" in done.stderr


def test_a_bond_that_takes_no_program_is_told_why(arms: Arms, pydsr: Pydsr) -> None:
    """Its mode is none of those that the kernel has XDP for: the hint lists them."""
    make_bond(arms, "mode", "balance-tlb")
    finding = examine(pydsr, "bond0").first("bond-unsuitable")
    done = pydsr("attach", "bond0", "--mode", "native")
    assert done.status == ExitStatus.CANNOT
    assert f"{finding['what']}: {finding['remedy']}" in done.stderr
    assert "active-backup" in done.stderr
    assert "(eth1)" in done.stderr
    done = pydsr("attach", "bond0")
    assert done.status == ExitStatus.DONE
    assert "GENERIC MODE" in done.stderr


UNSUITABLE = {
    ("mode", "balance-tlb"): "is in mode balance-tlb",
    ("mode", "balance-alb"): "is in mode balance-alb",
    ("mode", "balance-xor", "xmit_hash_policy", "vlan+srcmac"): "hashes by vlan+srcmac",
    ("mode", "802.3ad", "xmit_hash_policy", "vlan+srcmac"): "hashes by vlan+srcmac",
}
"""How bonds are made that take no program, and what is said of them."""


def test_the_doctor_knows_which_bonds_the_kernel_gives_no_program(arms: Arms, pydsr: Pydsr) -> None:
    for options, what in UNSUITABLE.items():
        make_bond(arms, *options)
        found = examine(pydsr, "bond0").first("bond-unsuitable")
        assert f"the bond bond0 {what}" in found["what"]
        with pytest.raises(NetlinkError, match="not support"):
            arms.lb.put_program("bond0", "pass")
        arms.lb.run("ip", "link", "delete", "bond0")
    make_bond(arms, "mode", "802.3ad", "xmit_hash_policy", "layer2+3")
    assert "bond-unsuitable" not in examine(pydsr, "bond0").ids
    arms.lb.put_program("bond0", "pass")


def test_a_detached_bond_is_let_go_with_its_parts(arms: Arms, pydsr: Pydsr) -> None:
    """Nothing answers for the VIP any more, and its parts can leave the bond."""
    make_bond(arms, "mode", "active-backup")
    pydsr.ok("attach", "bond0")
    pydsr.ok("services", "add", "10.67.0.80:80")
    assert arms.backend.pings("10.67.0.80")
    pydsr.ok("detach", "bond0")
    assert not arms.backend.pings("10.67.0.80")
    arms.lb.run("ip", "link", "set", "eth1", "nomaster")
